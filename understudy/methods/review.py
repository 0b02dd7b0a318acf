"""Knowledge review: the student's stages, fused from the deepest up, learn the teacher's, ``CE + Review``.

Reference: Chen et al., "Distilling knowledge via knowledge review", CVPR 2021.
Weight: 1 on ImageNet; 0.6 to 8 by pair on CIFAR-100. It grows from 0 over the first 20 of 240 epochs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Mark, NonNegative
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.methods.shared.maps import BatchNorm, require_maps, require_same_shape
from understudy.methods.shared.pairs import PairsTerm, after_relu
from understudy.methods.shared.stages import warmed_up
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Shapes
from understudy.precision import wide

WIDEST = 512


def hierarchical_context(student: Tensor, teacher: Tensor, *, levels: tuple[int, ...] = (4, 2, 1)) -> Tensor:
    """Knowledge review's hierarchical context loss (HCL): a pyramid of mean squared differences, one value per sample.

    ``sum_l w_l mean (pool_l(t) - pool_l(s))^2 / sum_l w_l``, from the whole map (w = 1) down the levels, w halving

    Args:
        student: the fused map of one stage, after its attention-based fusion, (N, C, H, W).
        teacher: the map of that stage, of the same shape. A vector is a map of one place: (N, C, 1, 1).
        levels: heights and widths that both are averaged down to; those not smaller than the map are left out.

    One loss for each stage, added. The weights in the authors' scripts are 0.6 to 8 by pair for CIFAR-100, growing
    linearly over the first 20 epochs, and on ImageNet 1 (ResNet-34 to 18) and 8 (ResNet-50 to MobileNet).

    Reference: Chen et al., "Distilling knowledge via knowledge review", CVPR 2021.
    Differences: the paper leaves the weights of the levels open; they are those of its code.

    >>> hierarchical_context(torch.zeros(1, 2, 8, 8), torch.ones(1, 2, 8, 8))
    tensor([1.])
    """
    require_same_shape(student, teacher)
    if student.ndim != 4:
        raise UserError(f"the context loss compares maps (N, C, H, W), not {tuple(student.shape)}")
    gap = wide(teacher) - wide(student)
    used = [level for level in levels if level < min(gap.shape[2:])]
    value, weight, total = _mean_square(gap), 1.0, 1.0
    for level in used:
        weight /= 2
        total += weight
        # the mean of differences is the difference of means, so one pooling serves both
        value = value + weight * _mean_square(F.adaptive_avg_pool2d(gap, level))
    return value / total


@dataclass(frozen=True)
class Review(PairsTerm):
    """The student's stages, fused from the deepest up by attention, against the teacher's.

    ``sum_i HCL(F_i(s_i, F_(i+1)), t_i)``, F the fusion: a sum of both, weighted at every place by learned attention;
    see ``losses.hierarchical_context``

    Args:
        pairs: of maps, from input to output. A vector (what goes into the classifiers) is a map of one place; the
            authors' code has the pooled features as its deepest stage.

    The authors' code reads the teacher before the ReLU that ends a stage, and the student after it; so does what the
    method proposes.

    Differences: where a teacher's tap lies after the ReLU (``remarks`` says so), the targets are never negative. A
    batch of one sample passes the batch norm of a vector by its running mean and variance.

    >>> print(Review(["layer1 -> layer1", "fc:input -> fc:input"]))
    Review(pairs=('layer1 -> layer1', 'fc:input -> fc:input'))
    """

    def build(self, shapes: Shapes) -> nn.Module:
        maps = [(_as_map(student), _as_map(teacher)) for student, teacher in self.traced(shapes)]
        for both in maps:
            require_maps(self, *both)
        return _Fusions(maps).to(maps[0][0].dtype)

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        return after_relu(self.pairs, shapes, student=False)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        values = self.values(reading)
        fused = owned([_as_map(student) for student, _ in values])
        targets = [_as_map(teacher) for _, teacher in values]
        return reduce(torch.add, map(hierarchical_context, fused, targets))


class _Fusion(nn.Module):
    """One stage: fuses the student's map with the result of the deeper stages."""

    def __init__(self, inputs: int, middle: int, teacher: Tensor, *, deepest: bool):
        super().__init__()
        outputs = teacher.shape[1]
        self.size = tuple(teacher.shape[2:])
        self.reduce = nn.Sequential(nn.Conv2d(inputs, middle, 1, bias=False), BatchNorm(middle))
        self.expand = nn.Sequential(nn.Conv2d(middle, outputs, 3, padding=1, bias=False), BatchNorm(outputs))
        self.attention = None if deepest else nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid())
        for convolution in (self.reduce[0], self.expand[0]):
            assert isinstance(convolution, nn.Conv2d)
            nn.init.kaiming_uniform_(convolution.weight, a=1)

    def forward(self, x: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self.reduce(x)
        if self.attention is not None:
            assert deeper is not None
            deeper = _resized(deeper, tuple(x.shape[2:]))
            own, other = self.attention(torch.cat([x, deeper], dim=1)).chunk(2, dim=1)
            x = x * own + deeper * other
        x = _resized(x, self.size)
        return self.expand(x), x


class _Fusions(nn.Module):
    def __init__(self, maps: Sequence[tuple[Tensor, Tensor]]):
        super().__init__()
        middle = min(WIDEST, maps[-1][0].shape[1])
        self.stages = nn.ModuleList(
            _Fusion(student.shape[1], middle, teacher, deepest=number == len(maps))
            for number, (student, teacher) in enumerate(maps, start=1)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        deeper: Tensor | None = None
        fused = []
        for stage, value in zip(reversed(self.stages), reversed(maps), strict=True):
            answer, deeper = stage(value, deeper)
            fused.append(answer)
        return fused[::-1]


def _mean_square(gap: Tensor) -> Tensor:
    return gap.square().flatten(1).mean(1)


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return x if tuple(x.shape[2:]) == size else F.interpolate(x, size=size, mode="nearest")


def _as_map(value: Tensor) -> Tensor:
    return value[:, :, None, None] if value.ndim == 2 else value


def _stages(
    config: TrainConfig,
    *,
    pairs: tuple[str, ...],
    embedding: str,
    weight: NonNegative = 1.0,
    warmup_epochs: Mark | None = None,
) -> list[Stage]:
    """The student's stages, fused from the deepest up, learn the teacher's: ``CE + Review``.

    Args:
        pairs: the stages, from input to output.
        embedding: what goes into the classifiers, the deepest stage in the authors' code.
        weight: 1 on ImageNet; 0.6 to 8 by pair on CIFAR-100.
        warmup_epochs: the weight grows from 0 over so many epochs: the first 20 of 240 in the authors' code, by default
            the same share of the config. 0: none.
    """
    review = warmed_up(weight * Review((*pairs, embedding)), config, warmup_epochs)
    return [Stage("labels and review", CE() + review, config)]


METHOD = Method(
    "review",
    _stages,
    family="features",
    year=2021,
    paper="Chen et al., Distilling knowledge via knowledge review",
    proposed_by={"pairs": "before the teacher's activations"},
)
