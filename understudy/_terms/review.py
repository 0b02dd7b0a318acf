"""Knowledge review (Chen et al., 2021): every stage of the teacher teaches all deeper stages of the student."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.methods.shared.maps import BatchNorm, require_maps
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.taps import Pair

WIDEST = 512


@dataclass(frozen=True)
class Review(Term):
    """The student's stages, fused from the deepest up by attention, against the teacher's.

    ``sum_i HCL(F_i(s_i, F_(i+1)), t_i)``, F the fusion: a sum of both, weighted at every place by learned attention;
    see ``losses.hierarchical_context``

    Args:
        pairs: of maps, from input to output. A vector (what goes into the classifiers) is a map of one place; the
            authors' code has the pooled features as its deepest stage.

    Reference: Chen et al., "Distilling knowledge via knowledge review", CVPR 2021.
    Differences: none known to the authors' code; a batch of one sample passes the batch norm of a vector by its
    running mean and variance.
    """

    pairs: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.pairs, str) or not self.pairs:
            raise UserError("Review: pairs must be a list of one pair at least, as in ['layer2 -> layer2']")
        self._parsed()

    @property
    def reads(self) -> Reads:
        return Reads.pairs(self._parsed())

    def build(self, shapes: Shapes) -> nn.Module:
        maps = [(_as_map(shapes.student[p.student]), _as_map(shapes.teacher[p.teacher])) for p in self._parsed()]
        for both in maps:
            require_maps(self, *both)
        return _Fusions(maps).to(maps[0][0].dtype)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        pairs = self._parsed()
        fused = owned([_as_map(reading.student[pair.student]) for pair in pairs])
        targets = [_as_map(reading.teacher[pair.teacher]) for pair in pairs]
        return reduce(torch.add, map(losses.hierarchical_context, fused, targets))

    def _parsed(self) -> tuple[Pair, ...]:
        return tuple(map(Pair.parse, self.pairs))


class _Fusion(nn.Module):
    """One stage: the student's map and what comes from the deeper stages, as the teacher's map and as what goes on."""

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


def _resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    return x if tuple(x.shape[2:]) == size else F.interpolate(x, size=size, mode="nearest")


def _as_map(value: Tensor) -> Tensor:
    return value[:, :, None, None] if value.ndim == 2 else value
