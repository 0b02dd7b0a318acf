"""Losses on the sign and the positive part of pre-activations: activation boundaries, and their overhaul."""

import math

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.maps import require_same_shape
from understudy.precision import wide

RARELY_NEGATIVE = 0.001
SMALLEST_SCALE = 1e-12


def activation_boundaries(student: Tensor, teacher: Tensor, *, margin: float = 1.0) -> Tensor:
    """Activation boundaries (AB): the student's neurons are on and off where the teacher's are, one value per sample.

    ``|| rho(T) relu(m - S) + (1 - rho(T)) relu(m + S) ||^2`` with ``rho(T) = 1 if T > 0 else 0``, summed over elements

    Args:
        student: pre-activations after a connector, (N, ...).
        teacher: pre-activations of the same shape: only their signs count.
        margin: m, how far beyond the boundary the student must be (paper and code: 1).

    The code's weight is 3 / 1000 at the last map, half of it at each earlier one, summed over elements and averaged
    over the batch; by this loss alone the student is initialised, then it trains by KD or labels.

    Reference: Heo et al., "Knowledge transfer via distillation of activation boundaries formed by hidden neurons",
    AAAI 2019.
    Differences: none known to the authors' code. A student equal to its teacher is not at zero: its neurons may be
    within the margin.
    """
    require_same_shape(student, teacher)
    own, on = wide(student), teacher > 0
    missing = torch.where(on, margin - own, margin + own).relu()
    return missing.square().flatten(1).sum(1)


def ofd(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """Overhaul of feature distillation: partial squared distance to the teacher's margin ReLU, one value per sample.

    ``sum_i 0 if s_i <= t_i <= 0 else (t_i - s_i)^2`` with ``t = max(T, m_c)``

    Args:
        student: pre-activations after a 1x1 convolution and batch norm, (N, C, ...).
        teacher: pre-activations of the same shape.
        margin: m, one negative value per channel (C): the mean of the teacher's negative answers, by ``bn_margin``.

    The code's weight is 1e-3 (CIFAR) or 1e-4 (ImageNet) at the last map, half of it at each earlier one, summed over
    elements and averaged over the batch.

    Reference: Heo et al., "A comprehensive overhaul of feature distillation", ICCV 2019.
    Differences: none known to the authors' code; the weights are from memory and from later code.
    """
    require_same_shape(student, teacher)
    if margin.shape != teacher.shape[1:2]:
        raise UserError(f"the margin {tuple(margin.shape)} is not one value for each channel of {tuple(teacher.shape)}")
    own = wide(student)
    target = torch.maximum(wide(teacher), wide(margin).reshape(-1, *[1] * (teacher.ndim - 2)))
    counts = (own > target) | (target > 0)
    return torch.where(counts, (target - own).square(), 0).flatten(1).sum(1)


def bn_margin(weight: Tensor, bias: Tensor) -> Tensor:
    """The mean of a channel's negative answers, from the batch norm before the ReLU: one margin per channel.

    ``E[x | x < 0] = b - s phi(b/s) / Phi(-b/s)`` for ``x ~ N(b, s^2)``, ``s = |weight|``; where fewer than one in a
    thousand answers are negative it is ``-3 s``.

    Args:
        weight, bias: of the teacher's batch norm, (C).

    Reference: Heo et al., "A comprehensive overhaul of feature distillation", ICCV 2019.
    """
    scale = wide(weight.detach()).abs().clamp_min(SMALLEST_SCALE)
    centre = wide(bias.detach())
    ratio = centre / scale
    negative = torch.special.ndtr(-ratio)
    density = torch.exp(-0.5 * ratio.square()) / math.sqrt(2 * math.pi)
    expected = centre - scale * density / negative.clamp_min(RARELY_NEGATIVE)
    return torch.where(negative > RARELY_NEGATIVE, expected, -3 * scale)
