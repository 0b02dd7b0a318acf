"""Feature maps of a detector, objects and background apart, where the teacher attends, and relations of all places.

``CE + FGD``: Focal distillation weighs places by the boxes and by the teacher's attention, global distillation compares
both maps after a block that adds to each place what all places hold (GcBlock).

Reference: Yang et al., "Focal and global knowledge distillation for detectors", CVPR 2022. The temperature and the four
weights are those of the authors' configuration for FCOS, for each map of the feature pyramid.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.bounds import NonNegative, Temperature
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import difference, require_maps
from understudy.methods.shared.pairs import PairsTerm, summed
from understudy.objective.term import Reading, Reads, Shapes
from understudy.precision import wide
from understudy.taps.regressors import regressor
from understudy.tasks import Detection, Task
from understudy.tasks.boxes import Boxes, boxes_of


def focal_features(
    student: Tensor,
    teacher: Tensor,
    objects: Tensor,
    background: Tensor,
    *,
    temperature: float = 0.8,
    alpha: float = 0.0016,
    beta: float = 0.0008,
    gamma: float = 0.0008,
) -> Tensor:
    """Focal distillation of feature maps, one value per sample.

    ``sum_chw (alpha M_o + beta M_b) A_s A_c (s - t)^2 + gamma (sum |A_s(s) - A_s(t)| + sum |A_c(s) - A_c(t)|)``, with
    the teacher's attention ``A_s = H W softmax(mean_c |t| / T)`` of places and ``A_c = C softmax(mean_hw |t| / T)`` of
    channels

    Args:
        student, teacher: (N, C, H, W), of one shape.
        objects, background: (N, H, W), the weights M of places: of each box 1 over its places, and 1 over those of the
            background.
        temperature: T.
        alpha, beta, gamma: weights of objects, background and attention.

    Weight in the objective: 1 beside the loss of the targets; alpha, beta and gamma are those of the authors'
    configuration for FCOS.
    Reference: Yang et al., "Focal and global knowledge distillation for detectors", CVPR 2022.
    Differences: none known to the authors' code.

    >>> teacher = torch.ones(1, 2, 1, 2)
    >>> where = torch.tensor([[[1.0, 0.0]]])
    >>> focal_features(0 * teacher, teacher, where, 1 - where, alpha=1.0, beta=0.5, gamma=0.0)
    tensor([3.])
    """
    squared = difference(student, teacher).square()
    places, channels = _attention(teacher, temperature)
    own_places, own_channels = _attention(student, temperature)
    where = (alpha * wide(objects) + beta * wide(background)) * places
    of_features = (squared * channels[:, :, None, None] * where.unsqueeze(1)).flatten(1).sum(1)
    of_attention = (own_places - places).abs().flatten(1).sum(1) + (own_channels - channels).abs().sum(1)
    return of_features + gamma * of_attention


def _attention(maps: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Of places, (N, H, W), and of channels, (N, C); each has a mean of 1."""
    size = wide(maps).abs()
    _, channels, rows, columns = maps.shape
    places = rows * columns * (size.mean(1).flatten(1) / temperature).softmax(1)
    return places.view(-1, rows, columns), channels * (size.mean((2, 3)) / temperature).softmax(1)


@dataclass(frozen=True)
class FGD(PairsTerm):
    """Focal and global distillation of the maps of a detector, summed over pairs; see ``losses.focal_features``.

    ``FGD = focal + relation sum (G_s(s) - G_t(t))^2``, G a block of global context (GcBlock), one for each network

    Args:
        pairs: ``"teacher.tap -> student.tap"`` of maps, those of the pyramid: ``"neck.0 -> neck.0"``.
        temperature, alpha, beta, gamma: as of the loss.
        relation: the weight of the global part (lambda).

    The blocks learn with the student, and so does a regressor where shapes differ (the authors': a 1x1 convolution).
    Weights are of sums over a map: those of the authors are of maps of 256 channels and large images.

    >>> print(FGD("neck.0 -> neck.0", alpha=0.01))
    FGD(pairs=('neck.0 -> neck.0',), alpha=0.01)
    """

    temperature: Temperature = 0.8
    alpha: NonNegative = 0.0016
    beta: NonNegative = 0.0008
    gamma: NonNegative = 0.0008
    relation: NonNegative = 0.000008

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(labels=True)

    def misfit(self, task: Task) -> str | None:
        return None if isinstance(task, Detection) else f"it weighs places by boxes, and task {task.name!r} has none"

    def build(self, shapes: Shapes) -> nn.Module:
        built = []
        for student, teacher in self.traced(shapes):
            require_maps(self, student, teacher)
            align = None if student.shape == teacher.shape else regressor(student, teacher, kind="linear")
            built.append(_Blocks(align, teacher.shape[1]))
        return nn.ModuleList(built)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        if not isinstance(reading.inputs, Tensor) or reading.inputs.ndim != 4:
            raise UserError(f"{self} weighs places of images, and the inputs are none")
        size = reading.inputs.shape[2], reading.inputs.shape[3]
        boxes = boxes_of(reading.targets)
        return summed(
            self._of_pair(blocks, student, teacher, boxes, size)
            for blocks, (student, teacher) in zip(owned, self.values(reading), strict=True)
        )

    def _of_pair(
        self, blocks: nn.Module, student: Tensor, teacher: Tensor, boxes: Boxes, size: tuple[int, int]
    ) -> Tensor:
        assert isinstance(blocks, _Blocks)
        brought = wide(blocks.align(student))
        objects = object_weights(boxes, (teacher.shape[2], teacher.shape[3]), size)
        free = (objects == 0).to(objects.dtype)
        background = free / free.sum((1, 2), keepdim=True).clamp_min(1)
        focal = focal_features(
            brought, teacher, objects, background,
            temperature=self.temperature, alpha=self.alpha, beta=self.beta, gamma=self.gamma,
        )  # fmt: skip
        apart = blocks.student(brought) - blocks.teacher(wide(teacher))
        relations: Tensor = self.relation * apart.square().flatten(1).sum(1)
        return focal + relations


def object_weights(boxes: Boxes, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """(N, rows, columns): at each place 1 over the number of places of the smallest box that covers it; 0 without one.

    A box covers the places from the one that holds its first corner to the one after its last, as in the authors' code.
    """
    shares, covered = torch.ones_like(boxes.boxes[..., 0]), []
    for axis in (1, 0):
        count, length = grid[1 - axis], size[1 - axis]
        first = (boxes.boxes[..., axis] * count / length).floor()
        last = (boxes.boxes[..., axis + 2] * count / length).ceil()
        shares = shares / (last + 1 - first)
        places = torch.arange(count, device=first.device)
        covered.append((places >= first[..., None]) & (places <= last[..., None]))
    inside = covered[0].unsqueeze(3) & covered[1].unsqueeze(2) & boxes.there[..., None, None]
    weights = inside * shares[..., None, None]
    return weights.amax(1) if weights.shape[1] else weights.new_zeros(len(weights), *grid)


class _Blocks(nn.Module):
    """What belongs to one pair: the way to the teacher's channels, and a block of global context for each network."""

    def __init__(self, align: nn.Module | None, channels: int):
        super().__init__()
        self.align = align or nn.Identity()
        self.student, self.teacher = _Context(channels), _Context(channels)


class _Context(nn.Module):
    """A map, and at each place the same sum of all places, by learned weights, through two 1x1 convolutions."""

    def __init__(self, channels: int):
        super().__init__()
        inner = max(1, channels // 2)
        self.weigh = nn.Conv2d(channels, 1, 1)
        self.first, self.norm, self.last = nn.Linear(channels, inner), nn.LayerNorm(inner), nn.Linear(inner, channels)
        nn.init.kaiming_normal_(self.weigh.weight, mode="fan_in")
        if self.weigh.bias is not None:
            nn.init.zeros_(self.weigh.bias)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, maps: Tensor) -> Tensor:
        weights = self.weigh(maps).flatten(1).softmax(1)
        context = (maps.flatten(2) * weights.unsqueeze(1)).sum(2)
        added: Tensor = self.last(self.norm(self.first(context)).relu())
        return maps + added[:, :, None, None]


METHOD = one_stage(
    "fgd",
    FGD,
    stage="labels, objects and relations",
    weight=1.0,
    family="detectors",
    year=2022,
    paper="Yang et al., Focal and global knowledge distillation for detectors",
)
