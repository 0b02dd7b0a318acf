"""Soft targets with the right class and the others weighted apart (DKD, Zhao et al., CVPR 2022).

``CE + weight T^2 (alpha KL of the right class against all others + beta KL among the others)``. The weight rises from 0
in a straight line over ``warmup_epochs``: the first 20 of 240 epochs in the authors' code, by default the same share of
the config. 0: no warm-up.
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
from understudy.methods.shared.logits import LogitTerm, check_same, divergence, kl_among, split
from understudy.methods.shared.stages import warmed_up
from understudy.objective.labels import CE
from understudy.objective.term import Reading
from understudy.precision import wide


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """Decoupled KD: the divergence on the right class and on the others, weighted apart; one value per sample.

    ``T^2 (alpha KL(b_t || b_s) + beta KL(q_t || q_s))``, b the probabilities of the right class and of all others
    together, q the softened answer among the others alone

    Args:
        student_logits, teacher_logits: (N, C).
        labels: the right classes, (N); distributions (N, C), as mixup makes them, count by their largest class.
        alpha: weight of the right class against the others (TCKD), 1.
        beta: weight of the others among themselves (NCKD): in the authors' configurations 8 by default, 6 or 2 for
            some CIFAR-100 pairs, and on ImageNet 0.5 (ResNet-34 to 18) or 2 (ResNet-50 to MobileNet).
        temperature: T: 4 for CIFAR-100, 1 on ImageNet.

    Weight in the objective: ``CE + DKD``, means over the batch; the authors' code warms it up linearly over the first
    20 epochs on CIFAR-100.
    Reference: Zhao et al., "Decoupled knowledge distillation", CVPR 2022.
    Differences: the authors' code takes the right class out by subtracting 1000 from its logit, here it is left out.
    Of two classes the second part is 0. With alpha 1 and beta the teacher's probability of the others, it is plain KD.

    >>> dkd(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([2]))
    tensor([0.])
    """
    check_same(student_logits, teacher_logits)
    right, others = split(labels, student_logits)
    student = wide(student_logits) / temperature
    teacher = wide(teacher_logits) / temperature
    target = divergence(binary(student, right, others), binary(teacher, right, others), form="kl")
    rest = kl_among(student.gather(-1, others), teacher.gather(-1, others))
    return (alpha * target + beta * rest) * temperature**2


@dataclass(frozen=True)
class DKD(LogitTerm):
    """Soft targets with the right class and the others weighted apart; see ``losses.dkd``.

    Args:
        alpha: weight of the right class against all others.
        beta: weight of the others among themselves: 8 for most CIFAR-100 pairs, 0.5 on ImageNet.
        temperature: 4 for CIFAR-100, 1 on ImageNet.

    >>> print(DKD(beta=2.0))
    DKD(beta=2.0)
    """

    reads_labels: ClassVar[bool] = True

    alpha: NonNegative = 1.0
    beta: NonNegative = 8.0
    temperature: Temperature = 4.0

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return dkd(
            reading.student.logits,
            reading.teacher.logits,
            reading.labels,
            alpha=self.alpha,
            beta=self.beta,
            temperature=self.temperature,
        )


def binary(logits: Tensor, right: Tensor, others: Tensor) -> Tensor:
    """Log-probabilities of the right class and of all others together, (N, 2)."""
    together = logits.gather(-1, others).logsumexp(-1, keepdim=True)
    return F.log_softmax(torch.cat([logits.gather(-1, right), together], dim=-1), dim=-1)


def _stages(
    config: TrainConfig, term: DKD, *, weight: NonNegative = 1.0, warmup_epochs: Mark | None = None
) -> list[Stage]:
    return [Stage("labels and decoupled soft targets", CE() + warmed_up(weight * term, config, warmup_epochs), config)]


METHOD = Method(
    "dkd", _stages, term=DKD, family="logits", year=2022, paper="Zhao et al., Decoupled knowledge distillation"
)
