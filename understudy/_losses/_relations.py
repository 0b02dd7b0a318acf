"""Losses on the relations between the samples of a batch: distances, angles, similarities.

Student and teacher need not have the same width: each network's relations are its own. The value of a sample is its
row of the relations, scaled so that the mean over the samples is the loss of the paper (or as each function says).
A relation needs its whole batch: halves of a batch have other relations than the whole.
"""

from math import exp, factorial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.relations import distances, inner_products, unit, vectors


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Relational distillation by distance: all distances between samples, each in units of their mean.

    ``mean_j huber(d^S_ij / mean d^S, d^T_ij / mean d^T)``, ``d_ij = || f_i - f_j ||``, ``huber`` quadratic below 1;
    the mean over the samples i is the loss

    Args:
        student, teacher: (N, ...); everything after the batch is one vector. The paper's weight is 1 for metric
            learning; CRD's benchmark has 25 (with 50 for angles).

    Reference: Park, Kim, Lu, Cho, "Relational knowledge distillation", CVPR 2019.
    Differences: the paper sums over all pairs; the authors' code, like this, takes the mean over all N^2 of them, of
    which the N of a sample with itself are 0. The mean distance is over pairs of unequal samples, as in the code.
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
    """
    own, other = vectors(student, teacher)
    return F.smooth_l1_loss(_cosines(own), _cosines(other), reduction="none").mean((1, 2))


def similarity_preserving(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity-preserving distillation: inner products between samples, each row scaled to length 1.

    ``1/N sum_j (G^S_ij - G^T_ij)^2``, ``G = rows of F F^T by their length``; the mean over the samples i is the
    paper's ``1/N^2 || G^T - G^S ||_F^2``

    Args:
        student, teacher: (N, ...), maps as they are. Weight 3000 in CRD's benchmark and (from memory) in the paper;
            for several pairs of taps the paper sums.

    Reference: Tung, Mori, "Similarity-preserving knowledge distillation", ICCV 2019.
    Differences: none known; a sample whose products are all 0 keeps a row of zeros.
    """
    own, other = vectors(student, teacher)
    difference = unit(inner_products(own)) - unit(inner_products(other))
    return difference.square().mean(1)


def correlation_congruence(
    student: Tensor,
    teacher: Tensor,
    *,
    kernel: Literal["gaussian", "inner"] = "gaussian",
    gamma: float = 0.4,
    order: int = 2,
) -> Tensor:
    """Correlation congruence: the samples' similarities under a kernel.

    ``1/N sum_j (k(s_i, s_j) - k(t_i, t_j))^2`` of vectors of length 1; the mean over the samples i is the paper's
    ``1/N^2 || C^S - C^T ||^2``. Gaussian: ``exp(-gamma ||x - y||^2) = exp(-2 gamma) sum_p (2 gamma)^p / p! (x.y)^p``
    up to p = ``order``

    Args:
        student, teacher: (N, ...).
        kernel: the Gaussian's Taylor series, which the paper proposes, or the ``"inner"`` product x.y (its bilinear
            pooling).
        gamma, order: of the Gaussian; 0.4 and 2 in all re-implementations, and in the paper from memory.

    Reference: Peng et al., "Correlation congruence for knowledge distillation", ICCV 2019.
    Differences: no code of the authors is known to us. The paper's weight is 0.003 from memory. What CRD's benchmark
    calls CC is ``correlation_of_differences``. That the inner product is of vectors of length 1 is our choice.
    """
    own, other = vectors(student, teacher)
    alike, expected = inner_products(unit(own)), inner_products(unit(other))
    if kernel == "gaussian":
        alike, expected = _gaussian_series(alike, gamma, order), _gaussian_series(expected, gamma, order)
    return (alike - expected).square().mean(1)


def correlation_of_differences(student: Tensor, teacher: Tensor) -> Tensor:
    """What CRD's benchmark runs as correlation congruence: how much the errors of two samples coincide.

    ``mean_(j != i) < |s_i - t_i|, |s_j - t_j| >``, absolute values element by element

    Args:
        student, teacher: (N, D), of the same width: the benchmark maps both to 128 values with a learned linear
            layer each. Weight 0.02 there.

    Reference: Tian, Krishnan, Isola, "Contrastive representation distillation", ICLR 2020 (its benchmark's code, which
    the authors of Peng et al., ICCV 2019, are said to have sent).
    Differences: the benchmark pairs each sample with the next one of the batch, so its value depends on the order of
    the batch; this is its expectation over all orders. A batch of one sample has no pair, and the value 0.
    """
    own, other = vectors(student, teacher)
    if own.shape != other.shape:
        raise UserError(
            f"the student's {tuple(student.shape)} and the teacher's {tuple(teacher.shape)} differ in width: "
            "map both to the same one"
        )
    error = (own - other).abs()
    others = error.sum(0) - error
    return (error * others).sum(1) / max(1, len(error) - 1)


def pkt(student: Tensor, teacher: Tensor, *, itself: bool = True, epsilon: float = 1e-7) -> Tensor:
    """Probabilistic knowledge transfer: each sample's neighbours as a distribution, matched by KL.

    ``1/N sum_j p_ij log(p_ij / q_ij)``, ``p_ij = K(t_i, t_j) / sum_k K(t_i, t_k)``, ``q`` the student's,
    ``K(x, y) = (cos(x, y) + 1) / 2``; the mean over the samples i is the authors' code's loss

    Args:
        student, teacher: (N, ...). Weight 30000 in CRD's benchmark, which goes with the mean over all N^2 pairs.
        itself: count a sample among its own neighbours, as the code does; the paper's sums (from memory) leave it out.
        epsilon: added to both probabilities in the logarithm, as in the code.

    Reference: Passalis, Tefas, "Learning deep representations with probabilistic knowledge transfer", ECCV 2018.
    Differences: the paper sums over all pairs, N^2 times this.
    """
    own, other = vectors(student, teacher)
    q, p = (_neighbours(inner_products(unit(x)), itself) for x in (own, other))
    return (p * ((p + epsilon) / (q + epsilon)).log()).mean(1)


def _relative(distance: Tensor) -> Tensor:
    pairs = (distance > 0).sum().clamp_min(1)
    mean = distance.sum() / pairs
    return distance / torch.where(mean > 0, mean, 1.0)


def _cosines(vectors: Tensor) -> Tensor:
    """(i, j, k): the cosine at i between j and k."""
    return inner_products(unit(vectors.unsqueeze(0) - vectors.unsqueeze(1)))


def _gaussian_series(products: Tensor, gamma: float, order: int) -> Tensor:
    series = torch.ones_like(products)
    for p in range(1, order + 1):
        series = series + (2 * gamma) ** p / factorial(p) * products**p
    return exp(-2 * gamma) * series


def _neighbours(cosines: Tensor, itself: bool) -> Tensor:
    """Rows of probabilities."""
    likeness = (cosines + 1) / 2
    if not itself:
        likeness = likeness * (1 - torch.eye(len(cosines), dtype=likeness.dtype, device=likeness.device))
    return likeness / likeness.sum(1, keepdim=True).clamp_min(1e-12)  # all may point away from it
