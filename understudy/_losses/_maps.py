"""Losses on class activation maps, and on what the teacher's classifier makes of the student's features."""

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.maps import (
    feature_mse,
    require_same_channels,
)
from understudy.precision import wide


def cat_kd(student: Tensor, teacher: Tensor, *, resolution: int = 2, normalize: bool = True) -> Tensor:
    """Class attention transfer: squared difference of pooled class activation maps, one value per sample.

    ``mean (N(pool(t)) - N(pool(s)))^2`` over classes and places, N scaling each class's map to unit length

    Args:
        student, teacher: class activation maps (N, classes, H, W), of any sizes; see ``class_activation_maps``.
        resolution: height and width that both are averaged down to (code: 2 or 4).
        normalize: scale each map to unit length. The paper does; the code's configurations do so for unlike
            architectures and for training by this loss alone, and not for like ones.

    The code's weights beta, averaged over everything: scaled 80 (WRN-40-2 to ShuffleNetV1) and 50 (this loss alone),
    not scaled 0.7 (ResNet-56 to 20), 15 (ResNet-32x4 to 8x4) and 0.5 (ResNet-34 to 18).

    Reference: Guo et al., "Class attention transfer based knowledge distillation", CVPR 2023.
    Differences: this is the code's mean; the paper, from memory, sums over classes.
    """
    require_same_channels(student, teacher)
    return feature_mse(_pooled(student, resolution, normalize), _pooled(teacher, resolution, normalize))


def class_activation_maps(features: Tensor, weight: Tensor) -> Tensor:
    """Each class's evidence at each place: features (N, C, H, W) by a classifier's weight (classes, C)."""
    return torch.einsum("nchw,kc->nkhw", features, weight.to(features.dtype))


def _pooled(maps: Tensor, resolution: int, normalize: bool) -> Tensor:
    if maps.ndim != 4:
        raise UserError(f"class activation maps are (N, classes, H, W), not {tuple(maps.shape)}")
    pooled = F.adaptive_avg_pool2d(wide(maps), resolution).flatten(2)
    return F.normalize(pooled, dim=2) if normalize else pooled
