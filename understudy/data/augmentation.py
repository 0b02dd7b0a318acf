"""Augmentation of whole batches, as functions of (seed, epoch, sample id).

The same key gives the same view on any machine, in any batch, in any order: integers (shifts, flips, boxes, operations,
partners) bit for bit, what is computed from them (interpolation, colours, mixing shares) up to the device's rounding.
"""

from dataclasses import dataclass, fields, replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy import randomness
from understudy.bounds import STRICT, ByName, Interval, NonNegative, Positive, PositiveShare, Share
from understudy.data.colour import Blur, Erase, Jitter, boxes, grey, inside, solarized
from understudy.data.policies import RandAugment, TrivialAugment, grid_of
from understudy.data.rows import OnHost, at_once, change
from understudy.data.token_noise import TokenNoise
from understudy.data.turns import Turn
from understudy.errors import UserError
from understudy.randomness import Number
from understudy.tasks.task import Moves

LARGE = 1 << 14  # values of an image from which each is moved by itself on a CPU
FEW = 8  # lines of a grid of which one is used: of fewer, small grids would be computed in another way


@dataclass(frozen=True)
class Draw:
    """Identifies the views: their random numbers are a function of this and of the sample's number."""

    seed: int
    number: int  # of the view; usually that of the epoch


@dataclass(frozen=True)
class Crop:
    """A box of each image, drawn by area and ratio, is resized to the size of the image (random-resized crop).

    Args:
        scale: the least and the largest share of the area.
        ratio: the least and the largest ratio of width to height.

    >>> print(Crop(scale=(0.35, 1.0)))
    Crop(scale=(0.35, 1.0), ratio=(0.75, 1.3333333333333333))
    """

    scale: tuple[PositiveShare, PositiveShare] = (0.08, 1.0)
    ratio: tuple[Annotated[float, Interval(gt=0, le=100)], Annotated[float, Interval(gt=0, le=100)]] = (3 / 4, 4 / 3)

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def boxes(
        self, size: tuple[int | Tensor, int | Tensor], seed: int, epoch: Number, ids: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Top, left, height and width of each image's box, in whole pixels; ``size`` is that of all or of each one."""
        return boxes(self.scale, self.ratio, size, seed, epoch, ids, "crop")

    def draw(self, x: Tensor, seed: int, epoch: Number, ids: Tensor, *, mirrored: Tensor | None = None) -> Tensor:
        """The boxes, resized by bilinear interpolation, in float: uint8 comes out between 0 and 1.

        Args:
            mirrored: (N,) bool, in which images left and right are exchanged then; None: in none.
        """
        n, channels, rows, columns = x.shape
        top, left, height, width = self.boxes((rows, columns), seed, epoch, ids)
        kind = torch.float32 if x.dtype == torch.uint8 else x.dtype
        zero = torch.zeros_like(top, dtype=kind)
        down = torch.stack([zero, height / rows, (2 * top + height) / rows - 1], dim=1)
        across = torch.stack([width / columns, zero, (2 * left + width) / columns - 1], dim=1)
        boxes = torch.stack([across, down], dim=1).to(kind)
        # All lines have the same coordinates across, all columns the same coordinates down.
        line = F.affine_grid(boxes, [n, channels, FEW, columns], align_corners=False)[:, :1, :, 0]
        line = line if mirrored is None else torch.where(mirrored[:, None, None], line.flip(2), line)
        column = F.affine_grid(boxes, [n, channels, rows, FEW], align_corners=False)[:, :, :1, 1]
        pieces = [
            _sampled(_as_float(some), *places)
            for some, *places in zip(*(each.split(at_once(x)) for each in (x, line, column)), strict=True)
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _sampled(x: Tensor, across: Tensor, down: Tensor) -> Tensor:
    grid = grid_of(x, across, down)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class CropBoxes:
    """The boxes of a crop in the views of a batch, for a source that cuts them out of the files."""

    crop: Crop
    seed: int
    number: Number

    def __call__(self, size: tuple[int | Tensor, int | Tensor], *, ids: Tensor) -> tuple[Tensor, ...]:
        return self.crop.boxes(size, self.seed, self.number, ids)

    def of(self, rows: slice | Tensor) -> "CropBoxes":
        """Those of some rows of the batch."""
        return self if isinstance(self.number, int) else replace(self, number=self.number[rows])


Policy = RandAugment | TrivialAugment


@dataclass(frozen=True, repr=False)
class Augmentation:
    """The augmentation of the samples, in the order of these settings. By default there is none.

    Args:
        crop: a box of each image is resized to the size of the image.
        shift: the largest shift in pixels, in each direction, over zeros (as a random crop with padding).
        flip: mirrors half of the samples from left to right.
        policy: operations that are drawn for each image.
        jitter: changes of brightness, contrast, saturation and hue.
        grey: the share of the images that become grey.
        blur: a Gaussian blur of some of the images.
        solarise: the share of the images whose levels above the half are inverted.
        mixup: alpha of Beta(alpha, alpha); every sample is mixed with another one, and so are their targets.
        cutmix: alpha of Beta(alpha, alpha); a box of another sample takes the place of its own, and targets are mixed
            by area. Beside mixup, half of the samples get one and half the other.
        cutout: the side of a square that is set to 0, at a random position (partly outside, too).
        erase: a rectangle of some of the images is set to 0.
        turn: clouds of points are turned, mirrored and scaled, with their boxes; the only change of such samples.
        tokens: tokens of texts are masked or left out; the only change of such samples.

    >>> print(Augmentation(shift=4, flip=True))
    Augmentation(shift=4, flip=True)
    """

    crop: Crop | None = None
    shift: Annotated[int, Interval(ge=0, le=100_000)] = 0
    flip: bool = False
    policy: Annotated[Policy, ByName()] | None = None
    jitter: Jitter | None = None
    grey: Share | None = None
    blur: Blur | None = None
    solarise: Share | None = None
    mixup: NonNegative = 0.0
    cutmix: Positive | None = None
    cutout: Annotated[int, Interval(ge=0, le=100_000)] = 0
    erase: Erase | None = None
    turn: Turn | None = None
    tokens: TokenNoise | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def __post_init__(self) -> None:
        for name in ("shift", "cutout", "mixup"):
            if not getattr(self, name) >= 0:  # NaN, too
                raise UserError(f"augmentation.{name} = {getattr(self, name)!r}: must not be negative")

    def __repr__(self) -> str:
        changed = [f"{f.name}={getattr(self, f.name)!r}" for f in fields(self) if getattr(self, f.name) != f.default]
        return f"Augmentation({', '.join(changed)})"

    @property
    def mixes(self) -> bool:
        """Whether samples are mixed with others, and their targets, too."""
        return self.mixup > 0 or self.cutmix is not None

    def partners(self, seed: int, epoch: Number, ids: Tensor, pool: Tensor) -> Tensor | None:
        """The sample that each one is mixed with, drawn from ``pool``; None where none is."""
        if not self.mixes:
            return None
        drawn = randomness.integers(seed, epoch, ids, "mixup/partner", 0, len(pool))
        return pool[drawn.to(pool.device)].to(ids.device)

    @property
    def moves(self) -> bool:
        """Whether the augmentation moves pixels."""
        return self.shift > 0 or self.flip or self.crop is not None or self.bends

    @property
    def displaces(self) -> bool:
        """Whether what is at one place of a sample may be at another one of its view: of pixels, points or tokens."""
        return self.moves or self.turn is not None or (self.tokens is not None and self.tokens.displaces)

    @property
    def bends(self) -> bool:
        """Whether it moves them in a way that ``moved`` cannot describe."""
        return self.policy is not None

    def moved(self, size: tuple[int, int], seed: int, epoch: Number, ids: Tensor) -> Moves:
        """How ``draw`` moves images of this height and width, for targets that follow."""
        if self.bends:
            raise UserError(f"targets that are places cannot follow {self}: leave out policy")
        crop = self.crop.boxes(size, seed, epoch, ids) if self.crop is not None else None
        mirrored = self._mirrored(seed, epoch, ids) if self.flip else None
        if not self.shift:
            return Moves(size, mirrored, crop=crop)
        down, right = (self.shift - self._cut(seed, epoch, ids, axis) for axis in ("y", "x"))
        # A mirrored image is cut out of the padded one from the right.
        return Moves(size, mirrored, down, right if mirrored is None else torch.where(mirrored, -right, right), crop)

    def _mirrored(self, seed: int, epoch: Number, ids: Tensor) -> Tensor:
        return randomness.uniform(seed, epoch, ids, "flip") < 0.5

    def _cut(self, seed: int, epoch: Number, ids: Tensor, axis: str) -> Tensor:
        """The first line or column of the padded image that is kept."""
        return randomness.integers(seed, epoch, ids, f"shift/{axis}", 0, 2 * self.shift + 1)

    def draw(
        self, images: Tensor, seed: int, epoch: Number, ids: Tensor, *, host: OnHost | None = None, check: bool = True
    ) -> Tensor:
        """One view of each image, in float: uint8 comes out between 0 and 1.

        Args:
            epoch: the number of the view, or one for each image.
            host: the same numbers in the memory of the CPU, if they are known there; then nothing waits for a device.
            check: look whether the images' values fit the augmentation, for which a device is waited for.
        """
        self._check(images, values=check)
        if host is None:
            host = OnHost.of(epoch, ids) if self._chooses or ids.device.type == "cpu" else OnHost(0, ids)
        given = images
        if self.crop is not None:
            mirrored = self._mirrored(seed, epoch, ids) if self.flip and not self.shift else None
            images = self.crop.draw(images, seed, epoch, ids, mirrored=mirrored)
        if self.shift and images.device.type == "cpu" and images.shape[1:].numel() >= LARGE:
            images = self._moved_each(images, seed, host)
        elif self.shift:
            images = self._moved(images, seed, epoch, ids)
        elif self.flip and self.crop is None:
            images = change(images.clone(), self._mirrored(seed, *host), lambda chosen: chosen.flip(3))
        images = _as_float(images) if images.dtype == torch.uint8 else images
        for each in (self.policy, self.jitter):
            if each is not None:
                images = each.draw(images, seed, epoch, ids, host=host, owned=images is not given)
        if (self.grey or self.solarise) and images is given:
            images = images.clone()
        if self.grey:
            chosen = randomness.uniform(seed, *host, "grey") < self.grey
            images = change(images, chosen, lambda some: grey(some).expand_as(some))
        if self.blur is not None:
            images = self.blur.draw(images, seed, epoch, ids, host=host, owned=images is not given)
        if self.solarise:
            chosen = randomness.uniform(seed, *host, "solarise") < self.solarise
            images = change(images, chosen, lambda some: solarized(some, some.new_full((len(some),), 128.0)))
        return images

    @property
    def _chooses(self) -> bool:
        """Whether ``draw`` changes some of the images in a way of their own."""
        some = (self.policy, self.jitter, self.grey, self.blur, self.solarise)
        return self.flip or any(each is not None for each in some)

    @property
    def of_tensors(self) -> list[str]:
        """The settings that need samples that are tensors by themselves: images, and for ``mixup`` any numbers."""
        return [f.name for f in fields(self) if f.name not in ("turn", "tokens") and getattr(self, f.name)]

    @property
    def _of_images(self) -> list[str]:
        """The settings that need images."""
        return [name for name in self.of_tensors if name != "mixup"]

    def _check(self, images: Tensor, *, values: bool) -> None:
        """Raises a ``UserError`` for augmentation that does not apply to the samples, or to their ``values``."""
        if self.turn is not None:
            raise UserError("turn moves clouds of points, and these samples are tensors by themselves: leave it out")
        if self.tokens is not None:
            raise UserError("tokens changes texts, and these samples are tensors by themselves: leave it out")
        if images.ndim != 4 and self._of_images:
            raise UserError(
                f"{', '.join(self._of_images)} need images (C, H, W); samples have shape {tuple(images.shape[1:])}"
            )
        if images.ndim == 4 and self.shift >= (size := min(images.shape[2:])):
            raise UserError(f"shift = {self.shift} would leave nothing of images of {size} pixels: make it smaller")
        levels = [name for name in ("policy", "jitter", "solarise") if getattr(self, name)]
        looks = values and images.dtype != torch.uint8
        if levels and looks and not (images.min() >= 0 and images.max() <= 1):
            raise UserError(
                f"{', '.join(levels)} change colours between 0 and 1, and these images go from {images.min():.3g} to "
                f"{images.max():.3g}: give bytes, or values that are not normalised yet"
            )
        if self.mixes and not (images.is_floating_point() or images.dtype == torch.uint8):
            raise UserError(f"mixing needs images or floating-point samples, not {images.dtype}")

    def _moved(self, images: Tensor, seed: int, epoch: Number, ids: Tensor) -> Tensor:
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

    def _moved_each(self, images: Tensor, seed: int, host: OnHost) -> Tensor:
        """The same one image after another, which takes less time for large ones on a CPU."""
        height, width = images.shape[2:]
        padded, moved = F.pad(images, (self.shift,) * 4), torch.empty_like(images)
        tops, lefts = (self._cut(seed, *host, axis).tolist() for axis in ("y", "x"))
        mirrored = self._mirrored(seed, *host).tolist() if self.flip else [False] * len(images)
        for image, of, top, left, turned in zip(moved, padded, tops, lefts, mirrored, strict=True):
            part = of[:, top : top + height, left : left + width]
            image.copy_(part.flip(2) if turned else part)
        return moved

    def mix(self, x: Tensor, partner: Tensor, seed: int, epoch: Number, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The samples mixed with their partners, and the share of each one in its mixture."""
        if self.cutmix is None:
            share = self.share(seed, epoch, ids)
            return mixed(x, partner, share), share
        drawn = randomness.beta(seed, epoch, ids, "cutmix/share", self.cutmix)
        box = _centred(x, (1 - drawn).sqrt(), seed, epoch, ids)
        pasted, kept = torch.where(box, partner, x), 1 - box.float().mean((1, 2, 3))
        if not self.mixup:
            return pasted, kept
        share = self.share(seed, epoch, ids)
        is_box = randomness.uniform(seed, epoch, ids, "cutmix") < 0.5
        return torch.where(is_box[:, None, None, None], pasted, mixed(x, partner, share)), torch.where(
            is_box, kept, share
        )

    def finish(self, x: Tensor, seed: int, epoch: Number, ids: Tensor) -> Tensor:
        """The augmentation after mixing: cutout and erasing."""
        x = _cutout(x, self.cutout, seed, epoch, ids) if self.cutout else x
        return x if self.erase is None else self.erase.finish(x, seed, epoch, ids)

    def share(self, seed: int, epoch: Number, ids: Tensor) -> Tensor:
        """The share of each sample in its mixture by mixup."""
        return randomness.beta(seed, epoch, ids, "mixup/share", self.mixup)


PLAIN = Augmentation()


def mixed(x: Tensor, partner: Tensor, share: Tensor) -> Tensor:
    """``share * x + (1 - share) * partner``, sample by sample."""
    weight = share.view(-1, *[1] * (x.ndim - 1)).to(x.dtype)
    return (x - partner).mul_(weight).add_(partner)


def _cutout(x: Tensor, side: int, seed: int, epoch: Number, ids: Tensor) -> Tensor:
    _, _, height, width = x.shape
    top = randomness.integers(seed, epoch, ids, "cutout/y", 0, height) - side // 2
    left = randomness.integers(seed, epoch, ids, "cutout/x", 0, width) - side // 2
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    in_rows = (rows >= top[:, None]) & (rows < top[:, None] + side)
    in_columns = (columns >= left[:, None]) & (columns < left[:, None] + side)
    hole = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return x.masked_fill(hole, 0)


def _as_float(images: Tensor) -> Tensor:
    return images.float().mul_(1 / 255) if images.dtype == torch.uint8 else images


def _centred(x: Tensor, side: Tensor, seed: int, epoch: Number, ids: Tensor) -> Tensor:
    """(N, 1, H, W) bool: a box around a random pixel, its sides a share of the image's, cut at the border."""
    _, _, rows, columns = x.shape
    y = randomness.integers(seed, epoch, ids, "cutmix/y", 0, rows)
    across = randomness.integers(seed, epoch, ids, "cutmix/x", 0, columns)
    height, width = (side * rows).long(), (side * columns).long()
    return inside(x, y - height // 2, across - width // 2, height, width)
