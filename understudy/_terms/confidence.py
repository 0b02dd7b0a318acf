"""Regression that believes the teacher where it is sure of itself (Shen et al., 2016)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.methods.shared.logits import Reduce, reduced
from understudy.objective.term import Reading, Reads, Term


@dataclass(frozen=True)
class Confidence(Term):
    """``1/2 (s - m)^T S^-1 (s - m)``, m and S of the teacher's logits under dropout; ``losses.confident_regression``.

    Args:
        samples: so many answers of the teacher with dropout at work.
        dropout: a teacher that has no dropout modules gets some before its classifier, at this rate: the mean of its
            answers is then the plain one, their covariance ``p / (1 - p) sum_i x_i^2 w_i w_i^T``, x what the classifier
            is given and w_i what it makes of its i-th value. Samples of this kind cost next to nothing; of a teacher
            with dropout of its own, each costs a pass.
        covariance: ``"full"``, or ``"diagonal"`` for independent classes.
        ridge: added to the covariance's diagonal. With 1, a teacher that is quite sure makes this logit regression.
        reduce: as in ``LogitRegression``.

    Differences: the paper's number of samples, its ridge and where its teacher's dropout stands are not known to us.
    The answers are logits; the paper takes the confidence of its hint layer as well.
    """

    samples: int = 10
    covariance: Literal["full", "diagonal"] = "full"
    ridge: float = 1.0
    reduce: Reduce = "sum"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UserError(f"{self}: a spread takes 2 samples at least")
        if self.covariance not in ("full", "diagonal"):
            raise UserError(f"{self}: covariance is 'full' or 'diagonal', not {self.covariance!r}")
        if not self.ridge > 0:
            raise UserError(f"{self}: ridge must be above 0, or else the covariance need not have an inverse")
        if not 0 < self.dropout < 1:
            raise UserError(f"{self}: dropout is a rate above 0 and below 1")

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_samples=self.samples, dropout=self.dropout)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student = reading.student.logits
        values = losses.confident_regression(
            student,
            torch.stack(reading.teacher_samples[: self.samples]),
            covariance=self.covariance,
            ridge=self.ridge,
        )
        return reduced(values, student, self.reduce)
