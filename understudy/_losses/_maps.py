"""Losses on class activation maps, and on what the teacher's classifier makes of the student's features."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.logits import one_hot
from understudy.methods.shared.maps import (
    difference,
    feature_mse,
    require_known,
    require_same_channels,
    require_same_shape,
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


def srrl_features(student: Tensor, teacher: Tensor) -> Tensor:
    """SRRL's feature part: mean squared difference of the pooled features, one value per sample.

    ``mean_c (mean_hw t - mean_hw s)^2``

    Args:
        student: last features after a connector (1x1 convolution, batch norm, ReLU), (N, C) or (N, C, H, W).
        teacher: last features, with the same channels; the sizes of the maps need not agree.

    Weight alpha 1, averaged over channels and batch.

    Reference: Yang et al., "Knowledge distillation via softmax regression representation learning", ICLR 2021.
    Differences: as in the authors' code; the paper writes the squared norm, without the mean.
    """
    require_same_channels(student, teacher)
    return feature_mse(_mean_over_places(student), _mean_over_places(teacher))


def srrl_logits(cross_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """SRRL's softmax regression part: the teacher's classifier on the student's features, one value per sample.

    ``mean_c (W_t t - W_t s)^2``

    Args:
        cross_logits: what the teacher's frozen classifier makes of the student's features after the connector, (N, C).
            The gradient passes through that classifier; its own weights take none.
        teacher_logits: (N, C).

    Weight beta 1, averaged over classes and batch.

    Reference: Yang et al., "Knowledge distillation via softmax regression representation learning", ICLR 2021.
    Differences: the paper compares cross-entropy, divergence and this squared difference; its code has the last.
    """
    return feature_mse(cross_logits, teacher_logits)


def simkd(student: Tensor, teacher: Tensor) -> Tensor:
    """SimKD: mean squared difference of the last features before a shared classifier, one value per sample.

    ``mean (f_t - P(f_s))^2``

    Args:
        student: last map after the projector (1x1, 3x3 and 1x1 convolutions), (N, C, H, W).
        teacher: last map, of the same shape; of the two maps the code averages the larger one down before.

    The only loss, weight 1; the student then answers by its own body, the projector and the teacher's classifier, so
    the projector stays with the student.

    Reference: Chen et al., "Knowledge distillation with the reused teacher classifier", CVPR 2022.
    Differences: the paper writes the squared norm; the mean over elements is, from memory,
    its code's.
    """
    return difference(student, teacher).square().flatten(1).mean(1)


def ofa(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    exponent: float = 1.0,
    temperature: float = 1.0,
    form: Literal["code", "paper"] = "code",
) -> Tensor:
    """OFA-KD: soft targets in which the label's class is enhanced, for unlike architectures, one value per sample.

    ``- sum_c ((p_t(c) + [c = y])^gamma - [c = y]) log p_s(c)``

    Args:
        student_logits: of the student, or of an exit branch on one of its stages, (N, C).
        teacher_logits: (N, C).
        labels: class numbers (N), or distributions (N, C), of which the largest class counts.
        exponent: gamma, which enhances the label's class (code: 1; 1.5 in its example of an unlike pair).
        temperature: of both softmaxes (code: 1; no T^2).
        form: ``"paper"`` is ``- (1 + p_t(y))^gamma log p_s(y) - sum_{c != y} p_t(c) log p_s(c)``, which contains the
            cross-entropy with the labels; ``"code"`` adds that by itself and raises the other classes to gamma too.

    Weight 1 for each of four stages and the logits, averaged over the batch. With gamma 1 ``"code"`` is plain soft
    targets, as cross-entropy.

    Reference: Hao et al., "One-for-all: bridge the gap between heterogeneous architectures in knowledge distillation",
    NeurIPS 2023.
    Differences: between paper and code as ``form`` says; the paper's equation is from memory.
    """
    require_known("form", form, ("code", "paper"))
    require_same_shape(student_logits, teacher_logits)
    own = F.log_softmax(wide(student_logits) / temperature, dim=1)
    other = F.softmax(wide(teacher_logits) / temperature, dim=1)
    numbers = labels.argmax(1) if labels.is_floating_point() else labels
    label = one_hot(numbers, other.shape[1], other.dtype)
    enhanced = (other + label) ** exponent
    target = enhanced - label if form == "code" else torch.where(label > 0, enhanced, other)
    return -(target * own).sum(1)


def _pooled(maps: Tensor, resolution: int, normalize: bool) -> Tensor:
    if maps.ndim != 4:
        raise UserError(f"class activation maps are (N, classes, H, W), not {tuple(maps.shape)}")
    pooled = F.adaptive_avg_pool2d(wide(maps), resolution).flatten(2)
    return F.normalize(pooled, dim=2) if normalize else pooled


def _mean_over_places(features: Tensor) -> Tensor:
    return wide(features) if features.ndim == 2 else wide(features).flatten(2).mean(2)
