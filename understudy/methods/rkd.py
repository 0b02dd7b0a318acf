"""Distances and angles between the samples of a batch: ``CE + 25 D + 50 A``.

Reference: Park, Kim, Lu, Cho, "Relational knowledge distillation", CVPR 2019.
Weights: 25 and 50 are those of CRD's benchmark (classification); the paper has 1 and 2, beside a loss of metric
learning. ``weight`` multiplies both.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import NonNegative
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.methods.method import Method
from understudy.methods.shared.pairs import EmbeddingTerm
from understudy.methods.shared.relations import distances, inner_products, unit, vectors
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Relational distillation by distance: all distances between samples, each in units of their mean.

    ``mean_j huber(d^S_ij / mean d^S, d^T_ij / mean d^T)``, ``d_ij = || f_i - f_j ||``, ``huber`` quadratic below 1;
    the mean over the samples i is the loss

    Args:
        student, teacher: (N, ...); everything after the batch is one vector. The paper's weight is 1 for metric
            learning; CRD's benchmark has 25 (with 50 for angles).

    Reference: Park, Kim, Lu, Cho, "Relational knowledge distillation", CVPR 2019.
    Differences: the paper sums over all pairs; the authors' code, like this, takes the mean over all N^2 of them, of
    which the N of a sample with itself are 0. The mean distance is over all pairs of distinct samples, as in paper and
    code, also those whose vectors are equal.

    >>> rkd_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [5.0]]))
    tensor([0., 0.])
    """
    own, other = vectors(student, teacher)
    return F.smooth_l1_loss(_relative(distances(own)), _relative(distances(other)), reduction="none").mean(1)


def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Relational distillation by angle: the cosine at each sample of the triangle that it forms with two others.

    ``mean_jk huber(cos^S_jik, cos^T_jik)``, ``cos_jik = <f_j - f_i, f_k - f_i> / (|| f_j - f_i || || f_k - f_i ||)``;
    the mean over the samples i is the loss

    Args:
        student, teacher: (N, ...). The paper's weight is 2 (beside 1 for distances); CRD's benchmark has 50.
            Memory grows with N^3 and N^2 times the width.

    Reference: Park, Kim, Lu, Cho, "Relational knowledge distillation", CVPR 2019.
    Differences: the paper sums over all triplets; the authors' code, like this, takes the mean over all N^3, those of
    equal corners included. Two equal samples get no gradient here where the code divides by nearly 0.

    >>> rkd_angle(torch.eye(3), 2 * torch.eye(3))
    tensor([0., 0., 0.])
    """
    own, other = vectors(student, teacher)
    return F.smooth_l1_loss(_cosines(own), _cosines(other), reduction="none").mean((1, 2))


@dataclass(frozen=True)
class RKDDistance(EmbeddingTerm):
    """All distances between the samples of a batch, in units of their mean; see ``losses.rkd_distance``.

    ``mean_ij huber(d^S_ij / mean d^S, d^T_ij / mean d^T)``

    Args:
        embedding: the pair of what enters the classifiers, of any widths. Weight 25 in CRD's benchmark, 1 in the paper.

    >>> print(25.0 * RKDDistance("fc:input -> fc:input"))
    25 * RKDDistance(embedding='fc:input -> fc:input')
    """

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return rkd_distance(*self.values(reading))


@dataclass(frozen=True)
class RKDAngle(EmbeddingTerm):
    """The angles of all triangles that the samples of a batch form; see ``losses.rkd_angle``.

    ``mean_ijk huber(cos^S_jik, cos^T_jik)``

    Args:
        embedding: the pair of what enters the classifiers, of any widths. Weight 50 in CRD's benchmark, 2 in the paper.
            Memory grows with the batch squared times the width, and with the batch to the third power.

    >>> print(50.0 * RKDAngle("fc:input -> fc:input"))
    50 * RKDAngle(embedding='fc:input -> fc:input')
    """

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return rkd_angle(*self.values(reading))


def _relative(distance: Tensor) -> Tensor:
    count = len(distance)
    mean = distance.sum() / max(1, count * (count - 1))
    return distance / torch.where(mean > 0, mean, 1.0)


def _cosines(values: Tensor) -> Tensor:
    """(i, j, k): the cosine at i between j and k."""
    return inner_products(unit(values.unsqueeze(0) - values.unsqueeze(1)))


def _stages(
    config: TrainConfig,
    *,
    embedding: str,
    weight: NonNegative = 1.0,
    distance_weight: NonNegative = 25.0,
    angle_weight: NonNegative = 50.0,
) -> list[Stage]:
    relations = distance_weight * RKDDistance(embedding) + angle_weight * RKDAngle(embedding)
    return [Stage("labels and relations", CE() + weight * relations, config)]


METHOD = Method("rkd", _stages, family="relations", year=2019, paper="Park et al., Relational knowledge distillation")
