"""A small U-Net for segmentation: halvings with convolutions, and back, with the maps of the way down."""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Interval, Width
from understudy.models.family import Family


class UNet(nn.Module):
    """``down.0`` to ``down.N`` at ever coarser grids, then ``up.0`` and on to the grid of the output, then ``head``."""

    def __init__(self, classes: int, channels: int, width: int, depth: int, stride: int):
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        before = [channels, *widths[:-1]]
        self.down = nn.ModuleList(_block(inputs, outputs) for inputs, outputs in zip(before, widths, strict=True))
        finest = stride.bit_length() - 1
        levels = list(range(depth - 1, finest - 1, -1))
        self.up = nn.ModuleList(_block(widths[level] + widths[level + 1], widths[level]) for level in levels)
        self.head = nn.Conv2d(widths[min(finest, depth)], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        x, maps = images, list[Tensor]()
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            maps.append(x)
        maps.pop()
        for block in self.up:
            beside = maps.pop()
            x = block(torch.cat((F.interpolate(x, beside.shape[2:], mode="nearest"), beside), 1))
        logits: Tensor = self.head(x)
        return logits


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [nn.Conv2d(before, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


def unet(
    classes: Width = 2,
    channels: Width = 3,
    *,
    width: Width = 16,
    depth: Annotated[int, Interval(ge=1, le=10)] = 3,
    stride: Literal[1, 2, 4, 8] = 1,
) -> UNet:
    """A U-Net whose first maps have ``width`` channels, and twice as many after each of ``depth`` halvings.

    Reference: Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015.
    Differences: padded convolutions with batch norm, and maps repeated on the way up where the paper has transposed
    convolutions.

    Args:
        width, depth: of the network.
        stride: the output has a place for each square of so many pixels.

    >>> unet(2, 3, width=4, depth=2, stride=2)(torch.rand(1, 3, 16, 16)).shape
    torch.Size([1, 2, 8, 8])
    """
    return UNet(classes, channels, width, depth, stride)


FAMILY = Family("unet", "U-Net for segmentation, of a width and depth as you say", unet)
