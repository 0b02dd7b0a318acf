"""The teacher's logits alone, by least squares: ``1/2 ||s - t||^2``.

Reference: Ba, Caruana, "Do deep nets really need to be deep?", NIPS 2014.
Weight: 1 in the paper, whose only loss this is: labels are not read. The sum over the classes needs a small learning
rate: SGD at 0.1 can diverge. The mean, with weight 1, is that of a later benchmark (KD-Zoo).
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from understudy.methods.method import one_stage
from understudy.methods.shared.logits import LogitTerm, Reduce, check_same, reduced
from understudy.objective.term import Reading
from understudy.precision import wide


def logit_regression(student_logits: Tensor, teacher_logits: Tensor, *, half: bool = True) -> Tensor:
    """Squared distance of the logits, before any softmax, one value per sample.

    ``1/2 || s - t ||^2``, summed over the classes

    Args:
        student_logits, teacher_logits: (N, C); the paper's teacher is an ensemble's average of logits.
        half: the factor 1/2.

    Weight in the objective: 1, mean over the batch, without a term of labels.
    Reference: Ba, Caruana, "Do deep nets really need to be deep?", NIPS 2014.
    Differences: Urban et al. (2017) restate it without the 1/2. Benchmarks often average over the classes instead of
    summing (``F.mse_loss``), C times less.

    >>> import torch
    >>> logit_regression(torch.zeros(2, 4), torch.ones(2, 4))
    tensor([2., 2.])
    """
    check_same(student_logits, teacher_logits)
    value = (wide(student_logits) - wide(teacher_logits)).square().sum(-1)
    return 0.5 * value if half else value


@dataclass(frozen=True)
class LogitRegression(LogitTerm):
    """Squared distance of the logits, before any softmax: ``1/2 ||s - t||^2``; see ``losses.logit_regression``.

    Args:
        reduce: ``"sum"`` is the paper's ``1/2 ||.||^2``; ``"mean"`` the mean squared difference of later benchmarks,
            which is the same divided by half the number of classes.

    >>> print(LogitRegression(reduce="sum"))
    LogitRegression(reduce='sum')
    """

    reduce: Reduce = "mean"

    @property
    def teacher_temperature(self) -> float:
        return math.inf

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        values = logit_regression(reading.student.logits, reading.teacher.logits)
        return reduced(values, reading.student.logits, self.reduce)


METHOD = one_stage(
    "logit-regression",
    LogitRegression,
    stage="logits",
    labels=False,
    weight=1.0,
    family="logits",
    year=2014,
    paper="Ba & Caruana, Do deep nets really need to be deep?",
)
