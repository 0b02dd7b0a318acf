"""Forms in which a tapped value is read: as it is, as a map of places, or after a ReLU.

| form | value | read as |
|---|---|---|
| ``grid`` | tokens (N, k + H*W, D) of a square grid, k class and register tokens first | a map (N, D, H, W) |
| ``grid4x8`` | the same for a grid of 4 rows and 8 columns | a map (N, D, 4, 8) |
| ``grid`` | a map whose channels are last, (N, H, W, D) | a map (N, D, H, W) |
| ``relu`` | any | its ReLU, where a network calls that as a function |
| ``query``, ``key``, ``value`` | an attention module | its projections by head, see ``taps.attention`` |

T tokens are a grid where T - k is a square for a k of 0 to 8, k = 1 tried first, and a k above 1 only before a grid of
4 k at least.
"""

import re
from math import isqrt

from torch import Tensor

from understudy.errors import UserError
from understudy.taps.attention import FORMS as PROJECTIONS

Size = tuple[int, int]

RELU, GRID = "relu", "grid"
EXTRA_TOKENS = (1, 0, 2, 3, 4, 5, 6, 7, 8)  # class and register tokens before the grid, the likeliest first

_GRID = re.compile(rf"{GRID}(?:([1-9]\d*)x([1-9]\d*))?")


def is_form(text: str) -> bool:
    """Whether a word names a form.

    >>> is_form("grid"), is_form("grid4x8"), is_form("inputs")
    (True, True, False)
    """
    return text == RELU or text in PROJECTIONS or _GRID.fullmatch(text) is not None


def read(value: Tensor, form: str) -> Tensor:
    """A value in a form.

    >>> import torch
    >>> read(torch.zeros(2, 17, 3), "grid").shape, read(torch.zeros(2, 4, 4, 3), "grid").shape
    (torch.Size([2, 3, 4, 4]), torch.Size([2, 3, 4, 4]))
    """
    if not form or form in PROJECTIONS:  # a hook has read it already
        return value
    if form == RELU:
        return value.relu()
    if value.ndim == 4:
        return value.permute(0, 3, 1, 2)
    if value.ndim != 3:
        raise UserError(
            f"a value of shape {tuple(value.shape)} has no places to be read as a grid: leave out ':{form}'"
        )
    (height, width), extra = _layout_of(value, form)
    return value[:, extra:].transpose(1, 2).reshape(len(value), value.shape[2], height, width)


def layout(tokens: int, like: Size | None = None) -> tuple[Size, int] | None:
    """The grid of so many tokens, and how many stand before it; a grid ``like`` a known one is tried first.

    >>> layout(197), layout(33, like=(4, 8)), layout(7)
    (((14, 14), 1), ((4, 8), 1), None)
    """
    if like:
        for extra in EXTRA_TOKENS:
            if tokens - extra == like[0] * like[1]:
                return like, extra
    for extra in EXTRA_TOKENS:
        side = isqrt(max(0, tokens - extra))
        few = extra <= 1 or side * side >= 4 * extra  # 12 tokens are no 3x3 grid with 3 tokens before it
        if side and few and side * side == tokens - extra:
            return (side, side), extra
    return None


def form_of(tokens: int, grid: Size) -> str:
    """The form in which so many tokens are this grid."""
    return GRID if (square := layout(tokens)) is not None and square[0] == grid else f"{GRID}{grid[0]}x{grid[1]}"


def _layout_of(value: Tensor, form: str) -> tuple[Size, int]:
    match = _GRID.fullmatch(form)
    assert match is not None
    tokens = value.shape[1]
    if match[1] is None:
        found = layout(tokens)
    else:
        size = int(match[1]), int(match[2])
        extra = tokens - size[0] * size[1]
        found = (size, extra) if extra in EXTRA_TOKENS else None
    if found is None:
        raise UserError(
            f"{tokens} tokens, less {min(EXTRA_TOKENS)} to {max(EXTRA_TOKENS)} class and register tokens, are no "
            f"{form.removeprefix(GRID) or 'square'} grid: name the grid, as in ':{GRID}4x8', or tap another place"
        )
    return found
