"""Regressors: small modules that map the student's value to the teacher's shape; they are dropped after training.

Built from traced values, so no channels need to be given. ``regressor`` builds (without the batch dimension):

| student | teacher | kind | built |
|---|---|---|---|
| any | the same shape | auto, conv, maxout | nothing (None): "added only if needed" |
| map C,H,W | map O,P,Q, a little smaller | auto | FitNets' convolution: valid, stride 1, kernel H-P+1 by W-Q+1 |
| map | map, much smaller | auto | 3x3, stride 2 where exactly halved; else a convolution of about the ratio's stride |
| map | map, smaller in no neat ratio | auto | averaged to the teacher's grid, then 1x1 |
| map | map, not larger | conv | FitNets' convolution, whatever its kernel |
| map | map, not larger | maxout | the same with 2 linear pieces and U(-.05, .05), as for the paper's maxout teachers |
| map | map, larger | auto, conv | 4x4 transposed, stride 2 where exactly doubled; else 1x1, then interpolated |
| map | map | crd | ConvReg: 3x3 stride 2, 4x4 transposed or FitNets' convolution; batch norm; ReLU |
| any | any that ConvReg cannot join | crd | as ``auto`` |
| map | map | linear | resized to the teacher's grid, then 1x1 |
| vector D | vector E | all but maxout | linear |
| map, tokens | vector | likewise | averaged over the places, then linear |
| vector | map, tokens | likewise | linear onto every value (the paper's fully connected form: many weights) |
| tokens T,D | tokens U,E | likewise | linear; where T and U differ both must be grids, and the grid is resized |
| tokens | map | any | laid out as a grid without class and register tokens, then as between maps |
| map | tokens | any | as between maps, then laid out as tokens; class and register tokens get the mean |

"A little smaller" is a ratio up to 1.5 with a kernel up to 7: past that FitNets' kernel costs more than it teaches.
T tokens are a grid where T - k is a square (or the other side's H times W) for a k of 0 to 8, k = 1 tried first,
and a k above 1 only before a grid of 4 k at least.

References: Romero et al., "FitNets: hints for thin deep nets", ICLR 2015, section 2.2; ConvReg is from the code of
Tian et al., "Contrastive representation distillation", ICLR 2020.
Differences: "conv" has no activation after it (the authors' code has the teacher's: a hint after a ReLU is never
negative) and PyTorch's initialisation; the paper has no regressor for a student whose map is smaller.
"""

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor, nn

from understudy.errors import UserError, did_you_mean
from understudy.taps.forms import Size, layout
from understudy.taps.modules import Chain, GridToTokens, Maxout, MeanOverPlaces, Resize, TokensToGrid

Regressor = Literal["auto", "conv", "maxout", "crd", "linear", "none"]

MOST_RATIO = 1.5  # of the student's map to the teacher's, up to which "auto" takes FitNets' convolution
MOST_KERNEL = 7
MOST_STRIDE = 8
MAXOUT_PIECES = 2
MAXOUT_RANGE = 0.05


def regressor(student: Tensor, teacher: Tensor, kind: Regressor = "auto") -> nn.Module | None:
    """The module that maps the student's value to the teacher's shape; None if the shapes are equal.

    Args:
        student, teacher: the values at both taps for one small batch; shapes, device and type are read.
        kind: see the table in this module's docstring.
    """
    if kind not in get_args(Regressor):
        raise UserError(f"regressor {kind!r} is not known{did_you_mean(kind, get_args(Regressor))}")
    same = student.shape[1:] == teacher.shape[1:]
    if same and kind in ("auto", "conv", "maxout", "none"):
        return None
    if kind == "none":
        raise _impossible(student, teacher, "the shapes differ and regressor='none'", "take 'auto'")
    build = _BUILD.get((student.ndim, teacher.ndim))
    if build is None:
        raise _impossible(
            student, teacher, "regressors join vectors (N,D), tokens (N,T,D) and maps (N,C,H,W)", "tap two of these"
        )
    if kind == "crd" and not _joined_by_conv_reg(student, teacher):
        kind = "auto"
        if same:
            return None
    if kind == "maxout" and (2 in (student.ndim, teacher.ndim) or 4 not in (student.ndim, teacher.ndim)):
        raise _impossible(student, teacher, f"regressor={kind!r} joins maps", "take 'auto'")
    return build(student, teacher, kind).to(student.device, student.dtype)


def _joined_by_conv_reg(student: Tensor, teacher: Tensor) -> bool:
    """ConvReg knows maps, and tokens beside maps; of these a student's of any larger size or of half the size."""
    if student.ndim == teacher.ndim == 4:
        have, want = _size(student), _size(teacher)
        return (have[0] >= want[0] and have[1] >= want[1]) or _times(2, have, want)
    return {student.ndim, teacher.ndim} == {3, 4}


def _impossible(student: Tensor, teacher: Tensor, why: str, way_out: str) -> UserError:
    shapes = f"no regressor from the student's {tuple(student.shape)} to the teacher's {tuple(teacher.shape)}"
    return UserError(f"{shapes}: {why}; {way_out}")


def _between_maps(student: Tensor, teacher: Tensor, kind: Regressor) -> nn.Module:
    inputs, outputs = student.shape[1], teacher.shape[1]
    have, want = _size(student), _size(teacher)
    covers = have[0] >= want[0] and have[1] >= want[1]
    if kind == "linear":
        return _resized(inputs, outputs, have, want)
    if kind == "crd":
        if not covers and not _times(2, have, want):  # tokens laid out
            return _enlarging(inputs, outputs, have, want)
        return Chain(_conv_reg(inputs, outputs, have, want), nn.BatchNorm2d(outputs), nn.ReLU())
    if kind == "maxout":
        if not covers:
            raise _impossible(student, teacher, "the paper's regressor cannot enlarge a map", "take 'auto'")
        return _maxout(inputs, outputs, have, want)
    if not covers:
        return _enlarging(inputs, outputs, have, want)
    return _fitnets(inputs, outputs, have, want) if kind == "conv" else _shrinking(inputs, outputs, have, want)


def _fitnets(inputs: int, outputs: int, have: Size, want: Size) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, (have[0] - want[0] + 1, have[1] - want[1] + 1))


def _maxout(inputs: int, outputs: int, have: Size, want: Size) -> nn.Module:
    convolution = _fitnets(inputs, outputs * MAXOUT_PIECES, have, want)
    nn.init.uniform_(convolution.weight, -MAXOUT_RANGE, MAXOUT_RANGE)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return Chain(convolution, Maxout(MAXOUT_PIECES))


def _conv_reg(inputs: int, outputs: int, have: Size, want: Size) -> nn.Module:
    if _times(2, want, have):
        return nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
    if _times(2, have, want):
        return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
    return _fitnets(inputs, outputs, have, want)


def _shrinking(inputs: int, outputs: int, have: Size, want: Size) -> nn.Module:
    axes = list(zip(have, want, strict=True))
    if all(h <= MOST_RATIO * w and h - w < MOST_KERNEL for h, w in axes):
        return _fitnets(inputs, outputs, have, want)
    if _times(2, want, have):
        return nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
    strides = [h // w for h, w in axes]
    kernels = [h - (w - 1) * stride for (h, w), stride in zip(axes, strides, strict=True)]
    if all(s <= MOST_STRIDE and k <= 2 * s for s, k in zip(strides, kernels, strict=True)):
        return nn.Conv2d(inputs, outputs, (kernels[0], kernels[1]), stride=(strides[0], strides[1]))
    return _resized(inputs, outputs, have, want)


def _enlarging(inputs: int, outputs: int, have: Size, want: Size) -> nn.Module:
    if _times(2, have, want):
        return nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
    return _resized(inputs, outputs, have, want)


def _resized(inputs: int, outputs: int, have: Size, want: Size) -> nn.Module:
    """A 1x1 convolution and resizing, which commute: the 1x1 is applied to the smaller map."""
    projection = nn.Conv2d(inputs, outputs, 1)
    if have == want:
        return projection
    larger = want[0] * want[1] > have[0] * have[1]
    return Chain(projection, Resize(want)) if larger else Chain(Resize(want), projection)


def _times(factor: int, small: Size, large: Size) -> bool:
    return large == (factor * small[0], factor * small[1])


def _size(values: Tensor) -> Size:
    return values.shape[2], values.shape[3]


def _between_vectors(student: Tensor, teacher: Tensor, kind: Regressor) -> nn.Module:
    return nn.Linear(student.shape[-1], teacher.shape[-1])


def _to_vector(student: Tensor, teacher: Tensor, kind: Regressor) -> nn.Module:
    features = student.shape[1] if student.ndim == 4 else student.shape[2]
    return Chain(MeanOverPlaces(), nn.Linear(features, teacher.shape[1]))


def _from_vector(student: Tensor, teacher: Tensor, kind: Regressor) -> nn.Module:
    shape = teacher.shape[1:]
    return Chain(nn.Linear(student.shape[1], shape.numel()), nn.Unflatten(1, shape))


def _between_tokens(student: Tensor, teacher: Tensor, kind: Regressor) -> nn.Module:
    if student.shape[1] == teacher.shape[1]:
        return _between_vectors(student, teacher, kind)
    grid, wanted = layout(student.shape[1]), layout(teacher.shape[1])
    if grid is None or wanted is None:
        raise _impossible(student, teacher, *_NO_GRID)
    (have, dropped), (want, added) = grid, wanted
    resize = [Resize(want)] if have != want else []
    linear = nn.Linear(student.shape[2], teacher.shape[2])
    return Chain(TokensToGrid(have, dropped), *resize, GridToTokens(added), linear)


def _tokens_to_map(student: Tensor, teacher: Tensor, kind: Regressor) -> nn.Module:
    laid_out = layout(student.shape[1], _size(teacher))
    if laid_out is None:
        raise _impossible(student, teacher, *_NO_GRID)
    to_grid = TokensToGrid(*laid_out)
    return Chain(to_grid, *_parts(regressor(to_grid(student), teacher, kind)))


def _map_to_tokens(student: Tensor, teacher: Tensor, kind: Regressor) -> nn.Module:
    laid_out = layout(teacher.shape[1], _size(student))
    if laid_out is None:
        raise _impossible(student, teacher, *_NO_GRID)
    size, extra = laid_out
    return Chain(*_parts(regressor(student, TokensToGrid(size, extra)(teacher), kind)), GridToTokens(extra))


def _parts(module: nn.Module | None) -> list[nn.Module]:
    if module is None:
        return []
    return list(module.children()) if isinstance(module, Chain) else [module]


_NO_GRID = (
    "the tokens, less 0 to 8 class and register tokens, are no square grid",
    "tap a place with a grid of tokens",
)

_BUILD: dict[Size, Callable[[Tensor, Tensor, Regressor], nn.Module]] = {
    (4, 4): _between_maps,
    (2, 2): _between_vectors,
    (3, 3): _between_tokens,
    (3, 4): _tokens_to_map,
    (4, 3): _map_to_tokens,
    (4, 2): _to_vector,
    (3, 2): _to_vector,
    (2, 4): _from_vector,
    (2, 3): _from_vector,
}
