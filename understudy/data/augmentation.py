"""Augmentation of whole batches, as functions of (seed, epoch, sample id).

The same key gives the same view on any machine, in any batch, in any order: integers (shifts, flips, partners) bit
for bit, mixing shares up to the last bit of the device's arithmetic.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy import randomness
from understudy.errors import UserError
from understudy.tasks.task import Moves


@dataclass(frozen=True)
class Draw:
    """Identifies the views: their random numbers are a function of this and of the sample's number."""

    seed: int
    number: int  # of the view; usually that of the epoch


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of the samples. By default there is none.

    Args:
        shift: the largest shift in pixels, in each direction, over zeros (as a random crop with padding).
        flip: mirrors half of the samples from left to right.
        cutout: the side of a square that is set to 0, at a random position (partly outside, too).
        mixup: alpha of Beta(alpha, alpha); every sample is mixed with another one, and so are their targets.

    >>> print(Augmentation(shift=4, flip=True))
    Augmentation(shift=4, flip=True, cutout=0, mixup=0.0)
    """

    shift: int = 0
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if min(self.shift, self.cutout, self.mixup) < 0:
            raise UserError(f"views must not be negative: {self}")

    def partners(self, seed: int, epoch: int, ids: Tensor, pool: Tensor) -> Tensor | None:
        """The partner of each sample for mixup, drawn from ``pool``; None without mixup."""
        if not self.mixup:
            return None
        drawn = randomness.integers(seed, epoch, ids, "mixup/partner", 0, len(pool))
        return pool[drawn.to(pool.device)].to(ids.device)

    @property
    def moves(self) -> bool:
        """Whether the augmentation moves pixels."""
        return self.shift > 0 or self.flip

    def moved(self, size: tuple[int, int], seed: int, epoch: int, ids: Tensor) -> Moves:
        """How ``draw`` moves images of this height and width, for targets that follow."""
        mirrored = self._mirrored(seed, epoch, ids) if self.flip else None
        if not self.shift:
            return Moves(size, mirrored)
        down, right = (self.shift - self._cut(seed, epoch, ids, axis) for axis in ("y", "x"))
        # A mirrored image is cut out of the padded one from the right.
        return Moves(size, mirrored, down, right if mirrored is None else torch.where(mirrored, -right, right))

    def _mirrored(self, seed: int, epoch: int, ids: Tensor) -> Tensor:
        return randomness.uniform(seed, epoch, ids, "flip") < 0.5

    def _cut(self, seed: int, epoch: int, ids: Tensor, axis: str) -> Tensor:
        """The first line or column of the padded image that is kept."""
        return randomness.integers(seed, epoch, ids, f"shift/{axis}", 0, 2 * self.shift + 1)

    def draw(self, images: Tensor, seed: int, epoch: int, ids: Tensor) -> Tensor:
        """One view of each image, in float: uint8 comes out between 0 and 1."""
        self._check(images)
        if self.moves:
            images = self._moved(images, seed, epoch, ids)
        return images.float().mul_(1 / 255) if images.dtype == torch.uint8 else images

    def _check(self, images: Tensor) -> None:
        """Raises a ``UserError`` for augmentation that does not apply to the samples."""
        if images.ndim != 4 and (self.moves or self.cutout):
            raise UserError(
                f"shift, flip and cutout need images (C, H, W); samples have shape {tuple(images.shape[1:])}"
            )
        if images.ndim == 4 and self.shift >= (size := min(images.shape[2:])):
            raise UserError(f"shift = {self.shift} would leave nothing of images of {size} pixels: make it smaller")
        if self.mixup and not (images.is_floating_point() or images.dtype == torch.uint8):
            raise UserError(f"mixup needs images or floating-point samples, not {images.dtype}")

    def _moved(self, images: Tensor, seed: int, epoch: int, ids: Tensor) -> Tensor:
        """Every image shifted and mirrored by its own draw: first the lines, then within them the pixels."""
        n, channels, height, width = images.shape
        most, device = self.shift, images.device
        rows = torch.arange(height, device=device).expand(n, -1)
        columns = torch.arange(width, device=device).expand(n, -1)
        if self.flip:
            mirrored = self._mirrored(seed, epoch, ids)
            columns = torch.where(mirrored[:, None], columns.flip(1), columns)
        if most:
            images = F.pad(images, (most,) * 4)
            rows = rows + self._cut(seed, epoch, ids, "y")[:, None]
            columns = columns + self._cut(seed, epoch, ids, "x")[:, None]
        planes = torch.arange(n * channels, device=device).view(n, channels, 1) * images.shape[2]
        lines = images.reshape(-1, images.shape[3]).index_select(0, (planes + rows[:, None, :]).flatten())
        chosen = columns[:, None, None, :].expand(-1, channels, height, -1)
        return lines.view(n, channels, height, -1).gather(3, chosen)

    def finish(self, x: Tensor, seed: int, epoch: int, ids: Tensor) -> Tensor:
        """The augmentation after mixing: cutout."""
        return _cutout(x, self.cutout, seed, epoch, ids) if self.cutout else x

    def share(self, seed: int, epoch: int, ids: Tensor) -> Tensor:
        """The share of each sample in its mixture."""
        return randomness.beta(seed, epoch, ids, "mixup/share", self.mixup)


PLAIN = Augmentation()


def mixed(x: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """``share * x + (1 - share) * partner``, sample by sample."""
    weight = share.view(-1, *[1] * (x.ndim - 1)).to(x.dtype)
    return (x - partner).mul_(weight).add_(partner)


def _cutout(x: Tensor, side: int, seed: int, epoch: int, ids: Tensor) -> Tensor:
    _, _, height, width = x.shape
    top = randomness.integers(seed, epoch, ids, "cutout/y", 0, height) - side // 2
    left = randomness.integers(seed, epoch, ids, "cutout/x", 0, width) - side // 2
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    in_rows = (rows >= top[:, None]) & (rows < top[:, None] + side)
    in_columns = (columns >= left[:, None]) & (columns < left[:, None] + side)
    hole = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return x.masked_fill(hole, 0)
