"""Soft targets, likeness of samples and likeness of classes, at several temperatures.

``label_weight CE + weight sum_T (T^2 KL + ||P_t P_t^T - P_s P_s^T||^2 / N + ||P_t^T P_t - P_s^T P_s||^2 / C)``.
The authors' code also has labels and soft targets on a second, strongly augmented view; here there is one view.

Reference: Jin, Wang, Lin, "Multi-level logit distillation", CVPR 2023.
Weights: the authors' code inherits 0.9 for each level and 0.1 for the labels, and trains at half of the
usual learning rate, 0.025, since its sum over five temperatures is five times as steep as soft targets at one. Here the
weight is divided by five instead, and the learning rate stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import MinLen
from torch import Tensor, nn

from understudy.bounds import NonNegative, Temperature
from understudy.errors import UserError
from understudy.methods.kd import kd
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import LogitTerm, check_same, require_classes
from understudy.objective.term import Reading, Reads
from understudy.precision import wide

AUTHORS_SHARE = 64 / 100  # samples of each class in their batches, on CIFAR-100


def mlkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
    instance: float = 1.0,
    batch: float = 1.0,
    classes: float = 1.0,
) -> Tensor:
    """Multi-level logit distillation: instance, batch and class aligned at several temperatures; per sample.

    ``sum_T instance T^2 KL(p_t || p_s) + batch B_T + classes C_T``, B and C as in ``batch_correlation`` and
    ``class_correlation``; the mean over the batch is the paper's loss

    Args:
        student_logits, teacher_logits: (N, C).
        temperatures: 4 and 2, 3, 5, 6 in the authors' code ("prediction augmentation").
        instance, batch, classes: the weights of the three levels. The authors' code has one weight for all, and comes
            to 3 : 1 : 1, see below.

    Weight in the objective: 1 beside the cross-entropy in the paper's sum; the code's configuration inherits 0.1 for
    the labels and 0.9 for each level. Batch and class level grow with the batch: N of 64 there.
    Reference: Jin, Wang, Lin, "Multi-level logit distillation", CVPR 2023.
    Differences: the authors' code has two views. Labels are learned on both. On the strongly augmented one come soft
    targets, at 4, 3 and 5 (at 2 and 6 the weak view's are added once more); batch and class level are worked out there,
    but not added. For the weak view it means to keep the half of samples (and of classes) that the teacher is least
    sure of, but masks a mean: that only scales the term by the mask's share, about 1/2. Here nothing is masked;
    masking by sample is the caller's product.

    >>> logits = torch.eye(3)
    >>> mlkd(logits, logits, temperatures=(2.0, 4.0))
    tensor([0., 0., 0.])
    """
    if not temperatures:
        raise UserError("mlkd takes one temperature at least")
    total = torch.zeros((), dtype=wide(student_logits).dtype, device=student_logits.device)
    for t in temperatures:
        total = total + instance * kd(student_logits, teacher_logits, temperature=t)
        total = total + batch * batch_correlation(student_logits, teacher_logits, temperature=t)
        total = total + classes * class_correlation(student_logits, teacher_logits, temperature=t)
    return total


def batch_correlation(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """MLKD's level of the batch: which samples get alike answers; one value per sample.

    ``sum_m (p_t,n . p_t,m - p_s,n . p_s,m)^2`` for sample n, p the softened probabilities; its mean over the batch is
    the paper's ``|| P_t P_t^T - P_s P_s^T ||^2 / N``

    Args:
        student_logits, teacher_logits: (N, C).
        temperature: T of both.

    Reference: Jin, Wang, Lin, "Multi-level logit distillation", CVPR 2023; weights and differences: see ``mlkd``.

    >>> batch_correlation(torch.zeros(2, 2), torch.zeros(2, 2))
    tensor([0., 0.])
    """
    student, teacher = _softened(student_logits, teacher_logits, temperature)
    return (_products(teacher) - _products(student)).square().sum(1)


def class_correlation(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0) -> Tensor:
    """MLKD's level of the classes: which classes are likely together; the same value for every sample of the batch.

    ``|| P_t^T P_t - P_s^T P_s ||^2 / C``, P the softened probabilities of the batch; a sum over its samples is squared,
    so it has no shares: the value of every sample is the whole, and the mean over the batch is the paper's loss

    Args:
        student_logits, teacher_logits: (N, C).
        temperature: T of both.

    Reference: Jin, Wang, Lin, "Multi-level logit distillation", CVPR 2023; weights and differences: see ``mlkd``.

    >>> class_correlation(torch.zeros(2, 2), torch.zeros(2, 2))
    tensor([0., 0.])
    """
    student, teacher = _softened(student_logits, teacher_logits, temperature)
    whole = (_products(teacher.mT) - _products(student.mT)).square().sum() / student.shape[1]
    return whole.expand(len(student))


@dataclass(frozen=True)
class MLKD(LogitTerm):
    """Single answers, likeness of samples and likeness of classes at several temperatures; see ``losses.mlkd``.

    Args:
        temperatures: those of the authors' code.
        instance, batch, classes: weights of the three levels. Left out, the second and the third are such that all
            three weigh as with the authors' 64 samples of 100 classes: what is summed grows with ``r = N / C``, the
            samples of a class in a batch, the second level as r and the third as its square.

    Differences: the authors' weights are 1 each, whatever N and C: with 10 classes the third level is a hundred times
    what it was on CIFAR-100, and drowns the rest. The code also has labels and soft targets on a second, strongly
    augmented view, and halves all that it has of the first, so that soft targets weigh three times what each other
    level does; here there is one view, and the levels weigh alike.

    >>> print(0.18 * MLKD(temperatures=(2.0, 4.0)))
    0.18 * MLKD(temperatures=(2.0, 4.0))
    """

    per = "sample"

    temperatures: Annotated[tuple[Temperature, ...], MinLen(1)] = (2.0, 3.0, 4.0, 5.0, 6.0)
    instance: NonNegative = 1.0
    batch: NonNegative | None = None
    classes: NonNegative | None = None

    @property
    def teacher_temperature(self) -> float:
        return max(self.temperatures)

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        share = AUTHORS_SHARE * reading.student.logits.shape[1] / len(reading)
        return mlkd(
            reading.student.logits,
            reading.teacher.logits,
            temperatures=self.temperatures,
            instance=self.instance,
            batch=share if self.batch is None else self.batch,
            classes=share**2 if self.classes is None else self.classes,
        )


def _softened(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    check_same(student_logits, teacher_logits)
    require_classes(student_logits)
    return (wide(student_logits) / temperature).softmax(-1), (wide(teacher_logits) / temperature).softmax(-1)


def _products(x: Tensor) -> Tensor:
    """Of every row with every row."""
    with torch.autocast(x.device.type, enabled=False):  # which would multiply in half precision
        return x @ x.mT


METHOD = one_stage(
    "mlkd",
    MLKD,
    stage="labels and levels",
    weight=0.18,
    label_weight=0.1,
    family="logits",
    year=2023,
    paper="Jin et al., Multi-level logit distillation, one view",
)
