"""Soft targets of standardised logits, so that the student's may have a scale of their own.

``label_weight CE + weight T^2 KL(softmax(Z(t)/T) || softmax(Z(s)/T))``, ``Z(z) = (z - mean z) / std z``.

Reference: Sun et al., "Logit standardization in knowledge distillation", CVPR 2024.
Weights: 9 and 0.1, with temperature 2, in the authors' CIFAR-100 recipe.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.bounds import Temperature
from understudy.methods.kd import kd
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import Form, LogitTerm
from understudy.objective.term import Reading
from understudy.precision import wide


def standardised(logits: Tensor) -> Tensor:
    """Logits with mean 0 and deviation 1 over the classes of each sample: ``(z - mean z) / std z``.

    The deviation divides by C - 1, as the authors' code does; logits that are all alike become 0. Classes that are
    masked with -inf stay so and are not among the C.

    >>> import torch
    >>> standardised(torch.tensor([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
    tensor([[-1.,  0.,  1.],
            [ 0.,  0.,  0.]])
    """
    logits = wide(logits)
    masked = logits == -torch.inf
    count = (~masked).sum(-1, keepdim=True)
    mean = logits.masked_fill(masked, 0.0).sum(-1, keepdim=True) / count
    centred = (logits - mean).masked_fill(masked, 0.0)
    variance = centred.square().sum(-1, keepdim=True) / (count - 1).clamp_min(1)
    return (centred / (variance + 1e-14).sqrt()).masked_fill(masked, -torch.inf)


def standardised_kd(
    student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 2.0, squared: bool = True, form: Form = "kl"
) -> Tensor:
    """Logit standardisation: KD on z-scores, so that the student need not match the logits' scale; per sample.

    ``T^2 KL(softmax(Z(t)/T) || softmax(Z(s)/T))``, ``Z(z) = (z - mean z) / std z`` over the classes

    Args:
        student_logits, teacher_logits: (N, C).
        temperature: T, the base temperature, 2.
        squared: multiply by T^2.
        form: ``"kl"`` or ``"ce"``, as in ``kd``.

    Weight in the objective: ``0.1 CE + 9 KD`` in the authors' CIFAR-100 configuration, means over the batch.
    Reference: Sun et al., "Logit standardization in knowledge distillation", CVPR 2024.
    Differences: the authors' code divides by ``1e-7 + std``; here 1e-7 is added under the root, which keeps the
    gradient finite where all logits are alike.

    >>> import torch
    >>> standardised_kd(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[0.0, 10.0, 20.0]]))
    tensor([0.])
    """
    student, teacher = standardised(student_logits), standardised(teacher_logits)
    return kd(student, teacher, temperature=temperature, squared=squared, form=form)


@dataclass(frozen=True)
class StandardisedKD(LogitTerm):
    """Soft targets of logits with mean 0 and deviation 1, so that scale is free; see ``losses.standardised_kd``.

    Args:
        temperature: the base temperature, 2.
        squared: multiply by its square.

    >>> print(9.0 * StandardisedKD(squared=False))
    9 * StandardisedKD(squared=False)
    """

    temperature: Temperature = 2.0
    squared: bool = True

    @property
    def teacher_temperature(self) -> float:
        return math.inf

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return standardised_kd(
            reading.student.logits, reading.teacher.logits, temperature=self.temperature, squared=self.squared
        )


METHOD = one_stage(
    "standardised-kd",
    StandardisedKD,
    stage="labels and standardised soft targets",
    weight=9.0,
    label_weight=0.1,
    family="logits",
    year=2024,
    paper="Sun et al., Logit standardization in knowledge distillation",
)
