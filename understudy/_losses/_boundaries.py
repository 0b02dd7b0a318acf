"""Losses on the sign and the positive part of pre-activations: activation boundaries, and their overhaul."""

import torch
from torch import Tensor

from understudy.methods.shared.maps import require_same_shape
from understudy.precision import wide


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
