"""The operations on colours are those of Pillow, on whole batches."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from understudy.data import RandAugment, TrivialAugment, colour
from understudy.data.policies import _operations, moved

IMAGES = torch.randint(0, 256, (3, 3, 20, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
IMAGES[1] = IMAGES[1] // 3 + 40  # not the whole range
X = IMAGES.float() / 255


def by_pillow(change) -> torch.Tensor:
    images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in IMAGES]
    return torch.stack([torch.from_numpy(np.array(change(image))).permute(2, 0, 1) for image in images]).float() / 255


def strength(value: float) -> torch.Tensor:
    return torch.full((3,), float(value))


def enhanced(kind):
    return lambda factor: lambda image: kind(image).enhance(factor)


OPERATIONS = {
    "brightness": (lambda f: colour.brightness(X, strength(f)), enhanced(ImageEnhance.Brightness)),
    "contrast": (lambda f: colour.contrast(X, strength(f)), enhanced(ImageEnhance.Contrast)),
    "saturation": (lambda f: colour.saturation(X, strength(f)), enhanced(ImageEnhance.Color)),
    "sharpness": (lambda f: colour.sharpness(X, strength(f)), enhanced(ImageEnhance.Sharpness)),
    "posterized": (
        lambda f: colour.posterized(X, strength(round(4 * f))),
        lambda f: lambda image: ImageOps.posterize(image, round(4 * f)),
    ),
    "solarized": (
        lambda f: colour.solarized(X, strength(round(100 * f))),
        lambda f: lambda image: ImageOps.solarize(image, round(100 * f)),
    ),
    "autocontrast": (lambda f: colour.autocontrast(X), lambda f: ImageOps.autocontrast),
    "equalized": (lambda f: colour.equalized(X), lambda f: ImageOps.equalize),
}


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_that_of_pillow(name, factor):
    ours, theirs = OPERATIONS[name]
    difference = (ours(factor) - by_pillow(theirs(factor))).abs()
    assert difference.max() <= 2.01 / 255  # Pillow rounds to levels, some operations twice


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.2, 1 / 3])
def test_a_turn_of_the_hue_keeps_lightness_and_turns_back(turn):
    turned = colour.hue(X, strength(turn))
    torch.testing.assert_close(turned.max(1).values, X.max(1).values)
    torch.testing.assert_close(turned.min(1).values, X.min(1).values)
    torch.testing.assert_close(colour.hue(turned, strength(-turn)), X, atol=1e-5, rtol=0)
    if turn == 1 / 3:  # red becomes green, green blue, blue red
        torch.testing.assert_close(turned, X.roll(1, 1), atol=1e-5, rtol=0)


def test_a_blur_is_a_mean_with_weights_of_the_distance():
    picture = torch.zeros(2, 1, 17, 17)
    picture[..., 8, 8] = 1
    spread = colour.blurred(picture, torch.tensor([0.5, 1.5]), reach=4)
    assert torch.allclose(spread.sum((1, 2, 3)), torch.ones(2))
    ratio = spread[:, 0, 8, 9] / spread[:, 0, 8, 8]
    torch.testing.assert_close(ratio, torch.exp(-0.5 / torch.tensor([0.5, 1.5]) ** 2))


def test_images_are_moved_by_whole_pixels_and_turned_about_their_middle():
    expected = torch.zeros_like(X)
    expected[:, :, :, 3:] = X[:, :, :, :-3]
    assert torch.equal(moved(X, right=strength(3)), expected)
    expected = torch.zeros_like(X)
    expected[:, :, :-2] = X[:, :, 2:]
    assert torch.equal(moved(X, down=strength(-2)), expected)
    square = X[:, :, :16]
    assert torch.equal(moved(square, turn=strength(90)), square.rot90(1, (2, 3)))
    sheared = moved(X, shear_x=strength(0.9))
    assert torch.equal(sheared[:, :, 5, :11], X[:, :, 5, 5:])  # 0.9 * 5.5 pixels to the left


@pytest.mark.parametrize("wide", [False, True])
def test_every_operation_changes_an_image_at_its_full_strength(wide):
    for number, operation in enumerate(_operations(X, wide=wide)):
        if operation is None:
            continue
        changed = operation(X, torch.tensor([1.0, -1.0, 1.0]))
        assert changed.shape == X.shape, number
        assert torch.isfinite(changed).all(), number
        assert not torch.allclose(changed, X), number
        assert changed.min() >= 0
        assert changed.max() <= 1


@pytest.mark.parametrize("policy", [RandAugment(), TrivialAugment()])
def test_all_operations_are_drawn(policy):
    ids = torch.arange(600)
    x = X[:1].expand(600, -1, -1, -1)
    changed = policy.draw(x, 0, 0, ids)
    same = (changed == x).flatten(1).all(1).float().mean()
    assert 0 < same < 0.3
    assert len(changed.flatten(1).sum(1).round(decimals=2).unique()) > 20


def test_images_of_one_channel_have_no_colour():
    x = X[:, :1]
    assert torch.equal(colour.saturation(x, strength(0.2)), x)
    assert torch.equal(colour.hue(x, strength(0.2)), x)
    assert colour.Jitter().draw(x, 0, 0, torch.arange(3)).shape == x.shape
