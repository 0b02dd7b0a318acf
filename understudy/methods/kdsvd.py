"""The strongest patterns of consecutive stages, and how they fit together: ``CE + KDSVD``.

Each stage's map is a matrix of places by channels; its first right singular vectors, one pattern of channels each,
stand for the stage, and a radial basis function relates those of two consecutive stages.

Reference: Lee, Kim, Song, "Self-supervised knowledge distillation using singular value decomposition", ECCV 2018.
Formula: the authors' second code (KD_methods_with_TF), which CRD's benchmark follows.
Weight: 1, as in mdistiller, whose matrices are channels and rows of a map by its columns; CRD's benchmark has the
method without a weight or a result, and the authors' first code half of the sum, times the root of the number of
vectors.
Differences: a linear regressor joins maps of different widths, which the authors' networks do not have.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from understudy.bounds import Count
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import products
from understudy.methods.shared.pairs import PairsTerm, summed
from understudy.objective.term import Reading, Shapes
from understudy.precision import or_nan, wide
from understudy.taps.regressors import regressor

FURTHER = 3  # so many more vectors of the student may take the place of the teacher's
NEAR = 1e-6  # singular values whose squares differ by less, as a share of the largest, count as equal


def kdsvd(
    student_before: Tensor, student: Tensor, teacher_before: Tensor, teacher: Tensor, *, vectors: int = 1
) -> Tensor:
    """KD-SVD: relations of the first singular vectors of two consecutive stages, one value per sample.

    ``sum_{c, d, k} (exp(-(v_ck - u_dk)^2 / 8) of the student - the same of the teacher)^2``, v_k and u_k the first
    right singular vectors of the later and of the earlier map (places by channels), times the teacher's singular
    values divided by their length

    Args:
        student_before, student: maps of two consecutive stages, (N, C, H, W).
        teacher_before, teacher: the teacher's, each with as many channels.
        vectors: how many of the teacher's are compared (code: 1), no more than its maps have channels or places. For
            each, the most similar of as many and three more of the student's is taken, with its sign.

    Weight in the objective: 1 in mdistiller.
    Reference: Lee, Kim, Song, "Self-supervised knowledge distillation using singular value decomposition", ECCV 2018.
    Differences: where two singular values are equal, the derivative of the vectors does not exist. The authors set what
    is not finite to 0; here what belongs to two values that are nearly equal is 0.

    >>> maps = [torch.rand(2, 3, 4, 4) for _ in range(2)]
    >>> kdsvd(*maps, *maps)
    tensor([0., 0.])
    """
    return _compared(_patterns(student_before, teacher_before, vectors), _patterns(student, teacher, vectors))


def singular_vectors(maps: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first singular values (N, k) and right singular vectors (N, C, k) of maps as matrices of places by channels.

    The values are constants; the vectors have the gradient of a small change of the maps.
    """
    with torch.autocast(maps.device.type, enabled=False):
        matrix = wide(maps).flatten(2).mT
        with torch.no_grad():
            # Of NaN no decomposition exists: what is made of such maps is NaN below.
            _, values, rows = torch.linalg.svd(matrix.detach().nan_to_num(0, 0, 0), full_matrices=False)
        squares, every, first = values.square(), rows.mT, rows[:, :count].mT
        # The change of G v for G = M^T M: its value is 0, its gradient that of the matrix.
        changed = matrix.mT @ (matrix @ first)
        change = changed - changed.detach()
        within = every.mT @ change
        gaps = squares[:, None, :count] - squares[:, :, None]
        near = squares[:, :1, None] * NEAR
        inside = every @ torch.where(gaps.abs() > near, within / torch.where(gaps == 0, 1.0, gaps), 0.0)
        own = squares[:, None, :count]
        outside = torch.where(own > near, (change - every @ within) / torch.where(own == 0, 1.0, own), 0.0)
        return values[:, :count], or_nan(first + inside + outside, matrix)


@dataclass(frozen=True)
class KDSVD(PairsTerm):
    """Relations of the first singular vectors of consecutive stages; see ``losses.kdsvd``.

    Args:
        pairs: from input to output, at least two; a linear regressor joins those of different widths.
        vectors: how many of each stage are compared.

    >>> print(KDSVD(["layer1 -> layer1", "layer2 -> layer2"], vectors=2))
    KDSVD(pairs=('layer1 -> layer1', 'layer2 -> layer2'), vectors=2)
    """

    least = 2
    vectors: Count = 1

    def build(self, shapes: Shapes) -> nn.Module:
        joined = []
        for student, teacher in self.traced(shapes):
            _require(student, teacher, self.vectors, same=False)
            join = None if student.shape[1] == teacher.shape[1] else regressor(student, teacher, kind="linear")
            joined.append(join or nn.Identity())
        return nn.ModuleList(joined)

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        if any(student.shape[1] != teacher.shape[1] for student, teacher in self.traced(shapes)):
            yield "the stages have other widths than the teacher's: regressors join them, which is not as published"

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        pairs = zip(owned, self.values(reading), strict=True)
        patterns = [_patterns(join(student), teacher, self.vectors) for join, (student, teacher) in pairs]
        return summed(_compared(before, after) for before, after in pairwise(patterns))


def _patterns(student: Tensor, teacher: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first vectors of both, (N, C, k): for each of the teacher's the most similar of the student's."""
    _require(student, teacher, count, same=True)
    with torch.no_grad():
        sizes, theirs = singular_vectors(teacher, count)
    _, own = singular_vectors(student, count + FURTHER)
    cosines = products(own.mT, theirs.mT)
    best = cosines.detach().abs().argmax(1, keepdim=True)
    signs = cosines.detach().gather(1, best).sign()
    chosen = own.gather(2, best.expand(-1, own.shape[1], -1)) * signs
    scale = (sizes / torch.linalg.vector_norm(sizes, dim=1, keepdim=True).clamp_min(1e-12)).unsqueeze(1)
    return chosen * scale, theirs * scale


def _compared(before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Tensor:
    student, teacher = (
        (-(later.unsqueeze(2) - earlier.unsqueeze(1)).square() / 8).exp()
        for later, earlier in zip(after, before, strict=True)
    )
    return (student - teacher).square().flatten(1).sum(1)


def _require(student: Tensor, teacher: Tensor, count: int, *, same: bool) -> None:
    shapes = f"the student's {tuple(student.shape)} and the teacher's {tuple(teacher.shape)}"
    if student.ndim != 4 or teacher.ndim != 4:
        raise UserError(f"KDSVD compares maps (N, C, H, W), not {shapes}: tap places that give maps")
    if len(student) != len(teacher) or (same and student.shape[1] != teacher.shape[1]):
        raise UserError(f"{shapes} differ in batch or channels: put a regressor between them")
    if count > (most := min(teacher.shape[1], teacher.shape[2:].numel())):
        raise UserError(
            f"KDSVD: vectors = {count} are more than the {most} singular vectors of the teacher's "
            f"{tuple(teacher.shape)}: take fewer, or tap larger maps"
        )


METHOD = one_stage(
    "kdsvd",
    KDSVD,
    stage="labels and singular vectors",
    weight=1.0,
    family="features",
    year=2018,
    paper="Lee et al., Self-supervised knowledge distillation using singular value decomposition",
)
