"""Answers that correlate with the teacher's, over classes and over samples (DIST, Huang et al., NeurIPS 2022).

``CE + weight T^2 (beta (1 - r over the classes) + gamma (1 - r over the samples))``, r Pearson's correlation. The
defaults are 2 and 2 and the temperature 4, as in the authors' configuration for CIFAR-100 (the temperature is 1 on
ImageNet).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.bounds import NonNegative, Temperature
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import LogitTerm, check_same, require_classes
from understudy.objective.term import Reading, Reads
from understudy.precision import wide

CONSTANT = 1e-8  # the length up to which values count as all equal


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: float = 2.0,
    gamma: float = 2.0,
    temperature: float = 4.0,
) -> Tensor:
    """DIST: probabilities need only correlate with the teacher's, over classes and over the batch; per sample.

    ``T^2 (beta (1 - r(s_n, t_n)) + gamma mean_c (1 - r(s_c, t_c)))``, r Pearson's correlation, s_n a sample's
    probabilities over the classes, s_c a class's probabilities over the samples

    The mean over the batch is the paper's loss. A sample's share of a class's ``1 - r`` is half the squared
    difference of its two standardised probabilities, times N: the shares are never negative, and add up.

    Args:
        student_logits, teacher_logits: (N, C); the second part needs a batch of more than one.
        beta: weight over the classes of a sample (inter-class).
        gamma: weight over the samples of a class (intra-class).
        temperature: T: 1 on ImageNet, 4 for CIFAR-100.

    Weight in the objective: ``CE + 2 inter + 2 intra`` in the authors' configurations; the code's signature has 1 and
    1.
    Reference: Huang et al., "Knowledge distillation from a stronger teacher", NeurIPS 2022.
    Differences: the factor T^2 is the later code's; the released code for segmentation has no temperature. Where a
    class has one probability for all samples, its ``1 - r`` is 1/2 here (0 if for both networks), 1 in the code.

    >>> logits = torch.tensor([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0]])
    >>> dist(logits, logits)
    tensor([0., 0.])
    """
    check_same(student_logits, teacher_logits)
    require_classes(student_logits)
    student = (wide(student_logits) / temperature).softmax(-1)
    teacher = (wide(teacher_logits) / temperature).softmax(-1)
    inter = uncorrelated(student, teacher, dim=1).sum(1)
    intra = uncorrelated(student, teacher, dim=0).mean(1) * len(student)
    return (beta * inter + gamma * intra) * temperature**2


@dataclass(frozen=True)
class DIST(LogitTerm):
    """The student's probabilities need only correlate with the teacher's; see ``losses.dist``.

    Args:
        beta: weight of the correlation over the classes of a sample.
        gamma: weight of the correlation over the samples of a class, for which it takes a batch of several.
        temperature: 1 on ImageNet, 4 for CIFAR-100.

    Differences: of a task with several rows for each sample, the samples of a class are all rows of the batch, those
    that the task leaves out among them; so the authors' code takes the pixels of a segmentation.

    >>> print(DIST(temperature=1.0))
    DIST(temperature=1.0)
    """

    beta: NonNegative = 2.0
    gamma: NonNegative = 2.0
    temperature: Temperature = 4.0

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return dist(
            reading.student.logits,
            reading.teacher.logits,
            beta=self.beta,
            gamma=self.gamma,
            temperature=self.temperature,
        )


def uncorrelated(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """Shares of ``1 - r`` along ``dim``: for unit vectors, ``1 - a . b = 1/2 || a - b ||^2``."""
    return 0.5 * (_unit(student, dim) - _unit(teacher, dim)).square()


def _unit(x: Tensor, dim: int) -> Tensor:
    """Deviations from the mean, of length 1. Where all values are one, they are 0 and have no gradient."""
    apart = x - x.mean(dim, keepdim=True)
    length = torch.linalg.vector_norm(apart, dim=dim, keepdim=True)
    constant = length <= CONSTANT
    return torch.where(constant, 0.0, apart / torch.where(constant, 1.0, length))


METHOD = one_stage(
    "dist",
    DIST,
    stage="labels and correlations",
    weight=1.0,
    family="logits",
    year=2022,
    paper="Huang et al., Knowledge distillation from a stronger teacher",
)
