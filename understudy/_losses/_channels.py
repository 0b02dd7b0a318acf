"""Losses on channels: each one's distribution over the places, their correlations, and maps made of masked ones."""

import torch.nn.functional as F
from torch import Tensor

from understudy.methods.shared.maps import require_same_shape
from understudy.precision import wide


def cwd(student: Tensor, teacher: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Channel-wise distillation: divergence of each channel's softmax over the places, one value per sample.

    ``T^2 / C sum_c KL(softmax(t_c / T) || softmax(s_c / T))``, the softmax over H x W

    Args:
        student, teacher: maps (N, C, H, W) of the same shape (a 1x1 convolution before the student's where the
            channels differ).
        temperature: T (paper: 4).

    The paper's weight, averaged over the batch, is 50 on a feature map and 3 on a segmenter's map of logits (from
    memory and later code).

    Reference: Shu et al., "Channel-wise knowledge distillation for dense prediction", ICCV 2021.
    Differences: none known to the authors' code.
    """
    require_same_shape(student, teacher)
    own = F.log_softmax(wide(student).flatten(2) / temperature, dim=2)
    other = F.log_softmax(wide(teacher).flatten(2) / temperature, dim=2)
    return temperature**2 * F.kl_div(own, other, reduction="none", log_target=True).sum(2).mean(1)
