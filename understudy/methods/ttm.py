"""Soft targets, a temperature for the teacher alone: ``CE + weight U KL(t^gamma || s)`` (WTTM, Zheng and Yang, 2024).

The teacher's probabilities are raised to the power gamma, which is 1 over the temperature, and normalised; the
student's are left as they are. ``wttm`` weights each sample by ``U = sum_c t_c^gamma``, which is large where the
teacher is unsure; ``ttm`` has U = 1.

Reference: Zheng, Yang, "Knowledge distillation based on transformed teacher matching", ICLR 2024.
Weight, gamma: 1 and 1/4 are choices of this library. The paper lists both for each pair of networks; the examples of
the authors' README for VGG-8 from VGG-13 on CIFAR-100 have 45 and 0.1 for ``ttm``, and 4 and 0.2 for ``wttm`` beside
CRD.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Positive
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import LogitTerm, check_same, divergence
from understudy.objective.term import Reading
from understudy.precision import wide


def transformed_teacher(
    student_logits: Tensor, teacher_logits: Tensor, *, gamma: float = 0.25, weighted: bool = True
) -> Tensor:
    """The student's plain answer against a power of the teacher's, one value per sample.

    ``U KL(softmax(gamma t) || softmax(s))``, ``U = sum_c softmax(t)_c^gamma`` or 1

    Args:
        student_logits, teacher_logits: (N, C).
        gamma: the power, 1/T.
        weighted: multiply by U, as WTTM; TTM does not.

    Weight in the objective: ``CE + beta TTM`` of the batch's means; the paper lists beta for each pair of networks.
    Reference: Zheng, Yang, "Knowledge distillation based on transformed teacher matching", ICLR 2024.
    Differences: none known to the authors' code. The gradient reaches the student alone, also through U.

    >>> import torch
    >>> transformed_teacher(torch.zeros(1, 2), torch.tensor([[4.0, 0.0]]), gamma=1.0)
    tensor([0.6031])
    """
    check_same(student_logits, teacher_logits)
    student, teacher = wide(student_logits), wide(teacher_logits)
    value = divergence(F.log_softmax(student, dim=-1), F.log_softmax(gamma * teacher, dim=-1), form="kl")
    if not weighted:
        return value
    return value * (gamma * F.log_softmax(teacher, dim=-1)).exp().sum(-1)


@dataclass(frozen=True)
class TransformedTeacher(LogitTerm):
    """The student's plain answer against a power of the teacher's; see ``losses.transformed_teacher``.

    Args:
        gamma: the power, which is 1 over a temperature.
        weighted: weight each sample by how unsure the teacher is of it.

    >>> print(TransformedTeacher(weighted=False))
    TransformedTeacher(weighted=False)
    """

    gamma: Positive = 0.25
    weighted: bool = True

    @property
    def teacher_temperature(self) -> float:
        return 1 / self.gamma

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return transformed_teacher(
            reading.student.logits, reading.teacher.logits, gamma=self.gamma, weighted=self.weighted
        )


_PAPER = "Zheng and Yang, Knowledge distillation based on transformed teacher matching"
WTTM = one_stage(
    "wttm", TransformedTeacher, stage="labels and powers", weight=1.0, family="logits", year=2024, paper=_PAPER
)
TTM = one_stage(
    "ttm",
    TransformedTeacher,
    stage="labels and powers",
    weight=1.0,
    family="logits",
    year=2024,
    paper=f"{_PAPER}, without weights",
    preset={"weighted": False},
)
