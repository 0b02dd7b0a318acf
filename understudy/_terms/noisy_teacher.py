"""A teacher whose logits are disturbed (Sau & Balasubramanian, 2016)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy import losses
from understudy._terms.logit_regression import Reduce, check_reduce, reduced
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Term


@dataclass(frozen=True)
class NoisyTeacher(Term):
    """Logit regression towards noisy logits: ``1/2 ||s - (1 + xi) t||^2``; see ``losses.noisy_logit_regression``.

    Args:
        sigma: deviation of the noise xi, one draw for each logit; the paper tries 0.1 to 1, 0.9 is its best.
        share: each sample is disturbed with this probability: 0.5 (CIFAR-10) or 0.15 (MNIST, SVHN).
        reduce: as in ``LogitRegression``.

    Differences: the paper also draws sigma itself at random, which is not here. Draws come from PyTorch's generator,
    which the trainer seeds for every step.
    """

    sigma: float = 0.9
    share: float = 0.5
    reduce: Reduce = "sum"

    def __post_init__(self) -> None:
        check_reduce(self, self.reduce)
        if not self.sigma >= 0:
            raise UserError(f"{self}: sigma must not be negative")
        if not 0 <= self.share <= 1:
            raise UserError(f"{self}: share is a probability, from 0 to 1")

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        teacher = reading.teacher.logits
        noise = self.sigma * torch.randn(teacher.shape, device=teacher.device)
        mask = torch.rand(len(teacher), device=teacher.device) < self.share
        values = losses.noisy_logit_regression(reading.student.logits, teacher, noise, mask)
        return reduced(values, teacher, self.reduce)
