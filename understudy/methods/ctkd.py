"""Curriculum temperature (Li et al., AAAI 2023)."""

from typing import Literal

from understudy._terms.curriculum_kd import CurriculumKD
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def ctkd(
    course: Course,
    *,
    start: float = 1.0,
    span: float = 20.0,
    rise_epochs: float | None = None,
    by: Literal["all", "sample"] = "all",
    weight: float = 0.9,
    label_weight: float = 0.1,
) -> list[Stage]:
    """Soft targets at a temperature that learns against the student, ever more so.

    ``label_weight CE + weight T^2 KL``, ``T = start + span sigmoid(raw)``; raw climbs where the student descends, at a
    strength that rises from 0 to 1 by half a cosine.

    Args:
        start, span: bounds of the temperature, 1 and 20 in the authors' code.
        rise_epochs: until the full strength: 10 of 240 there, by default the same share of the course.
        by: one temperature for "all" (what the authors released), or one for each "sample".
        weight, label_weight: 0.9 and 0.1 there.
    """
    rise = course.epochs / 24 if rise_epochs is None else rise_epochs
    objective = label_weight * CE() + weight * CurriculumKD(start, span, rise, by)
    return [Stage("labels and curriculum", objective, course)]


METHOD = Method(
    "ctkd", ctkd, family="logits", year=2023, paper="Li et al., Curriculum temperature for knowledge distillation"
)
