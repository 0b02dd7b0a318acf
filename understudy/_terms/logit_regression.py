"""Regression of the teacher's logits (Ba & Caruana, 2014)."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Term

Reduce = Literal["sum", "mean"]


@dataclass(frozen=True)
class LogitRegression(Term):
    """Squared distance of the logits, before any softmax: ``1/2 ||s - t||^2``; see ``losses.logit_regression``.

    Args:
        reduce: ``"sum"`` is the paper's ``1/2 ||.||^2``; ``"mean"`` the mean squared difference of later benchmarks,
            which is the same divided by half the number of classes.
    """

    reduce: Reduce = "sum"

    def __post_init__(self) -> None:
        check_reduce(self, self.reduce)

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        values = losses.logit_regression(reading.student.logits, reading.teacher.logits)
        return reduced(values, reading.student.logits, self.reduce)


def check_reduce(term: Term, reduce: str) -> None:
    if reduce not in get_args(Reduce):
        raise UserError(f"{term}: reduce is 'sum' or 'mean', not {reduce!r}")


def reduced(values: Tensor, logits: Tensor, reduce: Reduce) -> Tensor:
    """Halves of sums over the classes as they are, or as whole means."""
    return values if reduce == "sum" else values * (2 / logits.shape[-1])
