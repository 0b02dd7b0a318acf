"""Probabilistic knowledge transfer (Passalis & Tefas, 2018)."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.methods.shared.pairs import PairTerm
from understudy.objective.term import Reading


@dataclass(frozen=True)
class PKT(PairTerm):
    """Each sample's neighbours in the batch as a distribution; see ``losses.pkt``.

    ``1/N^2 sum_ij p_ij log(p_ij / q_ij)``, p and q the teacher's and the student's shares of ``(cos + 1) / 2``

    Args:
        pair: of what goes into the classifiers, of any widths. Weight 30000 in CRD's benchmark.
        itself: count a sample among its own neighbours, as the authors' code does (paper, from memory: no).
    """

    itself: bool = True

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        return losses.pkt(student, teacher, itself=self.itself)
