"""Normalised knowledge distillation (Yang et al., ICCV 2023)."""

from understudy._terms.nkd import NKD
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def nkd(course: Course, *, gamma: float = 1.5, temperature: float = 1.0, weight: float = 1.0) -> list[Stage]:
    """Soft targets whose wrong classes are brought to the sum 1 in both networks.

    ``CE - t_y log s_y - gamma T^2 sum_c q_t,c log q_s,c``, q the softened answers among the other classes.

    Args:
        gamma, temperature: 1.5 and 1 on ImageNet and by default; 3.5 and 3 in the authors' CIFAR-100 recipe.
        weight: of both parts together, 1.
    """
    return [Stage("labels and normalised soft targets", CE() + weight * NKD(gamma, temperature), course)]


METHOD = Method(
    "nkd",
    nkd,
    family="logits",
    year=2023,
    paper="Yang et al., From knowledge distillation to self-knowledge distillation",
)
