"""Attention transfer on activations (Zagoruyko & Komodakis, 2017)."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.methods.shared.pairs import named_pairs, parsed, summed
from understudy.objective.term import Reading, Reads, Term


@dataclass(frozen=True)
class AT(Term):
    """Where the student's maps are strong, the teacher's are: attention transfer, summed over pairs of maps.

    ``sum_pairs 1/2 || Q_s / |Q_s|_2 - Q_t / |Q_t|_2 ||_2`` with ``Q = vec(sum_c |A_c|^p)``; see
    ``losses.attention_transfer`` for what paper and code call it, and for their weights.

    Args:
        pairs: ``"teacher.tap -> student.tap"``, one for each group of blocks. Channels and sizes need not agree.
        p, reduce: the power of the activations, and how channels become one map (paper: 2 and the sum).
        distance: ``"norm"`` is the paper's, ``"mean_squared"`` that of its code (and of CRD's benchmark), weight 1000.

    Reference: Zagoruyko, Komodakis, "Paying more attention to attention", ICLR 2017.
    """

    pairs: tuple[str, ...]
    p: float = 2.0
    reduce: Literal["sum", "mean", "max"] = "sum"
    distance: Literal["norm", "mean_squared"] = "norm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", named_pairs(self, self.pairs))
        if self.p < 1:  # below 1 there is no gradient where an activation is 0
            raise UserError(f"AT: the power p is 1 at least, not {self.p}")

    @property
    def reads(self) -> Reads:
        return Reads.pairs(parsed(self.pairs))

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return summed(
            losses.attention_transfer(
                reading.student[pair.student],
                reading.teacher[pair.teacher],
                p=self.p,
                reduce=self.reduce,
                distance=self.distance,
            )
            for pair in parsed(self.pairs)
        )
