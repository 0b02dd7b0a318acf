"""Factor transfer: the teacher's features paraphrased by an autoencoder, the student's translated to match."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from understudy.methods.shared.maps import difference, require_known, require_same_shape
from understudy.precision import wide

Distance = Literal["l1", "l2"]


def factor_transfer(student: Tensor, teacher: Tensor, *, distance: Distance = "l1") -> Tensor:
    """Factor transfer: distance of the normalised factors, one value per sample.

    ``mean | F_t / |F_t|_2 - F_s / |F_s|_2 |^p`` over all elements, p = 1 or 2

    Args:
        student: what the translator makes of the student's last map, (N, ...).
        teacher: what the paraphraser makes of the teacher's, of the same shape.
        distance: ``"l1"`` as in the authors' code, or ``"l2"`` (the mean of squares).

    The authors' code weighs it by beta = 500, averaged over elements and batch.

    Reference: Kim, Park, Kwak, "Paraphrasing complex network: network compression via factor transfer", NeurIPS 2018.
    Differences: the paper writes the p-norm (a sum over elements), its code averages. CRD's benchmark (weight 200)
    averages squares over the channels first, which is an attention map and not the paper's factor.
    """
    require_same_shape(student, teacher)
    gap = F.normalize(wide(teacher).flatten(1), dim=1) - F.normalize(wide(student).flatten(1), dim=1)
    return _mean(gap, distance)


def paraphraser_reconstruction(reconstruction: Tensor, features: Tensor, *, distance: Distance = "l2") -> Tensor:
    """How far the paraphraser's reconstruction is from the teacher's features, one value per sample.

    ``mean | x - P(x) |^p`` over all elements, p = 2 or 1

    Args:
        reconstruction: P(x), of the paraphraser's decoder, (N, ...).
        features: x, the teacher's last map, of the same shape.
        distance: ``"l2"`` is the paper's, ``"l1"`` its code's.

    The only loss of the paraphraser's own training, before the student's (the code trains it for five epochs).

    Reference: Kim, Park, Kwak, "Paraphrasing complex network: network compression via factor transfer", NeurIPS 2018.
    Differences: the paper writes the squared norm (a sum over elements); here, as in its code, the mean is taken.
    """
    return _mean(difference(reconstruction, features).flatten(1), distance)


def _mean(gap: Tensor, distance: Distance) -> Tensor:
    require_known("distance", distance, ("l1", "l2"))
    return gap.abs().mean(1) if distance == "l1" else gap.square().mean(1)
