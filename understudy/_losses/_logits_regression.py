"""Regression of the teacher's logits: plain, of a noisy teacher, by the teacher's confidence, of a booster."""

import math
from typing import Literal

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.logits import check_same, check_stack
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
    summing (``F.mse_loss``), C times less. From memory: the authors may standardise each class's logit over the
    training set first; that is left to the data.
    """
    check_same(student_logits, teacher_logits)
    value = (wide(student_logits) - wide(teacher_logits)).square().sum(-1)
    return 0.5 * value if half else value


def noisy_logits(teacher_logits: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
    """The noisy teacher's logits: each logit of the chosen samples is scaled by a number near 1.

    ``z' = (1 + xi) z`` where the mask is set, ``z`` elsewhere

    Args:
        teacher_logits: (N, C).
        noise: xi, normally distributed with mean 0 and deviation sigma (0.1 to 1; best: 0.9), (N, C).
        mask: which samples are disturbed, (N), true with probability alpha (0.15; 0.5 for CIFAR-10).
    """
    check_same(noise, teacher_logits, what="the noise and the teacher's logits")
    if mask.shape != teacher_logits.shape[:1]:
        raise UserError(f"the mask {tuple(mask.shape)} says yes or no for each of {len(teacher_logits)} samples")
    logits = wide(teacher_logits)
    return torch.where(mask.bool().unsqueeze(-1), logits * (1 + wide(noise)), logits)


def noisy_logit_regression(
    student_logits: Tensor, teacher_logits: Tensor, noise: Tensor, mask: Tensor, *, half: bool = True
) -> Tensor:
    """Logit regression towards a teacher whose logits are disturbed, sample by sample; one value per sample.

    ``1/2 || s - (1 + xi) t ||^2`` for the samples that the mask chooses, ``1/2 || s - t ||^2`` for the others

    Args:
        student_logits, teacher_logits: (N, C).
        noise: xi ~ N(0, sigma^2), (N, C), drawn anew for each batch.
        mask: the disturbed samples, (N), each chosen with probability alpha.
        half: the factor 1/2.

    Weight in the objective: 1, mean over the batch, without a term of labels. Alpha is 0.15 (MNIST, SVHN) or 0.5
    (CIFAR-10), sigma from 0.1 to 1, on CIFAR-10 best at 0.9.
    Reference: Sau, Balasubramanian, "Deep model compression: distilling knowledge from noisy teachers", 2016.
    Differences: none known. Another library (KD_Lib) draws once for the batch and compares log-softmax with softmax.
    """
    return logit_regression(student_logits, noisy_logits(teacher_logits, noise, mask), half=half)


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


def rocket_hint(light_logits: Tensor, booster_logits: Tensor, *, block: bool = True) -> Tensor:
    """Rocket Launching's hint: the light net's logits follow the booster's while both train; one value per sample.

    ``|| l - z ||^2``, summed over the classes

    Args:
        light_logits: of the light net, the one that is kept, (N, C).
        booster_logits: of the large net that shares its lower layers, (N, C).
        block: the gradient block: the hint does not move the booster.

    Weight in the objective: ``CE(booster) + CE(light) + 0.03 hint``, means over the batch.
    Reference: Zhou et al., "Rocket launching: a universal and efficient framework for training well-performing light
    net", AAAI 2018.
    Differences: none known; the logits are those before the softmax, as in the authors' code.
    """
    booster = booster_logits.detach() if block else booster_logits
    return logit_regression(light_logits, booster, half=False)


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
