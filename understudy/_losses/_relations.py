"""Losses on the relations between the samples of a batch: distances, angles, similarities.

Student and teacher need not have the same width: each network's relations are its own. The value of a sample is its
row of the relations, scaled so that the mean over the samples is the loss of the paper (or as each function says).
A relation needs its whole batch: halves of a batch have other relations than the whole.
"""

from math import exp, factorial
from typing import Literal

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.relations import inner_products, unit, vectors


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


def _gaussian_series(products: Tensor, gamma: float, order: int) -> Tensor:
    series = torch.ones_like(products)
    for p in range(1, order + 1):
        series = series + (2 * gamma) ** p / factorial(p) * products**p
    return exp(-2 * gamma) * series
