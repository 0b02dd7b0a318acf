"""Knowledge distillation (Hinton, Vinyals, Dean, 2015)."""

from understudy.methods._base import Method
from understudy.stage import Stage
from understudy.terms import CE, KD
from understudy.training.course import Course


def kd(course: Course, *, temperature: float = 4.0, weight: float = 0.9, label_weight: float = 0.1) -> list[Stage]:
    """Soft targets and labels: ``label_weight * CE + weight * T^2 KL``.

    The defaults are those of CRD's benchmark (T = 4, 0.9 and 0.1); Hinton et al. give the labels "considerably lower
    weight". With ``label_weight = 0`` the labels are not read at all.
    """
    objective = weight * KD(temperature)
    if label_weight:
        objective = label_weight * CE() + objective
    return [Stage("soft targets", objective, course)]


METHOD = Method(
    "kd", kd, family="logits", year=2015, paper="Hinton et al., Distilling the knowledge in a neural network"
)
