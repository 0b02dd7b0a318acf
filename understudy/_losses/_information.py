"""Variational information distillation: how likely the teacher's features are, given the student's."""

import math

import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.maps import require_same_shape
from understudy.precision import wide

SMALLEST_VARIANCE = 1e-5


def vid(mean: Tensor, teacher: Tensor, raw_variance: Tensor, *, smallest: float = SMALLEST_VARIANCE) -> Tensor:
    """Variational information distillation: Gaussian negative log-likelihood of the teacher, one value per sample.

    ``mean 1/2 ((t - mu)^2 / var_c + log var_c)`` over all elements, with ``var_c = softplus(raw_c) + smallest``

    Args:
        mean: mu, what a regressor makes of the student's features, (N, C, ...).
        teacher: t, features of the same shape.
        raw_variance: one learned parameter per channel (C), shared by all samples and places; it learns with the
            regressor. CRD's benchmark starts it at a variance of 5: ``raw_of_variance(5)``.
        smallest: what keeps the variance from zero (CRD's benchmark: 1e-5).

    CRD's benchmark weighs it by 1, averaged over elements and batch. It may be negative, and at equal features it is
    ``1/2 mean log var_c``.

    Reference: Ahn et al., "Variational information distillation for knowledge transfer", CVPR 2019.
    Differences: the paper sums over elements, CRD's benchmark (after the authors' code) averages as here; the constant
    ``1/2 log 2 pi`` is left out.
    """
    require_same_shape(mean, teacher)
    if raw_variance.shape != teacher.shape[1:2]:
        raise UserError(
            f"the variance {tuple(raw_variance.shape)} is not one value for each channel of {tuple(teacher.shape)}"
        )
    variance = F.softplus(wide(raw_variance)) + smallest
    variance = variance.reshape(-1, *[1] * (teacher.ndim - 2))
    surprise = (wide(teacher) - wide(mean)).square() / variance + variance.log()
    return 0.5 * surprise.flatten(1).mean(1)


def raw_of_variance(variance: float, *, smallest: float = SMALLEST_VARIANCE) -> float:
    """The raw parameter whose softplus, plus ``smallest``, is this variance."""
    return math.log(math.expm1(variance - smallest))
