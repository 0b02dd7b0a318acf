"""Labels, and the teacher's logits as far as dropout leaves them alone.

``label_weight CE + weight 1/2 (s - m)^T (S + ridge)^-1 (s - m)``, m and S the mean and covariance of the teacher's
logits over draws of dropout masks.

Settings:
    samples: draws for each batch; each costs a pass of a teacher that has dropout modules, and little of others.
    covariance: "full", or "diagonal" for independent classes.
    ridge: with 1 a teacher that is quite sure makes this the regression of logits.
    dropout: the rate before the classifier of a teacher that has no dropout modules.
    weight, label_weight: the paper's abstract gives none, and no number of samples or ridge.
    reduce: "sum" is the log-likelihood, "mean" the same divided by half the number of classes, which SGD stands.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import Interval, Positive, ShareBetween
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import Reduce, check_stack, reduced
from understudy.objective.term import Reading, Reads, Term
from understudy.precision import wide


def confident_regression(
    student_logits: Tensor,
    teacher_samples: Tensor,
    *,
    covariance: Literal["full", "diagonal"] = "full",
    ridge: float = 1.0,
    constants: bool = False,
) -> Tensor:
    """Regression that counts least where the teacher is unsure: a Gaussian's negative log-likelihood, per sample.

    ``1/2 (s - m)^T S^-1 (s - m)`` with m and S the mean and the covariance of the teacher's answers under dropout

    Args:
        student_logits: (N, C).
        teacher_samples: the teacher's logits (or hint) for S draws of its dropout masks, (S, N, C).
        covariance: ``"full"``, or ``"diagonal"`` for independent classes.
        ridge: added to the diagonal, as S draws span S - 1 directions only (the inverse precision of Gal, 2015).
        constants: add ``1/2 log det(2 pi S)``, which makes it the likelihood proper and changes no gradient.

    Weight in the objective: 1, mean over the batch, in the place of the soft loss.
    Reference: Shen, Vesdapunt, Boddeti, Kitani, "In teacher we trust: learning compressed models for pedestrian
    detection", 2016.
    Differences: the form is inferred from the abstract and an author's page ("maximize the log-likelihood of
    multivariate Gaussian distribution"), which give no number of draws, no ridge and no weight.
    The covariance divides by S, not S - 1.

    >>> teacher_samples = torch.tensor([[[1.0, 0.0]], [[3.0, 0.0]]])
    >>> confident_regression(torch.tensor([[2.0, 1.0]]), teacher_samples, ridge=1.0)
    tensor([0.5000])
    """
    check_stack(student_logits, teacher_samples, what="the teacher's samples")
    draws, _, classes = teacher_samples.shape
    if ridge <= 0 and covariance == "full" and draws <= classes:
        raise UserError(f"{draws} samples give no full covariance of {classes} classes: use a ridge above 0")
    teacher_samples = wide(teacher_samples)
    mean = teacher_samples.mean(0)
    error, spread = wide(student_logits) - mean, teacher_samples - mean
    if covariance == "full":
        squares, log_det = _against_full(error, spread, ridge)
    elif covariance == "diagonal":
        variance = spread.square().mean(0) + ridge
        squares, log_det = (error.square() / variance).sum(-1), variance.log().sum(-1)
    else:
        raise UserError(f"covariance is 'full' or 'diagonal', not {covariance!r}")
    return 0.5 * (squares + log_det + classes * math.log(2 * math.pi)) if constants else 0.5 * squares


def _against_full(error: Tensor, spread: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """The squared Mahalanobis length of each error (N, C), and the log determinant of each covariance."""
    by_sample = spread.transpose(0, 1)
    with torch.autocast(error.device.type, enabled=False):  # which would multiply in half precision
        covariance = by_sample.mT @ by_sample / len(spread)
        identity = torch.eye(error.shape[-1], dtype=error.dtype, device=error.device)
        factor, failed = torch.linalg.cholesky_ex(covariance + ridge * identity)  # no synchronisation
        factor = factor.masked_fill(failed[..., None, None] > 0, torch.nan)
        whitened = torch.linalg.solve_triangular(factor, error.unsqueeze(-1), upper=False).squeeze(-1)
    return whitened.square().sum(-1), 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


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

    Differences: the paper's abstract gives no number of samples, no ridge and no place of the teacher's dropout.
    The answers are logits; the paper takes the confidence of its hint layer as well.

    >>> print(Confidence(samples=20))
    Confidence(samples=20)
    """

    per: ClassVar[Literal["row", "sample"]] = "row"

    samples: Annotated[int, Interval(ge=2, le=10_000)] = 10
    covariance: Literal["full", "diagonal"] = "full"
    ridge: Positive = 1.0
    reduce: Reduce = "mean"
    dropout: ShareBetween = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.dropout < 1:
            raise UserError(f"{self}: dropout is a rate above 0 and below 1")

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_samples=self.samples, dropout=self.dropout)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student = reading.student.logits
        values = confident_regression(
            student,
            torch.stack(reading.teacher_samples[: self.samples]),
            covariance=self.covariance,
            ridge=self.ridge,
        )
        return reduced(values, student, self.reduce)


METHOD = one_stage(
    "confidence",
    Confidence,
    stage="labels and confidence",
    family="logits",
    year=2016,
    paper="Shen et al., In teacher we trust: learning compressed models for pedestrian detection",
    weight=1.0,
    label_weight=1.0,
)
