"""The student's most probable classes, pair by pair, and the rest apart: ``CE + weight (10.5 LDRLD + 7 RNTK)``.

For every pair of the classes that the student ranks first, and for all of them together, a divergence among these
classes alone; and another one among the classes that are left.

Reference: Xu et al., "Local dense logit relations for enhanced knowledge distillation", ICCV 2025.
Weights, number of classes, temperature: 10.5 and 7, 7 and 4, as in the authors' code and its example for CIFAR-100,
ResNet-32x4 to ResNet-8x4.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Interval, NonNegative, Temperature
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import LogitTerm, check_same, require_classes
from understudy.objective.term import Reading, Shapes
from understudy.precision import wide

NEARNESS, DECAY = 1.5, 0.05  # of the weights of pairs, as in the authors' code


def ldrld(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    alpha: float = 10.5,
    beta: float = 7.0,
    top: int = 7,
    temperature: float = 4.0,
) -> Tensor:
    """Local dense relational logit distillation, one value per sample.

    ``T^2 (alpha / M (sum_ij w_ij KL_ij + KL_top) + beta KL_rest)``, i < j among the ``top`` classes that the student
    ranks first, KL_ij among the two classes alone, KL_top among all of them, KL_rest among the other classes, M the
    number of the divergences, ``w_ij = 2 exp(-0.05 (i + j)) / (1.5 + j - i)`` with ranks from 1 on

    Args:
        student_logits, teacher_logits: (N, C), with ``top`` classes or more. Without others, the last divergence is 0.
        alpha: weight of the classes that the student ranks first.
        beta: weight of the other classes ("remaining non-target knowledge").
        top: how many classes count as ranked first.
        temperature: T, of both.

    Weight in the objective: ``CE + LDRLD`` of the batch's means.
    Reference: Xu et al., "Local dense logit relations for enhanced knowledge distillation", ICCV 2025.
    Differences: none known to the authors' code, but that classes are left out there by subtracting 1000 from their
    logits, and that with ``top = 2`` it weighs the pair's second divergence, too.

    >>> ldrld(torch.arange(4.0).unsqueeze(0), torch.arange(4.0).unsqueeze(0), top=2)
    tensor([0.])
    """
    check_same(student_logits, teacher_logits)
    require_classes(student_logits)
    classes = student_logits.shape[-1]
    if not 2 <= top <= classes:
        raise UserError(f"top = {top}: give 2 classes at least, and no more than all {classes}")
    student, teacher = wide(student_logits) / temperature, wide(teacher_logits) / temperature
    order = student.sort(dim=-1, descending=True, stable=True).indices
    student, teacher = student.gather(-1, order), teacher.gather(-1, order)
    own, guide = student[..., :top], teacher[..., :top]
    first, second = torch.triu_indices(top, top, 1, device=student.device)
    pairs = torch.stack([first, second])
    of_pairs = _kl(own[..., pairs.T], guide[..., pairs.T])
    ranks = pairs.to(student.dtype) + 1
    weights = 2 * torch.exp(-DECAY * ranks.sum(0)) / (NEARNESS + ranks[1] - ranks[0])
    dense = ((weights * of_pairs).sum(-1) + _kl(own, guide)) / (len(weights) + 1)
    return temperature**2 * (alpha * dense + beta * _kl(student[..., top:], teacher[..., top:]))


@dataclass(frozen=True)
class LDRLD(LogitTerm):
    """Pairs of the student's most probable classes, and the other classes apart; see ``losses.ldrld``.

    Args:
        alpha: weight of the classes that the student ranks first.
        beta: weight of the other classes.
        top: how many classes count as ranked first; half of all, where there are no more than that (a remark says so).
        temperature: of both networks.

    >>> print(LDRLD(top=5))
    LDRLD(top=5)
    """

    alpha: NonNegative = 10.5
    beta: NonNegative = 7.0
    top: Annotated[int, Interval(ge=2, le=1_000)] = 7
    temperature: Temperature = 4.0

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        classes = shapes.student.logits.shape[-1]
        if (top := self._top(classes)) != self.top:
            yield f"top = {self.top} is not less than the {classes} classes: {top} count as ranked first"

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return ldrld(
            reading.student.logits,
            reading.teacher.logits,
            alpha=self.alpha,
            beta=self.beta,
            top=self._top(reading.student.logits.shape[-1]),
            temperature=self.temperature,
        )

    def _top(self, classes: int) -> int:
        return self.top if self.top < classes else max(2, classes // 2)


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) among the classes of the last dimension."""
    s, t = F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1)
    return (t.exp() * (t - s)).sum(-1)


METHOD = one_stage(
    "ldrld",
    LDRLD,
    stage="labels and local relations",
    weight=1.0,
    family="logits",
    year=2025,
    paper="Xu et al., Local dense logit relations for enhanced knowledge distillation",
)
