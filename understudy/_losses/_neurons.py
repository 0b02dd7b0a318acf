"""Losses on the neurons of a top layer: a face model's selected neurons, and distances to class means."""

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.maps import difference
from understudy.precision import wide


def neurons(student: Tensor, teacher: Tensor, *, selected: Tensor | None = None) -> Tensor:
    """Face model compression: half the squared distance to the teacher's (selected) neurons, one value per sample.

    ``1/2 sum_i (f_i - g_i)^2`` over the selected neurons i

    Args:
        student: (N, D), or (N, K) where ``selected`` holds K numbers.
        teacher: the top hidden layer, (N, D).
        selected: which of the teacher's neurons count: their numbers (K) of whole type, for a student that has these
            K only; or a mask (D) of bool, for a student that has all D. None means all.

    The paper's only loss, averaged over samples; it selects 422 of 512 neurons.

    Reference: Luo et al., "Face model compression by distilling knowledge from neurons", AAAI 2016.
    Differences: none known; see ``select_neurons`` for the selection.
    """
    return 0.5 * difference(*_chosen(student, teacher, selected)).square().sum(1)


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


def select_neurons(
    accuracies: Tensor,
    count: int,
    *,
    cost: Tensor | None = None,
    redundancy: float = 1.0,
    iterations: int = 50,
) -> Tensor:
    """The numbers, ascending, of the ``count`` neurons that tell most and repeat each other least.

    ``q_i = sigmoid(-cost_i - lambda mean_j q_j exp(-1/2 |x_i - x_j|^2))``, the mean-field solution of the energy
    ``sum_i y_i cost_i + lambda sum_{i<j} y_i y_j exp(-1/2 |x_i - x_j|^2) / (D - 1)``: the neurons of the highest q.

    Args:
        accuracies: x, how well each neuron by itself tells each attribute, (D, attributes) (paper: 40 of CelebA).
        count: how many to keep (paper: 422 of 512).
        cost: what selecting each neuron costs, (D); None takes the mean best accuracy less the neuron's best one.
        redundancy: lambda.
        iterations: of the fixed point, each halfway from the last, which keeps it from swinging.

    Reference: Luo et al., "Face model compression by distilling knowledge from neurons", AAAI 2016.
    Differences: the paper's unary function and lambda were not found: ``cost`` and its default stand for them. That
    the pairwise term counts pairs of selected neurons is from memory; it is divided by D - 1 here, so that lambda does
    not depend on D. The paper keeps the neurons that come out as selected; here ``count`` is given.
    """
    if accuracies.ndim != 2 or not 0 < count <= accuracies.shape[0]:
        raise UserError(f"cannot select {count} neurons by accuracies {tuple(accuracies.shape)}, (neurons, attributes)")
    x = wide(accuracies)
    best = x.amax(1)
    price = best.mean() - best if cost is None else wide(cost)
    alike = torch.exp(-0.5 * (x.unsqueeze(1) - x.unsqueeze(0)).square().sum(2)).fill_diagonal_(0)
    chosen = torch.sigmoid(-price)
    for _ in range(iterations):
        pressure = (alike * chosen).sum(1) / max(1, len(x) - 1)
        chosen = 0.5 * chosen + 0.5 * torch.sigmoid(-price - redundancy * pressure)
    return chosen.topk(count).indices.sort().values


def _chosen(student: Tensor, teacher: Tensor, selected: Tensor | None) -> tuple[Tensor, Tensor]:
    if selected is None:
        return student, teacher
    if selected.dtype == torch.bool:
        if selected.shape != teacher.shape[1:]:
            raise UserError(f"a mask {tuple(selected.shape)} does not fit the teacher's {tuple(teacher.shape)} neurons")
        return torch.where(selected, student, 0), torch.where(selected, teacher, 0)
    return student, teacher.index_select(1, selected)
