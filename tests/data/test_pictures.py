"""Pictures of any size and mode become what a network takes, as a person sees them."""

import numpy as np
import pytest
from PIL import Image

from understudy.data.images import decoded


@pytest.mark.parametrize("size", [(4, 4), (16, 5), (3, 30), (1, 1)])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (3, 6, 10)])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_any_size_and_mode_becomes_the_shape(tmp_path, size, shape, mode):
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    Image.new(mode, size).save(path)
    assert decoded(path, shape).shape == shape


def test_a_wide_network_sees_the_middle_of_a_square_picture(tmp_path):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[2:6] = 255
    Image.fromarray(pixels).save(tmp_path / "band.png")
    assert (decoded(tmp_path / "band.png", (1, 4, 8)) == 255).all()


def test_a_picture_stands_upright(tmp_path):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    upright = decoded(tmp_path / "turned.png", (1, 8, 8))[0]
    assert (upright[:4] == 0).all()
    assert (upright[4:] == 255).all()


def test_what_is_transparent_is_white_whatever_hides_there(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:, :2] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "half.png")
    found = decoded(tmp_path / "half.png", (3, 4, 4))
    assert found[:, 0, 0].tolist() == [255, 0, 0]
    assert found[:, 0, 3].tolist() == [255, 255, 255]


def test_sixteen_bits_keep_their_greys(tmp_path):
    pixels = np.array([[0, 0x4000], [0x8000, 0xFFFF]], np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    assert decoded(tmp_path / "deep.png", (1, 2, 2)).flatten().tolist() == [0, 64, 128, 255]
