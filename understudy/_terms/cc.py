"""Correlation congruence (Peng et al., 2019), as published and as CRD's benchmark runs it."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from understudy import losses
from understudy._terms._positive import require_positive
from understudy.errors import UserError
from understudy.methods.shared.pairs import PairTerm
from understudy.objective.term import Reading, Shapes


@dataclass(frozen=True)
class CC(PairTerm):
    """The samples' similarities under a kernel; see ``losses.correlation_congruence``.

    ``1/N^2 sum_ij (k(s_i, s_j) - k(t_i, t_j))^2`` of vectors of length 1

    Args:
        pair: of what goes into the classifiers, of any widths.
        kernel: the Gaussian's Taylor series, or the inner product.
        gamma, order: of the Gaussian (paper, from memory, and later code: 0.4 and 2).
    """

    kernel: Literal["gaussian", "inner"] = "gaussian"
    gamma: float = 0.4
    order: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel not in ("gaussian", "inner"):
            raise UserError(f"{self}: kernel is 'gaussian' or 'inner', not {self.kernel!r}")
        require_positive(self, gamma=self.gamma, order=self.order)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        return losses.correlation_congruence(student, teacher, kernel=self.kernel, gamma=self.gamma, order=self.order)


@dataclass(frozen=True)
class CCDifferences(PairTerm):
    """What CRD's benchmark calls CC: how much the errors of two samples coincide, after learned linear layers.

    ``mean_(j != i) < |r_s(s_i) - r_t(t_i)|, |r_s(s_j) - r_t(t_j)| >``; see ``losses.correlation_of_differences``

    Args:
        pair: of what goes into the classifiers.
        width: of both linear layers' answers; 128 in the benchmark, and the weight is 0.02.

    Differences: as in the loss. Both layers learn, the teacher's too, as in the benchmark.
    """

    width: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, width=self.width)

    def build(self, shapes: Shapes) -> nn.Module:
        student, teacher = self.traced(shapes)
        layers = {
            "student": nn.Linear(student[0].numel(), self.width),
            "teacher": nn.Linear(teacher[0].numel(), self.width),
        }
        return nn.ModuleDict(layers).to(student.dtype)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleDict)
        student, teacher = self.values(reading)
        own, other = owned["student"](student.flatten(1)), owned["teacher"](teacher.flatten(1))
        return losses.correlation_of_differences(own, other)
