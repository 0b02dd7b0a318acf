"""Knowledge review: features compared at several scales."""

import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.maps import require_same_shape
from understudy.precision import wide


def hierarchical_context(student: Tensor, teacher: Tensor, *, levels: tuple[int, ...] = (4, 2, 1)) -> Tensor:
    """Knowledge review's hierarchical context loss (HCL): a pyramid of mean squared differences, one value per sample.

    ``sum_l w_l mean (pool_l(t) - pool_l(s))^2 / sum_l w_l``, from the whole map (w = 1) down the levels, w halving

    Args:
        student: the fused map of one stage, after its attention-based fusion, (N, C, H, W).
        teacher: the map of that stage, of the same shape. A vector is a map of one place: (N, C, 1, 1).
        levels: heights and widths that both are averaged down to; those not smaller than the map are left out.

    One loss for each stage, added. The authors' weights are 0.6 to 8 by pair (CIFAR-100) and 1 (ImageNet), averaged
    over the batch, and grow linearly over the first 20 epochs (weights from memory and from later code).

    Reference: Chen et al., "Distilling knowledge via knowledge review", CVPR 2021.
    Differences: the paper leaves the weights of the levels open; they are those of its code.
    """
    require_same_shape(student, teacher)
    if student.ndim != 4:
        raise UserError(f"the context loss compares maps (N, C, H, W), not {tuple(student.shape)}")
    gap = wide(teacher) - wide(student)
    used = [level for level in levels if level < min(gap.shape[2:])]
    value, weight, total = _mean_square(gap), 1.0, 1.0
    for level in used:
        weight /= 2
        total += weight
        # the mean of differences is the difference of means, so one pooling serves both
        value = value + weight * _mean_square(F.adaptive_avg_pool2d(gap, level))
    return value / total


def _mean_square(gap: Tensor) -> Tensor:
    return gap.square().flatten(1).mean(1)
