"""Neuron selectivity transfer (Huang & Wang, 2017)."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Term
from understudy.taps import Pair


@dataclass(frozen=True)
class NST(Term):
    """The student's channels select such places as the teacher's do: squared maximum mean discrepancy of patterns.

    ``mean_ij k(t_i, t_j) + mean_ij k(s_i, s_j) - 2 mean_ij k(t_i, s_j)``; see ``losses.nst``.

    Args:
        pair: ``"teacher.tap -> student.tap"``, two maps; channels and sizes need not agree.
        kernel, degree, offset: the paper's three kernels; the polynomial's d and c are its 2 and 0.
        variance: of the Gaussian kernel; None measures it.

    Reference: Huang, Wang, "Like what you like: knowledge distill via neuron selectivity transfer", 2017.
    """

    pair: str
    kernel: Literal["linear", "polynomial", "gaussian"] = "polynomial"
    degree: int = 2
    offset: float = 0.0
    variance: float | None = None

    def __post_init__(self) -> None:
        Pair.parse(self.pair)
        if self.degree < 1 or (self.variance is not None and self.variance <= 0):
            raise UserError(f"{self}: degree is 1 at least, and a variance is above 0")

    @property
    def reads(self) -> Reads:
        return Reads.pairs((Pair.parse(self.pair),))

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        pair = Pair.parse(self.pair)
        return losses.nst(
            reading.student[pair.student],
            reading.teacher[pair.teacher],
            kernel=self.kernel,
            degree=self.degree,
            offset=self.offset,
            variance=self.variance,
        )
