"""Losses on channels: each one's distribution over the places, their correlations, and maps made of masked ones."""

import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.maps import difference, products, require_same_channels, require_same_shape
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


def ickd(student: Tensor, teacher: Tensor) -> Tensor:
    """Inter-channel correlation: squared distance of the normalised channel-by-channel products, one value per sample.

    ``1/C || N(t t^T) - N(s s^T) ||^2`` with maps as (C, H W) and N scaling each row to unit length

    Args:
        student, teacher: maps (N, C, H, W) with the same channels (a 1x1 convolution and batch norm before the
            student's); their sizes need not agree.

    The authors' code weighs it by 2.5 on the last map, beside cross-entropy, averaged over the batch.

    Reference: Liu et al., "Exploring inter-channel correlation for diversity-preserved knowledge distillation",
    ICCV 2021.
    Differences: this is the authors' code for CIFAR; the paper, as far as remembered, divides by C^2. The grid-level
    variant for segmentation (products within patches) is this loss on the patches.
    """
    require_same_channels(student, teacher)
    return (_correlations(teacher) - _correlations(student)).square().sum(2).mean(1)


def mgd(generated: Tensor, teacher: Tensor) -> Tensor:
    """Masked generative distillation: squared distance of a map generated from masked features, one value per sample.

    ``sum (t - G(m * s))^2`` over all elements

    Args:
        generated: what the generator (two 3x3 convolutions with a ReLU between them) makes of the student's map with
            a part of it masked, see ``masked``, (N, C, H, W).
        teacher: its whole map, of the same shape.

    The code's weight is 7e-5 (classification, last map) and 2e-5 (detection, all maps of the neck), summed over
    elements and averaged over the batch.

    Reference: Yang et al., "Masked generative distillation", ECCV 2022.
    Differences: none known to the authors' code.
    """
    return difference(generated, teacher).square().flatten(1).sum(1)


def masked(student: Tensor, drawn: Tensor, *, ratio: float = 0.15) -> Tensor:
    """The student's map with a part of it set to zero: where ``drawn < ratio``.

    Args:
        student: (N, C, H, W).
        drawn: uniform in [0, 1): (N, C, 1, 1) masks whole channels, as the code does for classification; (N, 1, H, W)
            masks places, as the paper does and the code for detection.
        ratio: the part that is masked (code: 0.15 of the channels for classification, 0.65 of the places in detection).
    """
    shape = tuple(student.shape)
    if tuple(drawn.shape) not in ((*shape[:2], 1, 1), (shape[0], 1, *shape[2:])):
        raise UserError(f"numbers drawn as {tuple(drawn.shape)} mask neither the channels nor the places of {shape}")
    return student * (drawn >= ratio).to(student.dtype)


def _correlations(values: Tensor) -> Tensor:
    rows = values.flatten(2)
    return F.normalize(products(rows, rows), dim=2)
