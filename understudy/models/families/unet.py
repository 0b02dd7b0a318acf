"""A small U-Net for segmentation: halvings with convolutions, and back, with the maps of the way down."""

from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Interval, Width
from understudy.errors import UserError
from understudy.models.backbone import OnBackbone, refuse_keeping
from understudy.models.family import Family


class UNet(OnBackbone):
    """``down.0`` to ``down.N`` at ever coarser grids, then ``up.0`` and on to the grid of the output, then ``head``.

    A backbone from elsewhere takes the place of ``down``.
    """

    bare = 0  # how many grids below that of the image have no map

    def __init__(self, classes: int, channels: int, width: int, depth: int, stride: int):
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        before = [channels, *widths[:-1]]
        self.down = nn.ModuleList(_block(inputs, outputs) for inputs, outputs in zip(before, widths, strict=True))
        self._add_way_up(widths, classes, width, stride)

    @classmethod
    def on(cls, backbone: str, hold: bool, classes: int, channels: int, width: int, depth: int, stride: int) -> Self:
        """A U-Net on a network of timm. On the grid of the image, the image takes the place of a map.

        Grids between it and the finest map of the backbone (of stride 4 or 16, say) have no map beside the way up.
        """
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        strides = [2**level for level in range(1, depth + 1)]
        widths = made.take_backbone(backbone, channels, strides, by="depth", hold=hold, every=False)
        made.bare = depth - len(widths)
        made._add_way_up([channels, *[0] * made.bare, *widths], classes, width, stride)
        return made

    def _add_way_up(self, widths: list[int], classes: int, width: int, stride: int) -> None:
        depth, finest = len(widths) - 1, stride.bit_length() - 1
        coarser = widths[depth]
        self.up = nn.ModuleList()
        for level in range(depth - 1, finest - 1, -1):
            self.up.append(_block(widths[level] + coarser, width * 2**level))
            coarser = width * 2**level
        self.head = nn.Conv2d(coarser, classes, 1)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The maps of the way down, from fine to coarse; those that a backbone lacks have no channels."""
        if self.numbers is not None:
            height, width = images.shape[2:]
            grids = [(-(-height // 2**level), -(-width // 2**level)) for level in range(1, self.bare + 1)]
            return [images, *(images.new_empty(len(images), 0, *grid) for grid in grids), *self.backbone_maps(images)]
        x, maps = images, list[Tensor]()
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        maps = self.maps(images)
        x = maps.pop()
        for block in self.up:
            beside = maps.pop()
            x = F.interpolate(x, beside.shape[2:], mode="nearest")
            x = block(torch.cat((x, beside), 1) if beside.shape[1] else x)
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
    depth: Annotated[int, Interval(ge=1, le=10)] | None = None,
    stride: Literal[1, 2, 4, 8] = 1,
    backbone: str | None = None,
    keep_statistics: bool | None = None,
) -> UNet:
    """A U-Net whose first maps have ``width`` channels, and twice as many after each of ``depth`` halvings.

    Reference: Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image segmentation", 2015.
    Differences: padded convolutions with batch norm, and maps repeated on the way up where the paper has transposed
    convolutions.

    Args:
        width: of the first maps; on a backbone, of those of the way up on the grid of the image.
        depth: halvings; 3 by default, on a backbone 5, up to its map of stride 32.
        stride: the output has a place for each square of so many pixels.
        backbone: ``"timm:NAME"``, a network of timm as the way down, whose finest map may have a stride above 2.
            Weights of the classifier (``pretrained = true`` or a file in a recipe) are those with which it begins.
        keep_statistics: whether the backbone's batch norms keep the statistics that came with its weights while it is
            trained: those of small batches are poor. False by default.

    >>> unet(2, 3, width=4, depth=2, stride=2)(torch.rand(1, 3, 16, 16)).shape
    torch.Size([1, 2, 8, 8])
    """
    depth = (3 if backbone is None else 5) if depth is None else depth
    if stride > 2**depth:
        raise UserError(f"stride {stride}: after {depth} halvings the coarsest grid has stride {2**depth}")
    if backbone is None:
        refuse_keeping(keep_statistics)
        return UNet(classes, channels, width, depth, stride)
    return UNet.on(backbone, bool(keep_statistics), classes, channels, width, depth, stride)


FAMILY = Family("unet", "U-Net for segmentation, of a width and depth as you say", unet)
