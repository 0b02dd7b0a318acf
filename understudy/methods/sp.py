"""Similarity-preserving distillation (SP; Tung & Mori, ICCV 2019)."""

from understudy._terms.sp import SP
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def sp(course: Course, *, maps: str, weight: float = 3000.0) -> list[Stage]:
    """Which samples activate the last map alike: ``CE + 3000 SP``.

    3000 is the weight of CRD's benchmark, and of the paper from memory.
    """
    return [Stage("labels and similarities", CE() + weight * SP(maps), course)]


METHOD = Method(
    "sp", sp, family="relations", year=2019, paper="Tung, Mori, Similarity-preserving knowledge distillation"
)
