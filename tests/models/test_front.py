"""What stands before a network: normalisation and whitening."""

import json
import math

import pytest
import torch
from torch import nn

from understudy.errors import UserError
from understudy.models import LocalContrast, Normalized, Whitened, Whitening, preprocessing_from
from understudy.taps import TappedNetwork, inner


def images(number: int = 400, side: int = 4) -> torch.Tensor:
    """Smooth, correlated images, as natural ones are."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(number, 3, 2, 2, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=side, mode="bilinear")
    return 0.8 * smooth + 0.2 * torch.rand(number, 3, side, side, generator=generator)


def test_normalized():
    front = Normalized(nn.Identity(), (0.1, 0.2, 0.3), (1, 2, 4))
    x = torch.rand(2, 3, 4, 4)
    expected = torch.stack([(x[:, 0] - 0.1), (x[:, 1] - 0.2) / 2, (x[:, 2] - 0.3) / 4], 1)
    torch.testing.assert_close(front(x), expected)
    assert not front.state_dict()


def test_normalized_mistakes():
    with pytest.raises(UserError, match="3 channels meet mean and std for 1"):
        Normalized(nn.Identity(), [0.5], [0.5])(torch.rand(2, 3, 4, 4))
    for mean, std in (([0.5], [0.0]), ([0.5, 0.5], [1]), ([], [])):
        with pytest.raises(UserError, match="one mean and one std"):
            Normalized(nn.Identity(), mean, std)


def test_contrast_is_normalised_as_pylearn2_does():
    x = images(3)
    x[0] = 0.3  # constant: its norm is nothing but rounding, and it is not divided by it
    whitening = Whitening((3, 4, 4))
    whitening.mean.zero_()
    whitening.matrix.copy_(torch.eye(48))
    y = whitening(x).flatten(1)
    assert not y[0].any()
    torch.testing.assert_close(y[1:].norm(dim=1), torch.full((2,), 55.0))
    torch.testing.assert_close(y[1:].mean(1), torch.zeros(2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("bias", [0.1, 1e-4])
def test_whitening_whitens(bias):
    """The covariance C of the normalised images becomes C (C + bias)^-1: the identity where C is well above bias."""
    x = images()
    plain = Whitening(x.shape[1:])
    plain.mean.zero_()
    plain.matrix.copy_(torch.eye(48))
    before = torch.cov(plain(x).flatten(1).double().T, correction=0)
    whitening = Whitening.fit(x, bias=bias, batch=150)
    y = whitening(x).flatten(1).double()
    expected = before @ torch.linalg.inv(before + bias * torch.eye(48))
    torch.testing.assert_close(y.mean(0), torch.zeros(48).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(y.T, correction=0), expected, atol=5e-3, rtol=0)
    # One direction is lost to the image's own mean, and the rest is white.
    sizes = torch.linalg.eigvalsh(torch.cov(y.T, correction=0))
    assert sizes[0].abs() < 1e-3
    assert sizes[1] > (0.9 if bias == 0.1 else 0.99)
    # Zero-phase: the matrix is symmetric, so that images stay images.
    torch.testing.assert_close(whitening.matrix, whitening.matrix.T, atol=1e-5, rtol=0)


def test_whitening_takes_bytes_and_does_not_care_for_their_scale():
    x = (images(100) * 255).to(torch.uint8)
    torch.testing.assert_close(Whitening.fit(x).matrix, Whitening.fit(x / 255).matrix, atol=1e-4, rtol=1e-4)


def test_whitening_is_exact_under_autocast():
    front = Whitened(nn.Identity(), Whitening.fit(images()))
    expected = front(images(8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front(images(8)), expected)


@pytest.mark.parametrize("kind", [Normalized, Whitened])
def test_a_front_is_made_again_from_its_description_and_state(kind):
    network = nn.Conv2d(3, 2, 3)
    front = (
        Normalized(network, [0.1] * 3, [0.2] * 3) if kind is Normalized else Whitened(network, Whitening.fit(images()))
    )
    again = preprocessing_from(json.loads(json.dumps(front.describe())), nn.Conv2d(3, 2, 3))
    again.load_state_dict(front.state_dict())
    assert type(again) is kind
    assert torch.equal(again(images(5)), front(images(5)))
    assert again.describe() == front.describe()


def test_a_whitening_that_was_never_filled_is_noticed():
    front = preprocessing_from({"front": "whitened", "shape": [3, 4, 4], "scale": 55.0, "bias": 0.1}, nn.Identity())
    assert front(images(2)).isnan().all()


def by_hand(image: torch.Tensor) -> torch.Tensor:
    """LeCun's local contrast normalisation of one channel, pixel by pixel, as pylearn2 has it."""
    bell = [[math.exp(-((i - 3) ** 2 + (j - 3) ** 2) / 8) for j in range(7)] for i in range(7)]
    total, (rows, columns) = sum(map(sum, bell)), image.shape
    means, squares = torch.zeros(rows, columns).double(), torch.zeros(rows, columns).double()
    for y in range(rows):
        for x in range(columns):
            for i in range(7):
                for j in range(7):
                    if 0 <= (down := y + i - 3) < rows and 0 <= (right := x + j - 3) < columns:
                        means[y, x] += bell[i][j] / total * image[down, right]
                        squares[y, x] += bell[i][j] / total * image[down, right] ** 2
    roots = squares.sqrt()
    return (image - means) / torch.maximum(roots, roots.mean()).clamp_min(1e-4)


def test_local_contrast_is_normalised_as_pylearn2_does():
    x = images(2, side=8)
    y = LocalContrast((3, 8, 8))(x)
    for image, found in zip(x.double(), y, strict=True):
        centred = (image - image.mean()) / (image - image.mean()).norm()
        torch.testing.assert_close(found.double(), torch.stack([*map(by_hand, centred)]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(LocalContrast((3, 8, 8))(3 * x), y, atol=1e-4, rtol=1e-4)
    assert not LocalContrast((3, 8, 8))(torch.full((1, 3, 8, 8), 0.3)).any()
    front = Whitened(nn.Identity(), LocalContrast((3, 8, 8)))
    again = preprocessing_from(json.loads(json.dumps(front.describe())), nn.Identity())
    assert torch.equal(again(x), y)
    with pytest.raises(UserError, match="must be odd"):
        LocalContrast((3, 8, 8), kernel=4)


def test_taps_look_through_a_front():
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten())
    front = Normalized(network, [0.1] * 3, [0.2] * 3)
    assert inner(front) is network
    assert TappedNetwork(front, ["0"])(images(2))["0"].shape == (2, 2, 2, 2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # the compiler's own, on import
def test_compiled():
    front = Whitened(nn.Conv2d(3, 2, 3), Whitening.fit(images()))
    compiled = torch.compile(front, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images(2)), front(images(2)))


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"front": "normalised"}, "did you mean 'normalized'"),
        ({}, "no front is called None"),
        ({"front": "normalized", "mean": [0.1]}, "described by mean, std"),
        ({"front": "whitened", "shape": [3, 4, 4], "scale": 1.0, "bias": 0.1, "extra": 1}, "described by shape"),
    ],
)
def test_descriptions_that_say_nothing(description, words):
    with pytest.raises(UserError, match=words):
        preprocessing_from(description, nn.Identity())


def test_whitening_mistakes():
    with pytest.raises(UserError, match="meet a whitening for"):
        Whitening.fit(images())(images(2, side=5))
    with pytest.raises(UserError, match="fitted on images"):
        Whitening.fit(torch.rand(10, 4))
