"""Similarity-preserving distillation (Tung & Mori, 2019)."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.methods.shared.pairs import PairTerm
from understudy.objective.term import Reading


@dataclass(frozen=True)
class SP(PairTerm):
    """Which samples activate the networks alike: inner products of the batch; see ``losses.similarity_preserving``.

    ``1/N^2 || G^T - G^S ||_F^2``, G the products of all samples, each row scaled to length 1

    Args:
        pair: of the last maps, of any channels and sizes. Weight 3000 in CRD's benchmark.
    """

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return losses.similarity_preserving(*self.values(reading))
