"""Relational distillation (RKD; Park et al., CVPR 2019)."""

from understudy._terms.rkd import RKDAngle, RKDDistance
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def rkd(
    course: Course, *, embedding: str, weight: float = 1.0, distance_weight: float = 25.0, angle_weight: float = 50.0
) -> list[Stage]:
    """Distances and angles between the samples of a batch: ``CE + 25 D + 50 A``.

    25 and 50 are those of CRD's benchmark (classification); the paper has 1 and 2, beside a loss of metric learning.
    """
    relations = distance_weight * RKDDistance(embedding) + angle_weight * RKDAngle(embedding)
    return [Stage("labels and relations", CE() + weight * relations, course)]


METHOD = Method("rkd", rkd, family="relations", year=2019, paper="Park et al., Relational knowledge distillation")
