"""Code for methods on relations between the samples of a batch: distances and inner products of vectors.

Student and teacher need not have the same width: each network's relations are its own. The value of a sample is its
row of the relations, scaled so that the mean over the samples is the loss of the paper (or as each function says).
A relation needs its whole batch: halves of a batch have other relations than the whole.
"""

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.precision import wide


def distances(vectors: Tensor) -> Tensor:
    """Euclidean distances between all rows, (N, N), from their differences.

    Squares and inner products would be faster, and wrong for neighbours in float32.
    """
    return torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")


def inner_products(left: Tensor, right: Tensor | None = None) -> Tensor:
    """Inner products of all rows. Autocast would compute them in its low precision."""
    with torch.autocast(left.device.type, enabled=False):
        return left @ (left if right is None else right).mT


def unit(vectors: Tensor) -> Tensor:
    """Rows of length 1. A row of zeros stays, and gets no gradient where a division by nearly 0 would explode.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0], [torch.nan, 1.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000],
            [   nan,    nan]])
    """
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    zero = length == 0
    return torch.where(zero, 0.0, vectors / torch.where(zero, 1.0, length))


def flat(values: Tensor) -> Tensor:
    """(N, ...) as N vectors."""
    return wide(values).flatten(1)


def one_batch(student: Tensor, teacher: Tensor) -> None:
    """Both sides must hold the same samples."""
    if len(student) != len(teacher):
        raise UserError(
            f"the student's {tuple(student.shape)} and the teacher's {tuple(teacher.shape)} hold different numbers "
            "of samples: relations are those of one batch"
        )


def vectors(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides as vectors of the same samples."""
    one_batch(student, teacher)
    return flat(student), flat(teacher)
