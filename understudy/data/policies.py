"""RandAugment and TrivialAugment on whole batches: operations that are drawn for each image.

Operations and ranges are those of torchvision's ``RandAugment`` and ``TrivialAugmentWide``; images that are moved are
filled with 0, by the nearest pixel, as there by default.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy import randomness
from understudy.bounds import STRICT, Count, Interval
from understudy.data import colour
from understudy.data.rows import OnHost, in_pieces, sent
from understudy.randomness import Number

BINS = 31  # a magnitude is one of so many steps

Operation = Callable[[Tensor, Tensor], Tensor]  # images and each one's strength, which may be negative


@dataclass(frozen=True)
class RandAugment:
    """Some operations one after the other, all of one magnitude (Cubuk et al., 2020).

    Args:
        operations: how many.
        magnitude: from 0 to 30.

    >>> print(RandAugment(magnitude=5))
    RandAugment(name='rand', operations=2, magnitude=5)
    """

    name: Literal["rand"] = "rand"
    operations: Count = 2
    magnitude: Annotated[int, Interval(ge=0, lt=BINS)] = 9

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def draw(
        self,
        x: Tensor,
        seed: int,
        epoch: Number,
        ids: Tensor,
        *,
        host: OnHost | None = None,
        owned: bool = False,
    ) -> Tensor:
        """The changed images; ``host`` and ``owned`` are those of ``Jitter.draw``."""
        host, x = host or OnHost.of(epoch, ids), x if owned else x.clone()
        strength = torch.full(ids.shape, self.magnitude / (BINS - 1))
        for number in range(self.operations):
            _apply(x, _operations(x, wide=False), strength, seed, host, f"rand/{number}")
        return x


@dataclass(frozen=True)
class TrivialAugment:
    """One operation of a random magnitude (Müller and Hutter, 2021, the wide space).

    >>> print(TrivialAugment())
    TrivialAugment(name='trivial')
    """

    name: Literal["trivial"] = "trivial"

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def draw(
        self,
        x: Tensor,
        seed: int,
        epoch: Number,
        ids: Tensor,
        *,
        host: OnHost | None = None,
        owned: bool = False,
    ) -> Tensor:
        """The changed images; ``host`` and ``owned`` are those of ``Jitter.draw``."""
        host, x = host or OnHost.of(epoch, ids), x if owned else x.clone()
        strength = randomness.integers(seed, host.epoch, host.ids, "trivial/magnitude", 0, BINS) / (BINS - 1)
        _apply(x, _operations(x, wide=True), strength, seed, host, "trivial")
        return x


def _apply(
    x: Tensor, operations: list[Operation | None], strength: Tensor, seed: int, host: OnHost, purpose: str
) -> None:
    """To each image, in its memory, the operation that is drawn for it; None leaves it as it is.

    The choices are made on the CPU, where the number of images of an operation is known without waiting for a device.
    """
    choice = randomness.integers(seed, host.epoch, host.ids, f"{purpose}/operation", 0, len(operations))
    sign = torch.where(randomness.uniform(seed, host.epoch, host.ids, f"{purpose}/sign") < 0.5, -1.0, 1.0)
    order = choice.argsort(stable=True)
    counts = choice.bincount(minlength=len(operations)).tolist()
    rows, strengths = sent(order, x.device).split(counts), sent((strength * sign)[order], x.device).split(counts)
    for operation, of_all, amounts in zip(operations, rows, strengths, strict=True):
        if operation is None:
            continue
        pieces = zip(in_pieces(of_all, x), in_pieces(amounts, x), strict=True)
        for chosen, amount in pieces:
            x.index_copy_(0, chosen, operation(x.index_select(0, chosen), amount))


def _operations(x: Tensor, *, wide: bool) -> list[Operation | None]:
    """In torchvision's order; a strength is between -1 and 1."""
    height, width = x.shape[2:]
    shear, turn, factor = (0.99, 135.0, 0.99) if wide else (0.3, 30.0, 0.9)
    across, down = (32.0, 32.0) if wide else (150 / 331 * width, 150 / 331 * height)
    least_bits = 6 if wide else 4

    def factored(change: Operation) -> Operation:
        return lambda images, s: change(images, 1 + factor * s)

    return [
        None,
        lambda images, s: moved(images, shear_x=shear * s),
        lambda images, s: moved(images, shear_y=shear * s),
        lambda images, s: moved(images, right=(across * s).trunc()),
        lambda images, s: moved(images, down=(down * s).trunc()),
        lambda images, s: moved(images, turn=turn * s),
        factored(colour.brightness),
        factored(colour.saturation),
        factored(colour.contrast),
        factored(colour.sharpness),
        lambda images, s: colour.posterized(images, 8 - (least_bits * s.abs()).round()),
        lambda images, s: colour.solarized(images, 255 * (1 - s.abs())),
        lambda images, _: colour.autocontrast(images),
        lambda images, _: colour.equalized(images),
    ]


def moved(
    x: Tensor,
    *,
    shear_x: Tensor | None = None,
    shear_y: Tensor | None = None,
    right: Tensor | None = None,
    down: Tensor | None = None,
    turn: Tensor | None = None,
) -> Tensor:
    """The images sheared (from their upper left corner), shifted by pixels, or turned by degrees about their middle."""
    _, _, height, width = x.shape
    rows = torch.arange(height, device=x.device, dtype=torch.float32)[None, :, None]
    columns = torch.arange(width, device=x.device, dtype=torch.float32)[None, None, :]
    if turn is not None:
        cos, sin = (turn * (pi / 180)).cos()[:, None, None], (turn * (pi / 180)).sin()[:, None, None]
        y, z = rows - (height - 1) / 2, columns - (width - 1) / 2
        from_row, from_column = cos * y + sin * z + (height - 1) / 2, cos * z - sin * y + (width - 1) / 2
    else:
        from_column = columns if right is None else columns - right[:, None, None]
        from_row = rows if down is None else rows - down[:, None, None]
        if shear_x is not None:
            from_column = from_column + shear_x[:, None, None] * (rows + 0.5)
        if shear_y is not None:
            from_row = from_row + shear_y[:, None, None] * (columns + 0.5)
    grid = grid_of(x, (2 * from_column + 1) / width - 1, (2 * from_row + 1) / height - 1)
    return F.grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def grid_of(x: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """The grid (N, H, W, 2) of coordinates that are each broadcast to it."""
    grid = torch.empty(len(x), *x.shape[2:], 2, dtype=x.dtype, device=x.device)
    grid[..., 0], grid[..., 1] = across, down
    return grid
