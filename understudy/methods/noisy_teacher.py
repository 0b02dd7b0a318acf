"""Regression of logits that are disturbed at random: ``1/2 ||s - (1 + xi) t||^2``.

Reference: Sau, Balasubramanian, "Deep model compression: distilling knowledge from noisy teachers", 2016.
Weight: 1 in the paper, whose only loss this is: labels are not read.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.bounds import NonNegative, Share
from understudy.errors import UserError
from understudy.methods.logit_regression import logit_regression
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import LogitTerm, Reduce, check_same, reduced
from understudy.objective.term import Reading, Reads
from understudy.precision import wide


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

    >>> student, teacher, noise = torch.zeros(2, 1), torch.ones(2, 1), torch.full((2, 1), 0.5)
    >>> noisy_logit_regression(student, teacher, noise, torch.tensor([True, False]))
    tensor([1.1250, 0.5000])
    """
    return logit_regression(student_logits, noisy_logits(teacher_logits, noise, mask), half=half)


def noisy_logits(teacher_logits: Tensor, noise: Tensor, mask: Tensor) -> Tensor:
    """The noisy teacher's logits: each logit of the chosen samples is scaled by a number near 1.

    ``z' = (1 + xi) z`` where the mask is set, ``z`` elsewhere

    Args:
        teacher_logits: (N, C).
        noise: xi, normally distributed with mean 0 and deviation sigma (0.1 to 1; best: 0.9), (N, C).
        mask: which samples are disturbed, (N), true with probability alpha (0.15; 0.5 for CIFAR-10).

    >>> noisy_logits(torch.ones(2, 1), torch.full((2, 1), 0.5), torch.tensor([True, False])).flatten()
    tensor([1.5000, 1.0000])
    """
    check_same(noise, teacher_logits, what="the noise and the teacher's logits")
    if mask.shape != teacher_logits.shape[:1]:
        raise UserError(f"the mask {tuple(mask.shape)} says yes or no for each of {len(teacher_logits)} samples")
    logits = wide(teacher_logits)
    return torch.where(mask.bool().unsqueeze(-1), logits * (1 + wide(noise)), logits)


@dataclass(frozen=True)
class NoisyTeacher(LogitTerm):
    """Logit regression towards noisy logits: ``1/2 ||s - (1 + xi) t||^2``; see ``losses.noisy_logit_regression``.

    Args:
        sigma: deviation of the noise xi, one draw for each logit; the paper tries 0.1 to 1, 0.9 is its best.
        share: each sample is disturbed with this probability: 0.5 (CIFAR-10) or 0.15 (MNIST, SVHN).
        reduce: as in ``LogitRegression``.

    Differences: the paper also draws sigma itself at random, which is not here. Draws come from PyTorch's generator,
    which the trainer seeds for every step.

    >>> print(NoisyTeacher(share=0.15))
    NoisyTeacher(share=0.15)
    """

    sigma: NonNegative = 0.9
    share: Share = 0.5
    reduce: Reduce = "mean"

    @property
    def teacher_temperature(self) -> float:
        return math.inf

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=self.share > 0)  # draws are for the whole batch

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        teacher = reading.teacher.logits
        noise = self.sigma * torch.randn(teacher.shape, device=teacher.device)
        mask = torch.rand(len(teacher), device=teacher.device) < self.share
        values = noisy_logit_regression(reading.student.logits, teacher, noise, mask)
        return reduced(values, teacher, self.reduce)


METHOD = one_stage(
    "noisy-teacher",
    NoisyTeacher,
    stage="noisy logits",
    labels=False,
    weight=1.0,
    family="logits",
    year=2016,
    paper="Sau & Balasubramanian, Deep model compression: distilling knowledge from noisy teachers",
)
