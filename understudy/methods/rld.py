"""Soft targets from which the teacher's mistakes are removed (refined logits, Sun et al., 2024): ``CE + weight RLD``.

Two parts: how sure the student is of the label, against how sure the teacher is of the class that it names; and the
soft targets of the classes that the teacher ranks below the label. With a warm-up of a twelfth of the epochs, as in the
authors' code (20 of 240).

Reference: Sun et al., "Knowledge distillation with refined logits", 2024.
Weights, temperatures: the defaults of the authors' code; its recipes change them for each pair of networks.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Mark, NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.methods.method import Method
from understudy.methods.shared.logits import LogitTerm, check_same, divergence, split, weighed
from understudy.methods.shared.stages import warmed_up
from understudy.objective.labels import CE
from understudy.objective.term import Reading
from understudy.precision import wide


def rld(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    sure_temperature: float = 1.0,
) -> Tensor:
    """Refined logits: soft targets in which the label is never ranked below another class, one value per sample.

    ``alpha T'^2 KL([t_max, rest] || [s_y, rest]) + beta T^2 KL(q(t) || q(s))``, t_max the probability of the class that
    the teacher names, s_y that of the label, and q the softened answer among the classes that the teacher ranks below
    the label

    Args:
        student_logits, teacher_logits: (N, C).
        labels: class numbers (N), or distributions (N, C), of which the largest class counts.
        alpha, beta: weights of the two parts.
        temperature: T, of the second part.
        sure_temperature: T', of the first part.

    Weight in the objective: ``CE + RLD`` of the batch's means, after a linear warm-up.
    Reference: Sun et al., "Knowledge distillation with refined logits", 2024.
    Differences: none known to the authors' code, whose option of standardised logits is left out. Where the teacher
    ranks no class below the label, the second part is 0.

    >>> rld(torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([0]))
    tensor([0.])
    """
    check_same(student_logits, teacher_logits)
    student, teacher = wide(student_logits), wide(teacher_logits)
    right, _ = split(labels, student)
    named = teacher.argmax(-1, keepdim=True)
    sure = divergence(_of(student / sure_temperature, right), _of(teacher / sure_temperature, named), form="kl")
    below = teacher < teacher.gather(-1, right)
    return alpha * sure_temperature**2 * sure + beta * temperature**2 * _below(
        student / temperature, teacher / temperature, below
    )


def _of(logits: Tensor, one: Tensor) -> Tensor:
    """Log-probabilities of one class and of all others together, (N, 2)."""
    others = logits.scatter(-1, one, -torch.inf).logsumexp(-1, keepdim=True)
    return F.log_softmax(torch.cat([logits.gather(-1, one), others], dim=-1), dim=-1)


def _below(student: Tensor, teacher: Tensor, classes: Tensor) -> Tensor:
    """The KL among some of the classes; 0 where there are none."""
    low = torch.finfo(student.dtype).min / 4
    s = F.log_softmax(student.masked_fill(~classes, low), dim=-1)
    t = F.log_softmax(teacher.masked_fill(~classes, low), dim=-1)
    return torch.where(classes, weighed(t.exp(), t - s), 0.0).sum(-1)


@dataclass(frozen=True)
class RLD(LogitTerm):
    """Soft targets from which the teacher's mistakes are removed; see ``losses.rld``.

    Args:
        alpha: weight of how sure the student is of the label.
        beta: weight of the classes below the label.
        temperature: of the classes below the label.
        sure_temperature: of the first part.

    >>> print(RLD(beta=2.0))
    RLD(beta=2.0)
    """

    reads_labels: ClassVar[bool] = True

    alpha: NonNegative = 1.0
    beta: NonNegative = 8.0
    temperature: Temperature = 4.0
    sure_temperature: Temperature = 1.0

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return rld(
            reading.student.logits,
            reading.teacher.logits,
            reading.labels,
            alpha=self.alpha,
            beta=self.beta,
            temperature=self.temperature,
            sure_temperature=self.sure_temperature,
        )


def _stages(
    config: TrainConfig, term: RLD, *, weight: NonNegative = 1.0, warmup_epochs: Mark | None = None
) -> list[Stage]:
    return [Stage("labels and refined soft targets", CE() + warmed_up(weight * term, config, warmup_epochs), config)]


METHOD = Method(
    "rld", _stages, term=RLD, family="logits", year=2024, paper="Sun et al., Knowledge distillation with refined logits"
)
