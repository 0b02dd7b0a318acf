"""DIST (Huang et al., NeurIPS 2022)."""

from understudy.methods._base import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.terms.dist import DIST
from understudy.training.course import Course


def dist(
    course: Course, *, beta: float = 2.0, gamma: float = 2.0, temperature: float = 4.0, weight: float = 1.0
) -> list[Stage]:
    """Answers that correlate with the teacher's, over classes and over samples.

    ``CE + weight T^2 (beta (1 - r over the classes) + gamma (1 - r over the samples))``, r Pearson's correlation.

    Args:
        beta, gamma: 2 and 2 in the paper (from memory).
        temperature: 4 for CIFAR, 1 on ImageNet (from memory).
        weight: of both parts together, 1.
    """
    return [Stage("labels and correlations", CE() + weight * DIST(beta, gamma, temperature), course)]


METHOD = Method(
    "dist", dist, family="logits", year=2022, paper="Huang et al., Knowledge distillation from a stronger teacher"
)
