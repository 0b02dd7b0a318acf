"""A teacher made by hand, always right, no network: ``0.9 CE + 0.1 KL(u || s)``.

Plain born-again networks and Tf-KD's self-training need no loss of their own: the teacher is an earlier copy of the
student, the loss is ``kd`` (temperature 1 for born-again; Tf-KD's code sets it by network and averages over the classes
too, times a multiplier). Nor does label smoothing (``cross_entropy(label_smoothing=...)``), which is
``virtual_teacher_kd`` with a uniform teacher, weighted by the smoothing.

Reference: Yuan et al., "Revisiting knowledge distillation via label smoothing regularization", CVPR 2020.
Weights: 0.1 and 0.9 in the authors' code; its multiplier of 100 on a mean over 100 classes is the sum here.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import ShareBetween, Temperature
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import check_same, one_hot, require_classes
from understudy.objective.term import Reading, Reads, Term
from understudy.precision import wide


def virtual_teacher(
    labels: Tensor, classes: int, *, correct: float = 0.99, dtype: torch.dtype = torch.float32
) -> Tensor:
    """A teacher made by hand, always right: ``u_y = a, u_c = (1 - a) / (C - 1)``, (N, C) from labels (N) or (N, C).

    >>> virtual_teacher(torch.tensor([0, 2]), 3, correct=0.8)
    tensor([[0.8000, 0.1000, 0.1000],
            [0.1000, 0.1000, 0.8000]])
    """
    target = labels.to(dtype) if labels.is_floating_point() else one_hot(labels, classes, dtype)
    if target.ndim != 2 or target.shape[-1] != classes:
        raise UserError(f"labels {tuple(labels.shape)} are no class numbers, nor distributions over {classes} classes")
    rest = (1 - correct) / (classes - 1)
    return rest + (correct - rest) * target


def virtual_teacher_kd(
    student_logits: Tensor,
    labels: Tensor,
    *,
    correct: float = 0.99,
    temperature: float | None = 20.0,
    student_temperature: float = 1.0,
) -> Tensor:
    """Teacher-free KD (Tf-KD_reg): the divergence from a teacher made by hand; one value per sample.

    ``KL(softmax(u/T) || softmax(s/T_s))``, ``u_y = a``, ``u_c = (1 - a) / (C - 1)`` for all other classes; without
    temperature ``KL(u || softmax(s/T_s))``, which for a of 1 / C is label smoothing's part

    Args:
        student_logits: (N, C).
        labels: class numbers (N) or distributions (N, C).
        correct: a, 0.99 in the authors' code.
        temperature: T, 20, which softens the probabilities u themselves, as the authors' code does; None: u as it is.
        student_temperature: T_s, 1 in the authors' code.

    Weight in the objective: ``(1 - 0.1) CE + 0.1 * 100 * mean over batch and classes`` in the authors' ResNet-18
    recipe for CIFAR-100 (the multiplier changes by network): there, with 100 classes, 0.1 times this one's mean.
    Reference: Yuan et al., "Revisiting knowledge distillation via label smoothing regularization", CVPR 2020.
    Differences: softening probabilities instead of logits makes the target nearly uniform (exp(a / T) at most, to 1):
    the code is followed. ``student_temperature`` softens the student's answer as well, which the code does not do.

    >>> virtual_teacher_kd(torch.zeros(1, 4), torch.tensor([0]), correct=0.25)
    tensor([0.])
    """
    require_classes(student_logits)
    student = F.log_softmax(wide(student_logits) / student_temperature, dim=-1)
    target = virtual_teacher(labels, student.shape[-1], correct=correct, dtype=student.dtype)
    check_same(student, target, what="the logits and the labels' distributions")
    if temperature is not None:
        target = (target / temperature).softmax(-1)
    return (torch.xlogy(target, target) - target * student).sum(-1)


@dataclass(frozen=True)
class VirtualTeacher(Term):
    """The divergence from a teacher made by hand, which no network is needed for; see ``losses.virtual_teacher_kd``.

    Args:
        correct: its probability of the right class, 0.99 in the authors' code; the rest goes to all others alike.
        temperature: softens those probabilities themselves, as the authors' code does, 20; None: as they are.
        student_temperature: 1 in the authors' code.

    Mixed labels mix their teachers.

    >>> print(0.1 * VirtualTeacher(correct=0.9))
    0.1 * VirtualTeacher(correct=0.9)
    """

    per: ClassVar[Literal["row", "sample"]] = "row"

    correct: ShareBetween = 0.99
    temperature: Temperature | None = 20.0
    student_temperature: Temperature = 1.0

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, labels=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return virtual_teacher_kd(
            reading.student.logits,
            reading.labels,
            correct=self.correct,
            temperature=self.temperature,
            student_temperature=self.student_temperature,
        )


METHOD = one_stage(
    "tf-kd-reg",
    VirtualTeacher,
    stage="labels and virtual teacher",
    weight=0.1,
    label_weight=0.9,
    family="self",
    year=2020,
    paper="Yuan et al., Revisiting knowledge distillation via label smoothing regularization",
    reads_teacher=False,
)
