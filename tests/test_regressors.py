"""Every pair of shapes gets the module that the table in understudy.taps.regressors promises."""

import pytest
import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.taps.regressors import regressor


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def checked(student: tuple[int, ...], teacher: tuple[int, ...], kind: str = "auto") -> nn.Module:
    """The regressor, after a look at the shape that it makes and at the gradient that it lets through."""
    guided = torch.randn(2, *student, requires_grad=True)
    module = regressor(guided.detach(), torch.randn(2, *teacher), kind)
    assert module is not None
    made: Tensor = module(guided)
    assert made.shape == (2, *teacher)
    made.square().sum().backward()
    assert guided.grad is not None
    assert guided.grad.abs().sum() > 0
    assert all(p.grad is not None for p in module.parameters())
    return module


@pytest.mark.parametrize(
    ("student", "teacher", "kind", "built"),
    [
        ((4, 8, 8), (6, 8, 8), "auto", "Conv2d(4, 6, kernel_size=(1, 1), stride=(1, 1))"),
        ((4, 8, 8), (6, 7, 7), "auto", "Conv2d(4, 6, kernel_size=(2, 2), stride=(1, 1))"),
        ((4, 8, 9), (6, 6, 7), "auto", "Conv2d(4, 6, kernel_size=(3, 3), stride=(1, 1))"),
        ((4, 8, 8), (6, 3, 3), "conv", "Conv2d(4, 6, kernel_size=(6, 6), stride=(1, 1))"),
        ((4, 8, 8), (6, 4, 4), "auto", "Conv2d(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))"),
        ((4, 16, 16), (6, 7, 7), "auto", "Conv2d(4, 6, kernel_size=(4, 4), stride=(2, 2))"),
        ((4, 16, 8), (6, 4, 8), "auto", "Conv2d(4, 6, kernel_size=(4, 1), stride=(4, 1))"),
        ((4, 13, 13), (6, 7, 7), "auto", "Resize(7x7) -> Conv2d(4, 6, kernel_size=(1, 1), stride=(1, 1))"),
        ((4, 32, 32), (6, 2, 2), "auto", "Resize(2x2) -> Conv2d(4, 6, kernel_size=(1, 1), stride=(1, 1))"),
        ((4, 4, 4), (6, 8, 8), "auto", "ConvTranspose2d(4, 6, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1))"),
        ((4, 4, 4), (6, 7, 7), "conv", "Conv2d(4, 6, kernel_size=(1, 1), stride=(1, 1)) -> Resize(7x7)"),
        ((4, 4, 9), (6, 7, 3), "auto", "Resize(7x3) -> Conv2d(4, 6, kernel_size=(1, 1), stride=(1, 1))"),
        ((4, 8, 8), (4, 8, 8), "linear", "Conv2d(4, 4, kernel_size=(1, 1), stride=(1, 1))"),
        ((4, 8, 8), (6, 7, 7), "linear", "Resize(7x7) -> Conv2d(4, 6, kernel_size=(1, 1), stride=(1, 1))"),
        ((8,), (6,), "auto", "Linear(in_features=8, out_features=6, bias=True)"),
        ((4, 5, 5), (6,), "auto", "MeanOverPlaces() -> Linear(in_features=4, out_features=6, bias=True)"),
        ((17, 8), (6,), "auto", "MeanOverPlaces() -> Linear(in_features=8, out_features=6, bias=True)"),
        ((3, 8), (3, 6), "auto", "Linear(in_features=8, out_features=6, bias=True)"),
    ],
)
def test_what_is_built(student: tuple[int, ...], teacher: tuple[int, ...], kind: str, built: str) -> None:
    assert repr(checked(student, teacher, kind)) == built


@pytest.mark.parametrize(
    ("student", "teacher", "kind"),
    [
        ((8,), (6, 3, 3), "auto"),
        ((8,), (5, 6), "auto"),
        ((17, 8), (10, 6), "auto"),  # a 4x4 grid to a 3x3 one, a class token on both sides
        ((17, 8), (16, 6), "auto"),
        ((17, 8), (6, 4, 4), "auto"),
        ((17, 8), (8, 4, 4), "auto"),
        ((41, 8), (6, 8, 8), "auto"),  # a class token and four registers before 6x6
        ((6, 8), (5, 3, 2), "auto"),  # the teacher's own 3x2 is taken for the grid
        ((17, 8), (6, 3, 3), "maxout"),
        ((17, 8), (6, 2, 2), "crd"),
        ((4, 8, 8), (17, 6), "auto"),
        ((6, 4, 4), (17, 6), "auto"),
        ((4, 8, 8), (16, 6), "crd"),
        ((4, 8, 8), (6, 8, 8), "crd"),
        ((4, 8, 8), (6, 4, 4), "crd"),
        ((4, 8, 8), (6, 16, 16), "crd"),
        ((4, 8, 8), (6, 7, 7), "crd"),
        ((4, 4, 4), (6, 7, 7), "crd"),
        ((4, 2, 2), (6, 8, 8), "crd"),
        ((4, 5, 5), (6,), "crd"),
        ((17, 8), (17, 6), "crd"),
        ((4, 8, 8), (6, 7, 7), "maxout"),
    ],
)
def test_shapes_fit(student: tuple[int, ...], teacher: tuple[int, ...], kind: str) -> None:
    checked(student, teacher, kind)


@pytest.mark.parametrize("kind", ["auto", "conv", "maxout", "none"])
@pytest.mark.parametrize("shape", [(8,), (5, 8), (4, 6, 6), (2, 3, 4, 5)])
def test_added_only_if_needed(kind: str, shape: tuple[int, ...]) -> None:
    assert regressor(torch.zeros(2, *shape), torch.zeros(3, *shape), kind) is None


@pytest.mark.parametrize(("channels", "weights"), [(32, 49_152), (80, 122_880)], ids=["fitnet1", "fitnets2-4"])
def test_the_papers_regressor(channels: int, weights: int) -> None:
    module = checked((channels, 8, 8), (192, 7, 7), "maxout")
    kernels = [p for p in module.parameters() if p.ndim == 4]
    assert sum(p.numel() for p in kernels) == weights
    assert parameters(module) == weights + 2 * 192
    assert kernels[0].abs().max() <= 0.05
    assert kernels[0].abs().max() > 0.049


def test_crd_ends_in_batch_norm_and_relu() -> None:
    parts = [type(part).__name__ for part in checked((4, 8, 8), (6, 4, 4), "crd")]
    assert parts == ["Conv2d", "BatchNorm2d", "ReLU"]


def test_tokens_keep_their_places() -> None:
    tokens = torch.arange(17.0).reshape(1, 17, 1)
    to_map = regressor(tokens, torch.zeros(1, 1, 4, 4))
    assert to_map is not None
    grid = to_map(tokens)
    assert torch.equal(grid, torch.arange(1.0, 17.0).reshape(1, 1, 4, 4))
    back = regressor(grid, tokens)
    assert back is not None
    assert torch.equal(back(grid)[:, 1:], tokens[:, 1:])
    assert back(grid)[0, 0, 0] == tokens[:, 1:].mean()


def test_type_and_device_are_the_students() -> None:
    student = torch.zeros(1, 4, 2, 2, dtype=torch.float64)
    module = regressor(student, torch.zeros(1, 6, 2, 2))
    assert module is not None
    assert module(student).dtype == torch.float64


@pytest.mark.parametrize(
    ("student", "teacher", "kind", "way_out"),
    [
        ((7, 8), (6, 4), "auto", "grid of tokens"),
        ((12, 8), (6, 5, 5), "auto", "grid of tokens"),
        ((6, 4, 4), (12, 8), "auto", "grid of tokens"),
        ((4, 2, 5, 5), (6, 2, 5, 5), "auto", "tap two of these"),
        ((4, 8, 8), (6, 8, 8), "none", "take 'auto'"),
        ((4, 4, 4), (6, 7, 7), "maxout", "take 'auto'"),
        ((8,), (6,), "maxout", "take 'auto'"),
    ],
)
def test_impossible_pairs(student: tuple[int, ...], teacher: tuple[int, ...], kind: str, way_out: str) -> None:
    with pytest.raises(UserError) as caught:
        regressor(torch.zeros(2, *student), torch.zeros(2, *teacher), kind)
    words = str(caught.value)
    assert str((2, *student)) in words
    assert str((2, *teacher)) in words
    assert way_out in words


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'maxout'"):
        regressor(torch.zeros(1, 2), torch.zeros(1, 3), "maxot")
