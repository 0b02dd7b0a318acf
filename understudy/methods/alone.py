"""The student without a teacher: what every method must beat."""

from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def alone(course: Course, *, label_smoothing: float = 0.0) -> list[Stage]:
    """The labels alone, no teacher: the baseline at equal budget."""
    return [Stage("labels", CE(label_smoothing), course)]


METHOD = Method("alone", alone, family="baseline", year=1986, paper="plain training", reads_teacher=False)
