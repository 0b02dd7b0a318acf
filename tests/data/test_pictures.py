"""Pictures of any size and mode become what a network takes, as a person sees them."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from tests.data import like_torchvision
from understudy.data import images, load
from understudy.data.images import decoded, fitted
from understudy.data.pictures import Form, PictureSettings
from understudy.data.sources import as_tensor
from understudy.errors import UserError
from understudy.models.description import parsed
from understudy.models.student import describe


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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("decoder", ["pillow", "simplejpeg"])
def test_a_tiff_stands_upright_as_a_png_does(tmp_path, orientation, decoder):
    if decoder == "simplejpeg":
        pytest.importorskip("simplejpeg")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 12, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "turned.png", exif=exif)
    picture.save(tmp_path / "turned.tif", tiffinfo={0x0112: orientation})
    for rule in (images.RULE, images.LETTERBOX, images.STRETCHED):
        png, tiff = (fitted(tmp_path / f"turned.{kind}", (3, 8, 8), rule, None, decoder) for kind in ("png", "tif"))
        assert tiff[1] == png[1]
        assert torch.equal(tiff[0], png[0])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr"])
def test_pictures_of_a_dataset_have_the_colours_that_they_show(mode):
    bright = Image.new("RGB", (4, 4), (250, 250, 250)).convert(mode)
    sample = as_tensor(bright)
    assert sample.dtype == torch.uint8
    assert sample.shape == ((1 if mode in "1L" else 3), 4, 4)
    assert sample.min() >= 245


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


@pytest.mark.parametrize("decoder", ["pillow", "simplejpeg"])
@pytest.mark.parametrize("loader", ["upright", "torchvision"])
def test_images_of_every_kind_as_torchvision_reads_them(tmp_path, loader, decoder):
    """Equal pixels; images that a person sees otherwise are those of torchvision only if it is asked for."""
    expected = json.loads(like_torchvision.STORED.read_text())
    settings = PictureSettings(resize=like_torchvision.RESIZE, loader=loader, decoder=decoder)
    form = Form.of(settings, like_torchvision.SIZE)
    for path in like_torchvision.write(tmp_path):
        pixels = decoded(path, form.shape, form.rule, form.resize, form.decoder).int()
        error = (pixels - torch.tensor(expected[path.name])).abs().max()
        if loader == "upright" and path.name in like_torchvision.SEEN_OTHERWISE:
            assert error > 8, path.name
        else:  # decoders of JPEG differ in their last bit
            assert error <= (3 if path.suffix == ".jpg" else decoder == "simplejpeg"), path.name


def photo(path, width, height, **options):
    across, down = np.meshgrid(np.linspace(0, 9, width), np.linspace(0, 7, height))
    pixels = np.stack([np.sin(across + down), np.cos(across * down / 5), np.sin(down)], -1)
    Image.fromarray((127 + 120 * pixels).astype(np.uint8)).save(path, quality=95, **options)
    return path


WAYS = [(images.RULE, None), (images.LETTERBOX, None), (images.STRETCHED, None), (images.SHORT_SIDE, 40)]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("rule", "resize"), WAYS)
def test_a_large_jpeg_is_decoded_smaller(tmp_path, monkeypatch, orientation, rule, resize):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path, sizes = photo(tmp_path / "large.jpg", 821, 542, exif=exif), []
    plain = JpegImageFile.load
    monkeypatch.setattr(JpegImageFile, "load", lambda file: sizes.append(file.size) or plain(file))
    smaller = decoded(path, (3, 32, 32), rule, resize)
    assert sizes[-1] == ((206, 136) if resize else (103, 68))
    monkeypatch.setattr(images, "DRAFT", 100)
    whole = decoded(path, (3, 32, 32), rule, resize)
    assert sizes[-1] == (821, 542)
    assert (smaller.int() - whole.int()).abs().float().mean() < 1
    assert fitted(path, (3, 32, 32), rule, resize)[1].scale[0] < 0.1


@pytest.mark.parametrize("size", [(50, 70), (821, 542), (33, 400)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(("rule", "resize"), [way for way in WAYS if way[0] != images.STRETCHED])
def test_simplejpeg_gives_the_samples_of_pillow(tmp_path, monkeypatch, size, mode, rule, resize):
    path = photo(tmp_path / "photo.jpg", *size)
    Image.open(path).convert(mode).save(path, quality=95)
    shape = 1 if mode == "L" else 3, 32, 32
    shapes = {shape, (3, 32, 32)}  # a grey photograph also in colours
    expected = {shape: decoded(path, shape, rule, resize).int() for shape in shapes}
    monkeypatch.setattr(JpegImageFile, "load", lambda file: pytest.fail("decoded by Pillow"))
    for shape in shapes:
        error = (decoded(path, shape, rule, resize, "simplejpeg").int() - expected[shape]).abs().float()
        assert error.max() <= 1
        assert error.mean() < 0.1


def test_what_simplejpeg_does_not_decode_is_left_to_pillow(tmp_path):
    path = photo(tmp_path / "photo.jpg", 90, 60)
    Image.open(path).convert("CMYK").save(tmp_path / "ink.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / "turned.jpg", 90, 60, exif=exif)
    for name, shape in (("ink.jpg", (3, 16, 16)), ("turned.jpg", (3, 16, 16)), ("photo.jpg", (1, 16, 16))):
        both = [decoded(tmp_path / name, shape, decoder=decoder).int() for decoder in ("pillow", "simplejpeg")]
        assert (both[0] - both[1]).abs().max() <= 1, name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"photo\.jpg cannot be read as an image"):
        decoded(path, (3, 16, 16), decoder="simplejpeg")


def test_without_simplejpeg_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(UserError, match=r"understudy\[jpeg\]"):
        Form.of(PictureSettings(decoder="simplejpeg"), 16)


@pytest.mark.parametrize("decoder", ["pillow", "simplejpeg"])
def test_a_rule_with_a_short_side_is_in_the_students_description(tmp_path, decoder):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        photo(tmp_path / name / "x.jpg", 50, 90)
    data = load("folder", tmp_path, size=16, resize=20, workers=0, validation=0, decoder=decoder)
    description = describe(torch.nn.Flatten(), None, data.shape, data.task, data.image)
    seen = parsed(json.dumps(description), "student.json")
    assert seen.takes_images
    (sample,) = data.train.source.batches([torch.tensor([1])], torch.device("cpu"))
    form = seen.input.shape, seen.input.image, seen.input.resize, seen.input.decoder
    assert torch.equal(fitted(tmp_path / "two" / "x.jpg", *form)[0], sample[0])
    for wrong in ({"resize": 8}, {"image": images.RULE}):
        changed = {**description, "input": {**description["input"], **wrong}}
        assert not parsed(json.dumps(changed), "student.json").takes_images
