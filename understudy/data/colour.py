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

    def draw(self, x: Tensor, seed: int, epoch: int, ids: Tensor) -> Tensor:
        """The changed images."""
        changes: list[tuple[str, Callable[[Tensor, Tensor], Tensor], float]] = [
            ("brightness", brightness, self.brightness),
            ("contrast", contrast, self.contrast),
            ("saturation", saturation, self.saturation),
            ("hue", hue, self.hue),
        ]
        active = [(name, change, most) for name, change, most in changes if most]
        if not active:
            return x
        first = randomness.integers(seed, epoch, ids, "jitter/order", 0, len(active))
        first = torch.where(randomness.uniform(seed, epoch, ids, "jitter") < self.share, first, -1)
        changed = x.clone()
        for start in range(len(active)):
            rows = (first == start).nonzero().flatten()
            images = x[rows]
            for name, change, most in active[start:] + active[:start]:
                amount = (2 * randomness.uniform(seed, epoch, ids[rows], f"jitter/{name}") - 1) * most
                images = change(images, amount if name == "hue" else 1 + amount)
            changed[rows] = images
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

    def draw(self, x: Tensor, seed: int, epoch: int, ids: Tensor) -> Tensor:
        """The blurred images."""
        low, high = self.sigma
        sigma = low + (high - low) * randomness.uniform(seed, epoch, ids, "blur/sigma")
        chosen = randomness.uniform(seed, epoch, ids, "blur") < self.share
        return torch.where(chosen[:, None, None, None], blurred(x, sigma, reach=max(1, round(2 * high))), x)


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

    def finish(self, x: Tensor, seed: int, epoch: int, ids: Tensor) -> Tensor:
        """The images with their holes; 0 is the mean of a normalised image and black of another one."""
        top, left, height, width = boxes(self.scale, self.ratio, x.shape[2:], seed, epoch, ids, "erase")
        chosen = randomness.uniform(seed, epoch, ids, "erase") < self.share
        return x.masked_fill(chosen[:, None, None, None] & inside(x, top, left, height, width), 0)


def boxes(
    scale: tuple[float, float],
    ratio: tuple[float, float],
    size: tuple[int | Tensor, int | Tensor] | torch.Size,
    seed: int,
    epoch: int,
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
    most, least = x.max(1).values, x.min(1).values
    spread = most - least
    red, green, blue = x.unbind(1)
    safe = torch.where(spread > 0, spread, torch.ones_like(spread))
    place = torch.where(
        most == red,
        (green - blue) / safe,
        torch.where(most == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    turned = (place / 6 + turn[:, None, None]) % 1
    # A channel is at the top while the angle is within a sixth of its own, at the bottom when it is far, else between.
    offsets = torch.tensor([1.0, 2 / 3, 1 / 3], device=x.device, dtype=x.dtype)[None, :, None, None]
    height = ((turned[:, None] + offsets) % 1 * 6 - 3).abs_().sub_(1).clamp_(0, 1)
    new = least[:, None] + spread[:, None] * height
    # An image that is not turned keeps its exact values.
    return torch.where((turn == 0)[:, None, None, None], x, new)


def grey(x: Tensor) -> Tensor:
    """(N, 1, H, W): the grey image; of other than three channels, their mean."""
    if x.shape[1] != 3:
        return x.mean(1, keepdim=True)
    weights = torch.tensor(_GREY, device=x.device, dtype=x.dtype)[None, :, None, None]
    return (x * weights).sum(1, keepdim=True)


def sharpness(x: Tensor, factor: Tensor) -> Tensor:
    """Away from a slightly blurred image, or towards it; the border stays."""
    if min(x.shape[2:]) < 3:
        return x
    kernel = torch.ones(3, 3, device=x.device, dtype=x.dtype)
    kernel[1, 1] = 5
    weights = (kernel / kernel.sum()).expand(x.shape[1], 1, 3, 3)
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(x, weights, groups=x.shape[1])
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
    return (levels(x) / step).floor() * step / _LEVELS


def solarized(x: Tensor, threshold: Tensor) -> Tensor:
    """Levels at or above the threshold (0 to 255) are inverted."""
    return torch.where(levels(x) >= _column(threshold), 1 - x, x)


def autocontrast(x: Tensor) -> Tensor:
    """Each channel stretched to the range from 0 to 1."""
    least, most = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    spread = most - least
    return torch.where(spread > 0, (x - least) / torch.where(spread > 0, spread, torch.ones_like(spread)), x)


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
    return table.gather(1, level).view(x.shape).to(x.dtype) / _LEVELS


def levels(x: Tensor) -> Tensor:
    """The values as levels from 0 to 255."""
    return (x * _LEVELS).round()


def _blended(x: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    weight = _column(factor)
    # An image whose factor is 1 keeps its exact values.
    return torch.where(weight == 1, x, (weight * x + (1 - weight) * other).clamp_(0, 1))


def _column(values: Tensor) -> Tensor:
    return values[:, None, None, None]
