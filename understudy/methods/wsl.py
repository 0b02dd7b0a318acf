"""Soft targets, weighted by how much worse the student knows the label than the teacher: ``CE + 2.5 w T^2 H(t, s)``.

``w = 1 - exp(-CE(s) / CE(t))``: a sample that the student has learned while the teacher has not is left alone.

Reference: Zhou et al., "Rethinking soft labels for knowledge distillation: a bias-variance tradeoff perspective", ICLR
2021.
Weight, temperature: 2.5 and 2, as in the authors' code for ImageNet.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from understudy.bounds import Temperature
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import LogitTerm, check_same, divergence, softened
from understudy.objective.labels import cross_entropy
from understudy.objective.term import Reading
from understudy.precision import wide


def weighted_soft_labels(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 2.0
) -> Tensor:
    """Weighted soft labels: soft targets count where the label is still to be learned, one value per sample.

    ``(1 - exp(-CE(s) / CE(t))) T^2 H(softmax(t/T), softmax(s/T))``, the weight without gradient

    Args:
        student_logits, teacher_logits: (N, C).
        labels: class numbers (N), or distributions (N, C).
        temperature: T, of the soft targets; the weight is taken at 1.

    Weight in the objective: ``CE + 2.5 WSL`` of the batch's means.
    Reference: Zhou et al., "Rethinking soft labels for knowledge distillation: a bias-variance tradeoff perspective",
    ICLR 2021.
    Differences: none known to the authors' code. The cross-entropy H is not 0 where both answer alike.

    >>> import torch
    >>> weighted_soft_labels(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]), temperature=1.0)
    tensor([0.4382])
    """
    check_same(student_logits, teacher_logits)
    student, teacher = wide(student_logits), wide(teacher_logits)
    soft = divergence(softened(student, temperature), softened(teacher, temperature), form="ce")
    ratio = cross_entropy(student.detach(), labels) / (cross_entropy(teacher.detach(), labels) + 1e-7)
    return -(-ratio).expm1() * temperature**2 * soft


@dataclass(frozen=True)
class WeightedSoftLabels(LogitTerm):
    """Soft targets, weighted by what of the label is still to be learned; see ``losses.weighted_soft_labels``.

    >>> print(WeightedSoftLabels(temperature=4.0))
    WeightedSoftLabels(temperature=4.0)
    """

    reads_labels: ClassVar[bool] = True

    temperature: Temperature = 2.0

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return weighted_soft_labels(
            reading.student.logits, reading.teacher.logits, reading.labels, temperature=self.temperature
        )


METHOD = one_stage(
    "wsl",
    WeightedSoftLabels,
    stage="labels and weighted soft targets",
    weight=2.5,
    family="logits",
    year=2021,
    paper="Zhou et al., Rethinking soft labels for knowledge distillation: a bias-variance tradeoff perspective",
)
