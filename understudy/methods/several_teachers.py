"""Several teachers (You, Xu, Xu, Tao, KDD 2017)."""

from collections.abc import Sequence
from typing import Literal

from understudy._terms.several_teachers import SeveralTeachers, Vote
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE, Expression
from understudy.training.course import Course


def several_teachers(
    course: Course,
    *,
    combine: Literal["probabilities", "logits", "vote"] = "probabilities",
    weights: Sequence[float] | None = None,
    temperature: float = 4.0,
    weight: float = 0.9,
    label_weight: float = 0.1,
) -> list[Stage]:
    """The average of several teachers' soft targets, weighted if you like, or their vote.

    ``label_weight CE + weight T^2 KL(sum_k w_k softmax(t_k/T) || softmax(s/T))``; with one teacher it is ``kd``. The
    paper's weights are not known to us; the defaults are those of ``kd``. Its third part, a loss on triplets of
    features, is a term of its own that can be added.

    Args:
        combine: average "probabilities" (the paper) or "logits", or learn the class that most teachers "vote" for.
        weights: of the teachers, in their order, assistants after them; all alike by default. A vote counts all alike.
            They are the student's: an assistant, who has fewer teachers, weighs its own alike.
    """
    taught: Expression
    if combine == "vote":
        if weights is not None:
            raise UserError("several-teachers: a vote counts all teachers alike: leave weights out")
        taught = Vote()
    else:
        taught = SeveralTeachers(temperature, None if weights is None else tuple(weights), combine)
    return [Stage("labels and teachers", label_weight * CE() + weight * taught, course)]


METHOD = Method(
    "several-teachers",
    several_teachers,
    family="several networks",
    year=2017,
    paper="You et al., Learning from multiple teacher networks",
    guides="all",
    of_assistants={"weights": None},
)
