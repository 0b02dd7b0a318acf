"""Soft targets and labels: ``label_weight * CE + weight * T^2 KL`` (knowledge distillation, Hinton et al., 2015).

The defaults are those of CRD's benchmark (T = 4, 0.9 and 0.1); Hinton et al. give the labels "considerably lower
weight". With ``label_weight = 0`` the labels are not read at all.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy.bounds import Temperature
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import Form, LogitTerm, check_same, divergence, softened
from understudy.objective.term import Reading


def kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: float = 4.0,
    squared: bool = True,
    student_temperature: float | None = None,
    form: Form = "kl",
) -> Tensor:
    """Soft targets: how far the student's softened answer is from the teacher's, one value per sample.

    ``T^2 KL(softmax(t/T) || softmax(s/T))``

    Args:
        student_logits, teacher_logits: (N, C).
        temperature: T, which softens both answers (Hinton et al. use 1 to 20, CRD's benchmark 4, FitNets 3).
        squared: multiply by T^2, which keeps the gradient's size when T changes. FitNets does not.
        student_temperature: another temperature for the student. FitNets' released code in effect uses 1.
        form: ``"kl"``, or ``"ce"`` for the cross-entropy ``-sum_c softmax(t/T)_c log softmax(s/T)_c``.

    Weight in the objective: ``(1 - a) CE + a KD`` of the batch's means with a of 0.9 in CRD's benchmark; Hinton et al.
    give the labels "a considerably lower weight"; FitNets writes ``CE + lambda KD`` with lambda from 4 down to 1.
    Reference: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015.
    Differences: papers write KL or cross-entropy; they differ by the teacher's entropy, a constant without gradient.

    >>> kd(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]]), temperature=1.0)
    tensor([1.5232])
    """
    check_same(student_logits, teacher_logits)
    own = temperature if student_temperature is None else student_temperature
    student = softened(student_logits, own)
    teacher = softened(teacher_logits, temperature)
    value = divergence(student, teacher, form=form)
    return value * temperature**2 if squared else value


@dataclass(frozen=True)
class KD(LogitTerm):
    """Kullback-Leibler divergence from the teacher's softened answer to the student's; see ``losses.kd``.

    >>> from understudy.objective.labels import CE
    >>> print(0.1 * CE() + 0.9 * KD(temperature=2.0))
    0.1 * CE() + 0.9 * KD(temperature=2.0)
    """

    temperature: Temperature = 4.0
    squared: bool = True
    student_temperature: Temperature | None = None

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return kd(
            reading.student.logits,
            reading.teacher.logits,
            temperature=self.temperature,
            squared=self.squared,
            student_temperature=self.student_temperature,
        )


METHOD = one_stage(
    "kd",
    KD,
    stage="soft targets",
    weight=0.9,
    label_weight=0.1,
    family="logits",
    year=2015,
    paper="Hinton et al., Distilling the knowledge in a neural network",
)
