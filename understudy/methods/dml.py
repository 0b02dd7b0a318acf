"""Deep mutual learning (Zhang et al., 2018)."""

from typing import Literal

from understudy._terms.dml import DML
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def dml(
    course: Course,
    *,
    weight: float = 1.0,
    peers: int = 1,
    architecture: Literal["student", "teacher"] = "student",
    temperature: float = 1.0,
) -> list[Stage]:
    """Untrained networks learn together, no trained teacher: ``CE + KL(p || s)``, for each.

    The paper's weights and temperature are 1. The peers are thrown away at the end.

    Args:
        weight: of the peers' answers to the student; what the peers learn has weight 1.
        peers: how many networks learn along.
        architecture: of the peers, "student" or "teacher": the teacher's architecture, not its weights.
        temperature: of all answers.
    """
    mutual = DML(peers, architecture=architecture, temperature=temperature)
    return [Stage("labels and peers", CE() + weight * mutual, course)]


METHOD = Method(
    "dml",
    dml,
    family="several networks",
    year=2018,
    paper="Zhang et al., Deep mutual learning",
    reads_teacher=False,
)
