"""DarkRank (Chen et al., 2018): the order of each sample's nearest others."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from understudy import losses
from understudy._terms._positive import require_positive
from understudy.errors import UserError
from understudy.methods.shared.pairs import PairTerm
from understudy.methods.shared.relations import flat, unit
from understudy.objective.term import Reading

MOST_RANKED = 7  # soft transfer goes over all orders: 5040 of seven


@dataclass(frozen=True)
class DarkRank(PairTerm):
    """How the teacher ranks each sample's nearest others in the batch; see ``losses.darkrank``.

    Soft: ``sum_pi P_T(pi) log(P_T(pi) / P_S(pi))`` over all orders of the list; hard: ``-log P_S(pi_T)``, of scores
    ``-alpha || x - q ||^beta``

    Args:
        pair: of what goes into the classifiers, of any widths.
        transfer: ``"soft"``, or ``"hard"``: the teacher's own order alone.
        alpha, beta: of the score.
        list_length: how many are ranked.
        length: to which every embedding is brought, so that the scores of both networks have one scale: 1 goes with
            alpha and beta as RKD's re-implementation has them, 3.5 with the authors' code (alpha 1 and beta 4 then);
            None leaves them as they are.

    Differences: as in the loss; the authors scale inside the networks, here the term does.
    """

    transfer: Literal["soft", "hard"] = "soft"
    alpha: float = 3.0
    beta: float = 3.0
    list_length: int = 4
    length: float | None = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.transfer not in ("soft", "hard"):
            raise UserError(f"{self}: transfer is 'soft' or 'hard', not {self.transfer!r}")
        require_positive(self, alpha=self.alpha, length=1.0 if self.length is None else self.length)
        if self.beta < 1:
            raise UserError(f"{self}: beta must be 1 or more, not {self.beta}")
        if self.list_length < 2 or (self.transfer == "soft" and self.list_length > MOST_RANKED):
            raise UserError(f"{self}: list_length must be 2 or more, and for soft transfer {MOST_RANKED} at most")

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = (self._scaled(value) for value in self.values(reading))
        return losses.darkrank(
            student,
            teacher,
            transfer=self.transfer,
            alpha=self.alpha,
            beta=self.beta,
            list_length=self.list_length,
        )

    def _scaled(self, values: Tensor) -> Tensor:
        return values if self.length is None else self.length * unit(flat(values))
