"""Several teachers, each counting by how well it knows the label of a sample: ``CE + weight sum_k w_k T^2 KL_k / K``.

Reference: Zhang, Chen, Wang, "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022.
Weight, temperature: 1 and 4, the defaults of the authors' code.
Differences: the published method has a third part, the distance of the student's last maps to those of each teacher
(weight 50), weighted by how well the teacher's classifier answers from the student's maps. It is not here.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from understudy.bounds import Temperature
from understudy.methods.kd import kd
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import LogitTerm, check_stack
from understudy.objective.labels import cross_entropy
from understudy.objective.term import Reading


def confident_teachers(
    student_logits: Tensor, teachers_logits: Tensor, labels: Tensor, *, temperature: float = 4.0
) -> Tensor:
    """Several teachers, each counting by its own cross-entropy with the label, one value per sample.

    ``1/K sum_k w_k T^2 KL(softmax(t_k/T) || softmax(s/T))``, ``w_k = (1 - softmax_k(CE(t_k, y))) / (K - 1)``; w is 1
    for a single teacher

    Args:
        student_logits: (N, C).
        teachers_logits: of K teachers, (K, N, C).
        labels: class numbers (N), or distributions (N, C).
        temperature: T of the soft targets; the cross-entropies are taken at 1.

    Weight in the objective: 1 beside the labels' cross-entropy.
    Reference: Zhang, Chen, Wang, "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022.
    Differences: none known to this part of the authors' code, which divides by K as well.

    >>> confident_teachers(torch.zeros(1, 2), torch.tensor([[[0.0, 0.0]], [[0.0, 0.0]]]), torch.tensor([0]))
    tensor([0.])
    """
    check_stack(student_logits, teachers_logits, what="the teachers' logits")
    count = len(teachers_logits)
    unsure = torch.stack([cross_entropy(teacher, labels) for teacher in teachers_logits])
    share = (1 - unsure.softmax(0)) / (count - 1) if count > 1 else torch.ones_like(unsure)
    parts = [kd(student_logits, teacher, temperature=temperature) for teacher in teachers_logits]
    return (share * torch.stack(parts)).sum(0) / count


@dataclass(frozen=True)
class ConfidentTeachers(LogitTerm):
    """Several teachers, each counting by how well it knows the label; with one, ``KD``; ``losses.confident_teachers``.

    >>> print(ConfidentTeachers(temperature=2.0))
    ConfidentTeachers(temperature=2.0)
    """

    reads_labels: ClassVar[bool] = True

    temperature: Temperature = 4.0

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return confident_teachers(
            reading.student.logits,
            torch.stack([teacher.logits for teacher in reading.teachers]),
            reading.labels,
            temperature=self.temperature,
        )


METHOD = one_stage(
    "ca-mkd",
    ConfidentTeachers,
    stage="labels and confident teachers",
    weight=1.0,
    label_weight=1.0,
    family="several networks",
    year=2022,
    paper="Zhang et al., Confidence-aware multi-teacher knowledge distillation",
    guides="all",
)
