"""Relational distillation (Park et al., 2019): distances and angles between the samples of a batch."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.methods.shared.pairs import PairTerm
from understudy.objective.term import Reading


@dataclass(frozen=True)
class RKDDistance(PairTerm):
    """All distances between the samples of a batch, in units of their mean; see ``losses.rkd_distance``.

    ``mean_ij huber(d^S_ij / mean d^S, d^T_ij / mean d^T)``

    Args:
        pair: of what goes into the classifiers, of any widths. Weight 25 in CRD's benchmark, 1 in the paper.
    """

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return losses.rkd_distance(*self.values(reading))


@dataclass(frozen=True)
class RKDAngle(PairTerm):
    """The angles of all triangles that the samples of a batch form; see ``losses.rkd_angle``.

    ``mean_ijk huber(cos^S_jik, cos^T_jik)``

    Args:
        pair: of what goes into the classifiers, of any widths. Weight 50 in CRD's benchmark, 2 in the paper. Memory
            grows with the batch squared times the width, and with the batch to the third power.
    """

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return losses.rkd_angle(*self.values(reading))
