"""Detectors of one stage with a place for each square of pixels, after FCOS, from 13,000 weights."""

from itertools import pairwise
from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Interval, Width
from understudy.errors import UserError
from understudy.models.backbone import OnBackbone, refuse_keeping
from understudy.models.family import Family

PRIOR = 4.6  # minus the logit of 0.01: before training, a place finds next to nothing (Lin et al., 2017)
REACH = 8.0  # the largest exponent of a distance


class Block(nn.Module):
    """A depthwise and a pointwise convolution, each with batch norm and ReLU; added to its input where it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )
        self.adds = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


class Head(nn.Module):
    """What one grid answers: of each place its x, y and stride, four distances, the centreness and the classes."""

    def __init__(self, width: int, classes: int, depth: int, stride: int):
        super().__init__()
        self.stride = stride
        self.tower = nn.Sequential(*(Block(width, width) for _ in range(depth)))
        self.answers = nn.Conv2d(width, 5 + classes, 1)
        nn.init.normal_(self.answers.weight, std=0.01)
        assert self.answers.bias is not None
        with torch.no_grad():
            self.answers.bias.copy_(torch.tensor([0.0] * 5 + [-PRIOR] * classes))

    def forward(self, x: Tensor) -> Tensor:
        answers = self.answers(self.tower(x)).float()
        rows = torch.arange(x.shape[2], device=x.device, dtype=torch.float32).view(1, 1, -1, 1)
        columns = torch.arange(x.shape[3], device=x.device, dtype=torch.float32).view(1, 1, 1, -1)
        zero = torch.zeros_like(answers[:, :1])
        sides = answers[:, :4].clamp(max=REACH).exp()
        places = [self.stride * (columns + 0.5) + zero, self.stride * (rows + 0.5) + zero, zero + self.stride]
        return torch.cat((*places, sides, answers[:, 4:]), 1).flatten(2).mT


class FCOS(OnBackbone):
    """``neck.0`` (the finest) to ``neck.N`` are maps of one width, made from those of a backbone.

    Without a backbone from elsewhere, ``stem`` and ``stages`` halve the grid each.
    """

    def __init__(
        self, classes: int, channels: int, width: int, depth: int, finest: int, levels: int, neck: int, tower: int
    ):
        super().__init__()
        coarsest = finest.bit_length() - 1 + levels - 1  # halvings
        widths = [width * max(1, 2 ** (level - 1)) for level in range(1, coarsest + 1)]
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, 2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stages = nn.ModuleList(
            nn.Sequential(Block(inputs, outputs, 2), *(Block(outputs, outputs) for _ in range(depth)))
            for inputs, outputs in pairwise(widths)
        )
        self._add_heads(widths[-levels:], classes, finest, neck, tower)

    @classmethod
    def on(
        cls, backbone: str, hold: bool, classes: int, channels: int, strides: list[int], neck: int, tower: int
    ) -> Self:
        """A detector on a network of timm."""
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        widths = made.take_backbone(backbone, channels, strides, by="finest and levels", hold=hold)
        made._add_heads(widths, classes, strides[0], neck, tower)
        return made

    def _add_heads(self, widths: list[int], classes: int, finest: int, neck: int, tower: int) -> None:
        self.lateral = nn.ModuleList(nn.Conv2d(outputs, neck, 1) for outputs in widths)
        self.neck = nn.ModuleList(Block(neck, neck) for _ in widths)
        self.heads = nn.ModuleList(Head(neck, classes, tower, finest * 2**level) for level in range(len(widths)))

    def maps(self, images: Tensor) -> list[Tensor]:
        """The maps of the grids, from fine to coarse."""
        if self.numbers is not None:
            return self.backbone_maps(images)
        x = self.stem(images)
        grids = [x]
        for stage in self.stages:
            x = stage(x)
            grids.append(x)
        return grids[-len(self.heads) :]

    def forward(self, images: Tensor) -> Tensor:
        coarser: Tensor | None = None
        answers = list[Tensor]()
        levels = zip(self.lateral, self.neck, self.heads, self.maps(images), strict=True)
        for lateral, neck, head, features in reversed(list(levels)):
            y = lateral(features)
            if coarser is not None:
                y = y + F.interpolate(coarser, y.shape[2:], mode="nearest")
            coarser = neck(y)
            answers.insert(0, head(coarser))
        return torch.cat(answers, 1)


def fcos(
    classes: Width = 1,
    channels: Width = 3,
    *,
    width: Width | None = None,
    depth: Annotated[int, Interval(ge=0, le=100)] | None = None,
    finest: Literal[4, 8, 16, 32] = 16,
    levels: Annotated[int, Interval(ge=1, le=5)] = 1,
    neck: Width | None = None,
    tower: Annotated[int, Interval(ge=0, le=20)] = 2,
    backbone: str | None = None,
    keep_statistics: bool | None = None,
) -> FCOS:
    """A detector whose maps have ``width`` channels at half of the image's size, and twice as many at each further one.

    An answer is that of the task ``detection``, (N, places, 8 + classes). At the defaults it has 27,000 weights.

    Reference: Tian et al., "FCOS: fully convolutional one-stage object detection", ICCV 2019. Differences: depthwise
    convolutions with batch norm throughout, a backbone of this library instead of a ResNet, one tower for boxes and
    classes, and a head of its own for each grid, so that no grid needs a scale.

    Args:
        width: of the first maps; 12 by default.
        depth: blocks of each stage beside the one that halves; 1 by default.
        finest: the stride of the finest grid, in pixels.
        levels: how many grids there are, each with twice the stride of the one before.
        neck: channels of the maps that heads read; by default twice the width, on a backbone 64.
        tower: blocks of each head.
        backbone: ``"timm:NAME"``, a network of timm in the place of ``width`` and ``depth``. Weights of the classifier
            (``pretrained = true`` or a file in a recipe) are those with which it begins.
        keep_statistics: whether the backbone's batch norms keep the statistics that came with its weights while it is
            trained, as mmdetection's ``norm_eval``: those of small batches are poor. False by default.

    >>> fcos(1, 3, width=4, levels=2)(torch.rand(1, 3, 64, 64)).shape
    torch.Size([1, 20, 9])
    """
    if backbone is None:
        refuse_keeping(keep_statistics)
        width = 12 if width is None else width
        depth = 1 if depth is None else depth
        return FCOS(classes, channels, width, depth, finest, levels, 2 * width if neck is None else neck, tower)
    if width is not None or depth is not None:
        raise UserError(
            f"width and depth are of this library's backbone, and {backbone!r} takes its place: leave them out"
        )
    strides = [finest * 2**level for level in range(levels)]
    return FCOS.on(backbone, bool(keep_statistics), classes, channels, strides, 64 if neck is None else neck, tower)


FAMILY = Family("fcos", "FCOS detector with depthwise convolutions, of a width and strides as you say", fcos)
