"""Detectors of boxes in clouds of points: pillars, a map seen from above, and the centres of objects on it."""

from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Finite, Interval, Pixels, Positive, Width
from understudy.errors import UserError
from understudy.models.families.fcos import Block
from understudy.models.family import Family

PRIOR = 2.19  # minus the logit of 0.1: what a place says of each class before training (CenterNet)
NUMBERS = 10  # of a box
LARGEST = 4096  # pillars in a row


class Pillars(nn.Module):
    """The largest features of the points of each pillar: (N, P, F) and their count to (N, width, rows, columns).

    Rows go along y, columns along x. Points outside of the square or the heights are left out, as are those that pad.
    """

    def __init__(self, numbers: int, width: int, side: float, pillar: float, heights: tuple[float, float]):
        super().__init__()
        self.cells, self.side, self.pillar, self.heights = round(side / pillar), side, pillar, heights
        self.points = nn.Conv1d(numbers + 2, width, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, points: Tensor, count: Tensor) -> Tensor:
        place = (points[..., :2] + self.side / 2) / self.pillar
        cell = place.floor()
        low, high = self.heights
        here = torch.arange(points.shape[1], device=points.device) < count.unsqueeze(1)
        here = here & (cell >= 0).all(2) & (cell < self.cells).all(2)
        here = here & (points[..., 2] >= low) & (points[..., 2] < high)
        where = (cell[..., 1] * self.cells + cell[..., 0]).where(here, 0.0).long()
        seen = (points[..., :2] * (2 / self.side), points[..., 2:], place - cell - 0.5)
        features = self.points(torch.cat(seen, 2).mT).relu() * here.unsqueeze(1)
        width = features.shape[1]
        empty = features.new_zeros(points.shape[0], width, self.cells * self.cells)
        # Features are 0 or more, so that points that are left out change nothing at the place where they are put.
        largest = empty.scatter_reduce(2, where.unsqueeze(1).expand(-1, width, -1), features, "amax")
        seen_from_above: Tensor = self.norm(largest.unflatten(2, (self.cells, self.cells)))
        return seen_from_above


class CentreHead(nn.Module):
    """Of each place of a map its x, y and side in metres, the numbers of its box, and the logits of the classes."""

    def __init__(self, width: int, classes: int, depth: int, side: float):
        super().__init__()
        self.side = side
        self.tower = nn.Sequential(*(Block(width, width) for _ in range(depth)))
        self.answers = nn.Conv2d(width, NUMBERS + classes, 1)
        nn.init.normal_(self.answers.weight, std=0.01)
        assert self.answers.bias is not None
        with torch.no_grad():
            self.answers.bias.copy_(torch.tensor([0.0] * NUMBERS + [-PRIOR] * classes))

    def forward(self, x: Tensor) -> Tensor:
        answers = self.answers(self.tower(x)).float()
        step = self.side / x.shape[3]
        across = torch.arange(x.shape[3], device=x.device, dtype=torch.float32).view(1, 1, 1, -1)
        down = torch.arange(x.shape[2], device=x.device, dtype=torch.float32).view(1, 1, -1, 1)
        zero = torch.zeros_like(answers[:, :1])
        places = [step * (axis + 0.5) - self.side / 2 + zero for axis in (across, down)]
        return torch.cat((*places, zero + step, answers), 1).flatten(2).mT


class PillarDetector(nn.Module):
    """``pillars`` makes a map, ``stages`` halve it each, ``neck`` is the map that ``head`` reads."""

    def __init__(
        self,
        classes: int,
        numbers: int,
        side: float,
        pillar: float,
        heights: tuple[float, float],
        width: int,
        depth: int,
        levels: int,
        stride: int,
        neck: int,
        tower: int,
    ):
        super().__init__()
        self.stride = stride
        self.pillars = Pillars(numbers, width, side, pillar, heights)
        widths = [width, *(width * 2**level for level in range(levels))]
        self.stages = nn.ModuleList(
            nn.Sequential(Block(inputs, outputs, 2), *(Block(outputs, outputs) for _ in range(depth)))
            for inputs, outputs in pairwise(widths)
        )
        first = stride.bit_length() - 1  # the first map that the neck takes
        self.lateral = nn.ModuleList(nn.Conv2d(channels, neck, 1) for channels in widths[first:])
        self.neck = Block(neck, neck)
        self.head = CentreHead(neck, classes, tower, side)

    def forward(self, points: Tensor, count: Tensor) -> Tensor:
        x = self.pillars(points, count)
        maps = [x]
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        whole: Tensor | None = None
        for lateral, features in reversed(list(zip(self.lateral, maps[-len(self.lateral) :], strict=True))):
            y = lateral(features)
            whole = y if whole is None else y + F.interpolate(whole, y.shape[2:], mode="nearest")
        answer: Tensor = self.head(self.neck(whole))
        return answer


def pillars(
    classes: Width = 1,
    channels: Width = 4,
    size: Pixels = 104,
    *,
    pillar: Positive = 0.5,
    low: Finite = -5.0,
    high: Finite = 3.0,
    width: Width = 16,
    depth: Annotated[int, Interval(ge=0, le=100)] = 1,
    levels: Annotated[int, Interval(ge=1, le=8)] = 3,
    stride: Literal[1, 2, 4, 8] = 2,
    neck: Width | None = None,
    tower: Annotated[int, Interval(ge=0, le=20)] = 1,
) -> PillarDetector:
    """A detector of boxes in space whose maps have ``width`` channels, and twice as many at each further halving.

    Called with ``points`` (N, P, channels) and ``count`` (N,), it answers as the task ``detection-3d`` says, with
    (N, places, 13 + classes), on a square of ``size`` metres. At the defaults it has 18,000 weights.

    References: Lang et al., "PointPillars: fast encoders for object detection from point clouds", CVPR 2019; Yin, Zhou,
    Krähenbühl, "Center-based 3D object detection and tracking", CVPR 2021. Differences: all points of a pillar count; a
    point is described by its numbers and its place in the pillar, without the mean of its pillar's points; batch norm
    is of the map; depthwise convolutions, maps that are added on the way back instead of joined, and one head for all
    classes and numbers.

    Args:
        pillar: side of a pillar, in metres; the square is a whole number of them.
        low, high: the heights between which points count, in metres.
        width: of the first map.
        depth: blocks of each stage beside the one that halves.
        levels: how often the map is halved.
        stride: an answer has a place for each square of so many pillars.
        neck: channels of the map that the head reads; by default twice the width.
        tower: blocks of the head.

    >>> points, count = torch.rand(2, 50, 4), torch.tensor([50, 20])
    >>> pillars(3, 4, 8, pillar=0.5, width=4)(points, count).shape
    torch.Size([2, 64, 16])
    """
    cells = size / pillar
    if not 1 <= cells <= LARGEST or abs(cells - round(cells)) > 1e-6 or round(cells) % stride:
        raise UserError(
            f"pillars: a square of {size} m is {cells:g} pillars of {pillar:g} m, and must be a multiple of the "
            f"stride, {stride}, up to {LARGEST}: take another pillar, or task.side"
        )
    if stride.bit_length() - 1 > levels:
        raise UserError(f"pillars: stride {stride} is reached after {stride.bit_length() - 1} levels, not {levels}")
    if low >= high:
        raise UserError(f"pillars: heights from {low:g} to {high:g} m hold no points")
    return PillarDetector(
        classes,
        channels,
        float(size),
        pillar,
        (low, high),
        width,
        depth,
        levels,
        stride,
        2 * width if neck is None else neck,
        tower,
    )


FAMILY = Family("pillars", "pillar detector of boxes in space, of a width, pillar and stride as you say", pillars)
