"""Soft targets, and the angles between the logits of a batch's samples: ``KL + weight DIR`` (SKD, Jeong et al., 2026).

Reference: Jeong, Lee, Choi, "Streamlined knowledge distillation", CVPR 2026.
Weights, temperature, ridge: 1 for both parts and no labels, 4 and 0.1, as in torchdistill 1.1.5, whose formulas these
are; notes on the paper have the same sum. The soft targets have no T^2 there, ``squared = true`` brings it back.
Differences: the authors' code (HyunJunSik/StreamLined) is another mixture. It has 0.1 of the labels (0.5 from
ResNet-32x4 to 8x4), the rest of each part, which masks halve since they scale means, soft targets with T^2, and cosines
divided by the number of classes C, which leaves little of the angles. ``label_weight = 0.1``, ``soft_weight = 0.45``,
``weight = 0.45``, ``squared = true`` and ``ridge = 0.1 C^2``, 1000 for 100 classes, are the same.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.bounds import NonNegative, Positive, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.methods.kd import KD
from understudy.methods.method import Method
from understudy.methods.shared.logits import LogitTerm, check_same
from understudy.methods.shared.relations import inner_products, unit
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads
from understudy.precision import wide


def direction(student_logits: Tensor, teacher_logits: Tensor, *, ridge: float = 0.1) -> Tensor:
    """The angles between the logits of all samples of a batch, one value per sample.

    ``sqrt(d_n^T (S + ridge I)^-1 d_n)``, d_n the differences of sample n's cosines with all samples, student less
    teacher, S the covariance of these differences over the samples

    Args:
        student_logits, teacher_logits: (N, C), of a batch of more than one.
        ridge: added to the diagonal of the covariance.

    Weight in the objective: 1, beside ``KL(softmax(t/4) || softmax(s/4))``.
    Reference: Jeong, Lee, Choi, "Streamlined knowledge distillation", CVPR 2026, as in torchdistill 1.1.5.
    Differences: the gradient of the root is that of ``sqrt(x + 1e-12)``, finite where student and teacher agree. The
    authors' code divides the cosines by C, as a ridge C^2 times as large does.

    >>> logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> direction(logits, logits)
    tensor([1.0000e-06, 1.0000e-06])
    """
    check_same(student_logits, teacher_logits)
    with torch.autocast(student_logits.device.type, enabled=False):
        difference = inner_products(unit(wide(student_logits))) - inner_products(unit(wide(teacher_logits)))
        count = len(difference)
        spread = difference - difference.mean(0, keepdim=True)
        covariance = spread.mT @ spread / max(1, count - 1)
        ridged = covariance + ridge * torch.eye(count, dtype=covariance.dtype, device=covariance.device)
        factor, _ = torch.linalg.cholesky_ex(ridged)  # positive definite by the ridge; no synchronisation
        whitened = torch.linalg.solve_triangular(factor, difference.mT, upper=False)
    lengths: Tensor = (whitened.square().sum(0) + 1e-12).sqrt()
    return lengths


@dataclass(frozen=True)
class Direction(LogitTerm):
    """The angles between the logits of a batch's samples; see ``losses.direction``.

    Args:
        ridge: added to the diagonal of the covariance.

    >>> print(Direction(ridge=1.0))
    Direction(ridge=1.0)
    """

    per = "sample"

    ridge: Positive = 0.1

    @property
    def teacher_temperature(self) -> float:
        return math.inf

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return direction(reading.student.logits, reading.teacher.logits, ridge=self.ridge)


def _stages(
    config: TrainConfig,
    *,
    temperature: Temperature = 4.0,
    squared: bool = False,
    ridge: Positive = 0.1,
    soft_weight: NonNegative = 1.0,
    weight: NonNegative = 1.0,
    label_weight: NonNegative = 0.0,
) -> list[Stage]:
    objective = soft_weight * KD(temperature, squared=squared) + weight * Direction(ridge)
    return [Stage("soft targets and angles", label_weight * CE() + objective if label_weight else objective, config)]


METHOD = Method("skd", _stages, family="relations", year=2026, paper="Jeong et al., Streamlined knowledge distillation")
