"""Changes of colour and sharpness of whole batches of images, each image by a strength of its own.

Images are (N, C, H, W) in float, between 0 and 1; factors are (N). The definitions are those of torchvision's functions
of the same name. An image of another number of channels than 3 is its own grey image, and has no hue.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy import randomness
from understudy.bounds import STRICT, Interval, Share
from understudy.data.rows import OnHost, in_pieces, sent
from understudy.randomness import Number

_GREY = (0.2989, 0.587, 0.114)  # of red, green and blue, as in torchvision and PIL
_LEVELS = 255


@dataclass(frozen=True)
class Jitter:
    """Brightness, contrast, saturation and hue are changed at random; each image begins with another one of them.

    Args:
        brightness, contrast, saturation: a factor between ``1 - value`` and ``1 + value``.
        hue: a turn of the colour circle by at most this share of it.
        share: of the images that are changed.

    >>> print(Jitter(hue=0.0))
    Jitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0, share=0.8)
    """

    brightness: Share = 0.4
    contrast: Share = 0.4
    saturation: Share = 0.4
    hue: Annotated[float, Interval(ge=0, le=0.5)] = 0.1
    share: Share = 0.8

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
        """The changed images.

        Args:
            host: the numbers in the memory of the CPU, if they are known there.
            owned: whether the images may be written to.
        """
        changes: list[tuple[str, Callable[[Tensor, Tensor], Tensor], float]] = [
            ("brightness", brightness, self.brightness),
            ("contrast", contrast, self.contrast),
            ("saturation", saturation, self.saturation),
            ("hue", hue, self.hue),
        ]
        active = [(name, change, most) for name, change, most in changes if most]
        if not active or not len(x):
            return x
        host = host or OnHost.of(epoch, ids)
        first = randomness.integers(seed, host.epoch, host.ids, "jitter/order", 0, len(active))
        first = torch.where(randomness.uniform(seed, host.epoch, host.ids, "jitter") < self.share, first, -1)
        amounts = {
            name: (2 * randomness.uniform(seed, epoch, ids, f"jitter/{name}") - 1) * most for name, _, most in active
        }
        changed = x if owned else x.clone()
        for start in range(len(active)):
            places = (first == start).nonzero().flatten()
            for part in in_pieces(places, x):
                rows = sent(part, x.device)
                images = x.index_select(0, rows)
                for name, change, _ in active[start:] + active[:start]:
                    amount = amounts[name].index_select(0, rows)
                    images = change(images, amount if name == "hue" else 1 + amount)
                changed.index_copy_(0, rows, images)
        return changed


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur of some of the images.

    Args:
        sigma: the least and the largest standard deviation, in pixels.
        share: of the images that are blurred.

    >>> print(Blur())
    Blur(sigma=(0.1, 2.0), share=0.5)
    """

    sigma: tuple[Annotated[float, Interval(gt=0, le=100)], Annotated[float, Interval(gt=0, le=100)]] = (0.1, 2.0)
    share: Share = 0.5

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
        """The images, some of them blurred; ``host`` and ``owned`` are those of ``Jitter.draw``."""
        low, high = self.sigma
        host = host or OnHost.of(epoch, ids)
        places = (randomness.uniform(seed, host.epoch, host.ids, "blur") < self.share).nonzero().flatten()
        sigma = low + (high - low) * randomness.uniform(seed, epoch, ids, "blur/sigma")
        changed = x if owned else x.clone()
        for part in in_pieces(places, x):
            rows = sent(part, x.device)
            images = blurred(x.index_select(0, rows), sigma.index_select(0, rows), reach=max(1, round(2 * high)))
            changed.index_copy_(0, rows, images)
        return changed


@dataclass(frozen=True)
class Erase:
    """A rectangle of some of the images is set to 0 (random erasing).

    Args:
        scale: the least and the largest share of the area.
        ratio: the least and the largest ratio of width to height.
        share: of the images.

    >>> print(Erase(share=0.5))
    Erase(scale=(0.02, 0.33), ratio=(0.3, 3.3), share=0.5)
    """

    scale: tuple[Share, Share] = (0.02, 0.33)
    ratio: tuple[Annotated[float, Interval(gt=0, le=100)], Annotated[float, Interval(gt=0, le=100)]] = (0.3, 3.3)
    share: Share = 0.25

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def finish(self, x: Tensor, seed: int, epoch: Number, ids: Tensor) -> Tensor:
        """The images with their holes; 0 is the mean of a normalised image and black of another one."""
        top, left, height, width = boxes(self.scale, self.ratio, x.shape[2:], seed, epoch, ids, "erase")
        chosen = randomness.uniform(seed, epoch, ids, "erase") < self.share
        return x.masked_fill(chosen[:, None, None, None] & inside(x, top, left, height, width), 0)


def boxes(
    scale: tuple[float, float],
    ratio: tuple[float, float],
    size: tuple[int | Tensor, int | Tensor] | torch.Size,
    seed: int,
    epoch: Number,
    ids: Tensor,
    purpose: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A box in each image as (top, left, height, width) in whole pixels: area and ratio are drawn, then the place.

    A side that is longer than the image is cut to it, where torchvision draws again, up to ten times. ``size`` is the
    height and width of all images, or of each one.
    """
    rows, columns = size
    area = scale[0] + (scale[1] - scale[0]) * randomness.uniform(seed, epoch, ids, f"{purpose}/area")
    low, high = torch.tensor(ratio).log().tolist()
    turned = (low + (high - low) * randomness.uniform(seed, epoch, ids, f"{purpose}/ratio")).exp()
    pixels = area * rows * columns
    height = _at_most(rows, (pixels / turned).sqrt().round()).long()
    width = _at_most(columns, (pixels * turned).sqrt().round()).long()
    top = (randomness.uniform(seed, epoch, ids, f"{purpose}/y") * (rows - height + 1)).long()
    left = (randomness.uniform(seed, epoch, ids, f"{purpose}/x") * (columns - width + 1)).long()
    return top, left, height, width


def _at_most(limit: int | Tensor, sides: Tensor) -> Tensor:
    return torch.minimum(sides.clamp(min=1), limit) if isinstance(limit, Tensor) else sides.clamp(1, limit)


def inside(x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """(N, 1, H, W) bool: the pixels of each image's box."""
    rows = torch.arange(x.shape[2], device=x.device)
    columns = torch.arange(x.shape[3], device=x.device)
    in_rows = (rows >= top[:, None]) & (rows < (top + height)[:, None])
    in_columns = (columns >= left[:, None]) & (columns < (left + width)[:, None])
    return in_rows[:, None, :, None] & in_columns[:, None, None, :]


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """``factor x``, within 0 and 1.

    >>> brightness(torch.full((1, 3, 1, 1), 0.5), torch.tensor([1.5]))[0, 0].item()
    0.75
    """
    return (x * _column(factor)).clamp_(0, 1)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean grey of the image, or towards it."""
    return _blended(x, grey(x).mean((2, 3), keepdim=True), factor)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Away from the grey image, or towards it."""
    return _blended(x, grey(x), factor) if x.shape[1] == 3 else x


def hue(x: Tensor, turn: Tensor) -> Tensor:
    """The colours turned on their circle by a share of it, at the same largest and smallest value of each pixel."""
    if x.shape[1] != 3:
        return x
    red, green, blue = x.unbind(1)
    most, least = torch.maximum(red, green), torch.minimum(red, green)
    torch.maximum(most, blue, out=most)
    torch.minimum(least, blue, out=least)
    spread = most - least
    is_red, is_green = most == red, most == green
    place = torch.where(is_red, green - blue, torch.where(is_green, blue - red, red - green))
    place.div_(torch.where(spread > 0, spread, 1.0))
    place.add_(torch.where(is_red, 0.0, torch.where(is_green, 2.0, 4.0)))
    turned = _whole_turns_off(place.div_(6).add_(turn[:, None, None]))
    new = torch.empty_like(x)
    # A channel is at the top while the angle is within a sixth of its own, at the bottom when it is far, else between.
    for channel, offset in enumerate((1.0, 2 / 3, 1 / 3)):
        height = _whole_turns_off(turned + offset).mul_(6).sub_(3).abs_().sub_(1).clamp_(0, 1)
        torch.add(least, height.mul_(spread), out=new[:, channel])
    # An image that is not turned keeps its exact values.
    return torch.where((turn == 0)[:, None, None, None], x, new)


def _whole_turns_off(angles: Tensor) -> Tensor:
    """``angles % 1`` in their own memory; the remainder of floating-point numbers is slow."""
    return angles.sub_(angles.floor())


def grey(x: Tensor) -> Tensor:
    """(N, 1, H, W): the grey image; of other than three channels, their mean."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    red, green, blue = (x[:, channel : channel + 1] for channel in range(3))
    return (red * _GREY[0]).add_(green * _GREY[1]).add_(blue * _GREY[2])


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Away from a slightly blurred image, or towards it; the border stays."""
    if min(x.shape[2:]) < 3:
        return x
    kernel = torch.ones(3, 3, device=x.device, dtype=x.dtype)
    kernel[1, 1] = 5
    n, channels, height, width = x.shape
    planes = x.reshape(1, n * channels, height, width)  # a convolution of few channels is many times slower
    inside = F.conv2d(planes, (kernel / kernel.sum()).expand(n * channels, 1, 3, 3), groups=n * channels)
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = inside.view(n, channels, height - 2, width - 2)
    return _blended(x, smooth, factor)


def blurred(x: Tensor, sigma: Tensor, *, reach: int) -> Tensor:
    """A Gaussian blur, the border reflected; ``reach`` is how many pixels it looks to each side."""
    reach = min(reach, min(x.shape[2:]) - 1)
    steps = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    weights = torch.exp(-0.5 * (steps / sigma[:, None]) ** 2)
    weights = weights / weights.sum(1, keepdim=True)
    n, channels, height, width = x.shape
    padded = F.pad(x, (reach,) * 4, mode="reflect").reshape(1, n * channels, height + 2 * reach, width + 2 * reach)
    each = weights.repeat_interleave(channels, 0)
    lines = F.conv2d(padded, each[:, None, :, None], groups=n * channels)
    return F.conv2d(lines, each[:, None, None, :], groups=n * channels).view(x.shape)


def posterized(x: Tensor, bits: Tensor) -> Tensor:
    """Only the highest bits of each level are kept."""
    step = _column(2.0 ** (8 - bits))
    return levels(x).div_(step).floor_().mul_(step).div_(_LEVELS)


def solarized(x: Tensor, threshold: Tensor) -> Tensor:
    """Levels at or above the threshold (0 to 255) are inverted."""
    return torch.where(levels(x) >= _column(threshold), 1 - x, x)


def autocontrast(x: Tensor) -> Tensor:
    """Each channel stretched to the range from 0 to 1."""
    least, most = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    spread = most - least
    least, spread = torch.where(spread > 0, least, 0.0), torch.where(spread > 0, spread, 1.0)
    return (x - least).div_(spread)


def equalized(x: Tensor) -> Tensor:
    """Each channel's histogram made flat."""
    n, channels, height, width = x.shape
    level = levels(x).long().reshape(n * channels, height * width)
    counts = torch.zeros(n * channels, 256, dtype=torch.long, device=x.device)
    counts.scatter_add_(1, level, torch.ones_like(level))
    top = counts.gather(1, level.amax(1, keepdim=True))  # the pixels of the highest level that occurs
    step = (counts.sum(1, keepdim=True) - top) // _LEVELS
    before = counts.cumsum(1) - counts
    table = ((before + step // 2) // step.clamp_min(1)).clamp(0, _LEVELS)
    table = torch.where(step > 0, table, torch.arange(256, device=x.device).expand_as(table))
    return (table.to(x.dtype) / _LEVELS).gather(1, level).view(x.shape)


def levels(x: Tensor) -> Tensor:
    """The values as levels from 0 to 255."""
    return (x * _LEVELS).round_()


def _blended(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    weight = _column(factor)
    # An image whose factor is 1 keeps its exact values: nothing is added to it.
    return (weight * x).add_((1 - weight) * other).clamp_(0, 1)


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]
