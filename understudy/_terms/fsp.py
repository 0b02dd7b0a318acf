"""The flow of the solution procedure (Yim et al., 2017)."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.methods.shared.pairs import named_pairs, parsed, summed
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.regressors import regressor


@dataclass(frozen=True)
class FSP(Term):
    """How two layers of the student go together, as the teacher's do: distance of FSP matrices, summed over sections.

    ``sum_k || G(t_k, t_k+1) - G(s_k, s_k+1) ||^2`` with ``G_ij = sum_hw F1_ihw F2_jhw / (H W)``; see ``losses.fsp``.

    Args:
        pairs: ``"teacher.tap -> student.tap"`` of maps from input to output, two at least: each and the one after it
            are the ends of a section.
        reduce: over a matrix, the paper's ``"sum"`` or the ``"mean"`` of CRD's benchmark.

    Reference: Yim et al., "A gift from knowledge distillation: fast optimization, network minimization and transfer
    learning", CVPR 2017.
    Differences: the paper has networks of equal width only; where channels differ, the student's map passes a learned
    1x1 convolution here.
    """

    pairs: tuple[str, ...]
    reduce: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", named_pairs(self, self.pairs, least=2))

    @property
    def reads(self) -> Reads:
        return Reads.pairs(parsed(self.pairs))

    def build(self, shapes: Shapes) -> nn.Module | None:
        values = [(shapes.student[pair.student], shapes.teacher[pair.teacher]) for pair in parsed(self.pairs)]
        widened = nn.ModuleList(_widening(own, other) for own, other in values)
        return widened if any(not isinstance(module, nn.Identity) for module in widened) else None

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        pairs = parsed(self.pairs)
        own = [reading.student[pair.student] for pair in pairs]
        if isinstance(owned, nn.ModuleList):
            own = [module(values) for module, values in zip(owned, own, strict=True)]
        other = [reading.teacher[pair.teacher] for pair in pairs]
        sections = zip(pairwise(own), pairwise(other), strict=True)
        return summed(losses.fsp(*students, *teachers, reduce=self.reduce) for students, teachers in sections)


def _widening(student: Tensor, teacher: Tensor) -> nn.Module:
    """To the teacher's channels on the student's own grid: the matrices are means over places."""
    if student.ndim != 4 or teacher.ndim != 4:
        raise UserError(f"FSP reads maps, not {tuple(student.shape)} and {tuple(teacher.shape)}: tap other places")
    if student.shape[1] == teacher.shape[1]:
        return nn.Identity()
    module = regressor(student, student.new_empty(1, teacher.shape[1], *student.shape[2:]), kind="linear")
    assert module is not None
    return module
