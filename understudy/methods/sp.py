"""Which samples activate the last map alike: ``CE + 3000 SP``.

Reference: Tung, Mori, "Similarity-preserving knowledge distillation", ICCV 2019.
Weight: 3000 is that of CRD's benchmark.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy.methods.method import one_stage
from understudy.methods.shared.pairs import MapsTerm
from understudy.methods.shared.relations import inner_products, unit, vectors
from understudy.objective.term import Reading, Reads


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity-preserving distillation: inner products between samples, each row scaled to length 1.

    ``1/N sum_j (G^S_ij - G^T_ij)^2``, ``G = rows of F F^T by their length``; the mean over the samples i is the
    paper's ``1/N^2 || G^T - G^S ||_F^2``

    Args:
        student, teacher: (N, ...), maps as they are. Weight 3000 in CRD's benchmark;
            for several pairs of taps the paper sums.

    Reference: Tung, Mori, "Similarity-preserving knowledge distillation", ICCV 2019.
    Differences: none known; a sample whose products are all 0 keeps a row of zeros.

    >>> import torch
    >>> similarity_preserving(torch.ones(2, 3), torch.eye(2))
    tensor([0.2929, 0.2929])
    """
    own, other = vectors(student, teacher)
    difference = unit(inner_products(own)) - unit(inner_products(other))
    return difference.square().mean(1)


@dataclass(frozen=True)
class SP(MapsTerm):
    """Which samples activate the networks alike: inner products of the batch; see ``losses.similarity_preserving``.

    ``1/N^2 || G^T - G^S ||_F^2``, G the products of all samples, each row scaled to length 1

    Args:
        maps: the pair of last maps, of any channels and sizes.

    >>> print(3000.0 * SP("layer3 -> layer3"))
    3000 * SP(maps='layer3 -> layer3')
    """

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return similarity_preserving(*self.values(reading))


METHOD = one_stage(
    "sp",
    SP,
    stage="labels and similarities",
    weight=3000.0,
    family="relations",
    year=2019,
    paper="Tung, Mori, Similarity-preserving knowledge distillation",
)
