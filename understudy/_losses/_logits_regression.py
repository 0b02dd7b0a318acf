"""Regression of the teacher's logits: plain, of a noisy teacher, by the teacher's confidence, of a booster."""

import math
from typing import Literal

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.logits import check_stack
from understudy.precision import wide


def confident_regression(
    student_logits: Tensor,
    samples: Tensor,
    *,
    covariance: Literal["full", "diagonal"] = "full",
    ridge: float = 1e-3,
    constants: bool = False,
) -> Tensor:
    """Regression that counts least where the teacher is unsure: a Gaussian's negative log-likelihood, per sample.

    ``1/2 (s - m)^T S^-1 (s - m)`` with m and S the mean and the covariance of the teacher's answers under dropout

    Args:
        student_logits: (N, C).
        samples: the teacher's logits (or hint) for S draws of its dropout masks, (S, N, C).
        covariance: ``"full"``, or ``"diagonal"`` for independent classes.
        ridge: added to the diagonal, as S draws span S - 1 directions only (the inverse precision of Gal, 2015).
        constants: add ``1/2 log det(2 pi S)``, which makes it the likelihood proper and changes no gradient.

    Weight in the objective: 1, mean over the batch, in the place of the soft loss (from memory: beside the labels').
    Reference: Shen, Vesdapunt, Boddeti, Kitani, "In teacher we trust: learning compressed models for pedestrian
    detection", 2016.
    Differences: the form is inferred from the abstract and an author's page ("maximize the log-likelihood of
    multivariate Gaussian distribution"); the paper's number of draws, its ridge and its weight are not known to us.
    The covariance divides by S, not S - 1.
    """
    check_stack(student_logits, samples, what="the teacher's samples")
    draws, _, classes = samples.shape
    if ridge <= 0 and covariance == "full" and draws <= classes:
        raise UserError(f"{draws} samples give no full covariance of {classes} classes: use a ridge above 0")
    samples = wide(samples)
    mean = samples.mean(0)
    error, spread = wide(student_logits) - mean, samples - mean
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
        factor, failed = torch.linalg.cholesky_ex(covariance + ridge * identity)  # unlike cholesky, it asks no device
        factor = factor.masked_fill(failed[..., None, None] > 0, torch.nan)
        whitened = torch.linalg.solve_triangular(factor, error.unsqueeze(-1), upper=False).squeeze(-1)
    return whitened.square().sum(-1), 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
