"""The flow of the solution procedure: how two layers of one network go together."""

from typing import Literal

from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.maps import on_common_grid, products, require_known


def fsp(
    student_first: Tensor,
    student_second: Tensor,
    teacher_first: Tensor,
    teacher_second: Tensor,
    *,
    reduce: Literal["sum", "mean"] = "sum",
) -> Tensor:
    """Squared distance of two networks' FSP matrices, one value per sample.

    ``|| G(t_1, t_2) - G(s_1, s_2) ||^2`` with ``G_ij = sum_hw F1_ihw F2_jhw / (H W)``

    Args:
        student_first, student_second: two maps of the student, the start and end of one section, (N, C, H, W).
        teacher_first, teacher_second: the same of the teacher: the channels of each must be the student's, the sizes
            of the maps need not.
        reduce: over the matrix: the paper's ``sum``, or the ``mean`` of CRD's benchmark.

    The paper weighs its three pairs of layers equally, averages over the batch, and trains by this loss alone before
    it trains by labels alone (two stages); CRD's benchmark takes 50 with ``mean``, as a first stage of 30 epochs.

    Reference: Yim et al., "A gift from knowledge distillation: fast optimization, network minimization and transfer
    learning", CVPR 2017.
    Differences: where the two maps of a network differ in size, the larger is averaged down as in later code (the
    paper, as far as remembered, takes the maximum).
    """
    require_known("reduce", reduce, ("sum", "mean"))
    student = fsp_matrix(student_first, student_second)
    teacher = fsp_matrix(teacher_first, teacher_second)
    if student.shape != teacher.shape:
        raise UserError(
            f"the student's layers have {student.shape[1]} and {student.shape[2]} channels, the teacher's "
            f"{teacher.shape[1]} and {teacher.shape[2]}: tap layers of equal width or put regressors before them"
        )
    squares = (teacher - student).square().flatten(1)
    return squares.sum(1) if reduce == "sum" else squares.mean(1)


def fsp_matrix(first: Tensor, second: Tensor) -> Tensor:
    """The products of two layers' channels, averaged over the places: (N, C1, H, W), (N, C2, H', W') to (N, C1, C2)."""
    one, two = (values.flatten(2) for values in on_common_grid(first, second))
    return products(one, two) / one.shape[2]
