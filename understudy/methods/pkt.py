"""Each sample's neighbours in the batch as a distribution: ``CE + 30000 PKT``.

Reference: Passalis, Tefas, "Learning deep representations with probabilistic knowledge transfer", ECCV 2018.
Weight: 30000 is that of CRD's benchmark, for a mean over all pairs. The paper has no labels beside it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.methods.method import one_stage
from understudy.methods.shared.pairs import EmbeddingTerm
from understudy.methods.shared.relations import inner_products, unit, vectors
from understudy.objective.term import Reading, Reads


def pkt(student: Tensor, teacher: Tensor, *, itself: bool = True, epsilon: float = 1e-7) -> Tensor:
    """Probabilistic knowledge transfer: each sample's neighbours as a distribution, matched by KL.

    ``1/N sum_j p_ij log(p_ij / q_ij)``, ``p_ij = K(t_i, t_j) / sum_k K(t_i, t_k)``, ``q`` the student's,
    ``K(x, y) = (cos(x, y) + 1) / 2``; the mean over the samples i is the authors' code's loss

    Args:
        student, teacher: (N, ...). Weight 30000 in CRD's benchmark, which goes with the mean over all N^2 pairs.
        itself: count a sample among its own neighbours, as the authors' code does.
        epsilon: added to both probabilities in the logarithm, as in the code.

    Reference: Passalis, Tefas, "Learning deep representations with probabilistic knowledge transfer", ECCV 2018.
    Differences: the paper sums over all pairs, N^2 times this.

    >>> pkt(torch.ones(2, 3), torch.eye(2))
    tensor([0.0283, 0.0283])
    """
    own, other = vectors(student, teacher)
    q, p = (_neighbours(inner_products(unit(x)), itself) for x in (own, other))
    return (p * ((p + epsilon) / (q + epsilon)).log()).mean(1)


@dataclass(frozen=True)
class PKT(EmbeddingTerm):
    """Each sample's neighbours in the batch as a distribution; see ``losses.pkt``.

    ``1/N^2 sum_ij p_ij log(p_ij / q_ij)``, p and q the teacher's and the student's shares of ``(cos + 1) / 2``

    Args:
        embedding: the pair of what enters the classifiers, of any widths.
        itself: count a sample among its own neighbours, as the authors' code does.

    >>> print(30000.0 * PKT("fc:input -> fc:input"))
    30000 * PKT(embedding='fc:input -> fc:input')
    """

    itself: bool = True

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        return pkt(student, teacher, itself=self.itself)


def _neighbours(cosines: Tensor, itself: bool) -> Tensor:
    """Rows of probabilities."""
    likeness = (cosines + 1) / 2
    if not itself:
        likeness = likeness * (1 - torch.eye(len(cosines), dtype=likeness.dtype, device=likeness.device))
    return likeness / likeness.sum(1, keepdim=True).clamp_min(1e-12)  # all may point away from it


METHOD = one_stage(
    "pkt",
    PKT,
    stage="labels and neighbours",
    weight=30000.0,
    family="relations",
    year=2018,
    paper="Passalis, Tefas, Learning deep representations with probabilistic knowledge transfer",
)
