"""Losses on the neurons of a top layer: a face model's selected neurons, and distances to class means."""

import torch
from torch import Tensor

from understudy.methods.shared.maps import difference
from understudy.precision import wide


def class_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Class-distance loss, the student's part: squared distance to the teacher's features, one value per sample.

    ``|| f_t(x) - g_s(x) ||^2``

    Args:
        student, teacher: features before the last layer, (N, D); the student then takes over the teacher's last layer.

    The features are those of a teacher that was trained with ``class_spread``. Weight 1, as the student's only loss,
    as far as a second-hand description says.

    Reference: Kim, Kim, "Transferring knowledge to smaller network with class-distance loss", ICLR workshop 2017.
    Differences: the equations were read second-hand; sum or mean over the features is not known, here it is the sum.
    """
    return difference(student, teacher).square().flatten(1).sum(1)


def class_spread(features: Tensor, own_mean: Tensor, others_mean: Tensor, *, bound: float) -> Tensor:
    """Class-distance loss, the teacher's own term: near its class, away from the others, one value per sample.

    ``|| f(x) - C(x) ||^2 - min(|| f(x) - O(x) ||^2, phi)``

    Args:
        features: of the network in training, before its last layer, (N, D).
        own_mean, others_mean: C and O, the mean features of the sample's class and of all other classes, (N, D); over
            the batch ``class_means`` gives them, over the data a term may keep them running.
        bound: phi, beyond which the other classes push no more. The paper's value was not found.

    Added with a weight lambda (not found) to the teacher's cross-entropy; it may be negative.

    Reference: Kim, Kim, "Transferring knowledge to smaller network with class-distance loss", ICLR workshop 2017.
    Differences: read second-hand: the form of the bound and what the means are taken over are not certain.
    """
    pull = difference(features, own_mean).square().sum(1)
    push = difference(features, others_mean).square().sum(1)
    return pull - push.clamp_max(bound)


def class_means(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each sample of the batch the mean features of its own class and of all samples of other classes, (N, D).

    A batch of one class only has no others: their mean is then zero.
    """
    values = wide(features)
    same = (labels.unsqueeze(1) == labels.unsqueeze(0)).to(values.dtype)
    with torch.autocast(values.device.type, enabled=False):
        own, others = same @ values, (1 - same) @ values
    return own / same.sum(1, keepdim=True), others / (1 - same).sum(1, keepdim=True).clamp_min(1)
