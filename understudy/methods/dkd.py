"""Decoupled knowledge distillation (Zhao et al., CVPR 2022)."""

from understudy.errors import UserError
from understudy.methods._base import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.terms.dkd import DKD
from understudy.training.course import Course
from understudy.weights import linear


def dkd(
    course: Course,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    weight: float = 1.0,
    warmup_epochs: float | None = None,
) -> list[Stage]:
    """Soft targets with the right class and the others weighted apart.

    ``CE + weight T^2 (alpha KL of the right class against all others + beta KL among the others)``.

    Args:
        alpha, beta, temperature: 1, 8 and 4 for most CIFAR-100 pairs of the paper.
        weight: of both parts together, 1.
        warmup_epochs: the weight rises from 0 in a straight line: the first 20 of 240 epochs there, by default the
            same share of the course. 0: none.
    """
    warmup = course.epochs / 12 if warmup_epochs is None else warmup_epochs
    if warmup < 0:
        raise UserError(f"dkd: warmup_epochs must not be negative, it is {warmup}")
    decoupled = weight * DKD(alpha, beta, temperature)
    if warmup:
        decoupled = decoupled * linear(0, 1, epochs=warmup)
    return [Stage("labels and decoupled soft targets", CE() + decoupled, course)]


METHOD = Method("dkd", dkd, family="logits", year=2022, paper="Zhao et al., Decoupled knowledge distillation")
