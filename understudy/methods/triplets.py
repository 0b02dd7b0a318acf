"""The triplets of "Learning from multiple teacher networks" (You et al., KDD 2017)."""

from collections.abc import Sequence

from understudy._terms.triplets import Triplets
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def triplets(
    course: Course, *, embedding: str, weight: float = 1.0, margin: float = 0.5, others: Sequence[str] = ()
) -> list[Stage]:
    """Which of two samples is nearer to a third, as most teachers see it: ``CE + triplets``.

    The paper adds soft targets averaged over the teachers. Its weight and its margin are not known: these are ours.

    Args:
        embedding: the pair of what enters the classifiers, of the first teacher and the student.
        weight, margin: of the triplets, and how much nearer one must be.
        others: the taps of further teachers, in their order; one that is not named votes by its logits.
    """
    term = Triplets(embedding, margin=margin, others=tuple(others))
    return [Stage("labels and triplets", CE() + weight * term, course)]


METHOD = Method(
    "triplets", triplets, family="relations", year=2017, paper="You et al., Learning from multiple teacher networks"
)
