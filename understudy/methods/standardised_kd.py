"""Logit standardisation (Sun et al., CVPR 2024)."""

from understudy._terms.standardised_kd import StandardisedKD
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def standardised_kd(
    course: Course, *, temperature: float = 2.0, weight: float = 9.0, label_weight: float = 0.1
) -> list[Stage]:
    """Soft targets of standardised logits, so that the student's may have a scale of their own.

    ``label_weight CE + weight T^2 KL(softmax(Z(t)/T) || softmax(Z(s)/T))``, ``Z(z) = (z - mean z) / std z``.

    Args:
        temperature, weight: 2 and 9 in the authors' CIFAR-100 recipe.
        label_weight: 0.1 there.
    """
    objective = label_weight * CE() + weight * StandardisedKD(temperature)
    return [Stage("labels and standardised soft targets", objective, course)]


METHOD = Method(
    "standardised-kd",
    standardised_kd,
    family="logits",
    year=2024,
    paper="Sun et al., Logit standardization in knowledge distillation",
)
