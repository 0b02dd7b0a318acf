"""Born-again networks' CWTM (Furlanello et al., ICML 2018)."""

from understudy._terms.cwtm import CWTM
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.training.course import Course


def born_again_cwtm(course: Course, *, weight: float = 1.0) -> list[Stage]:
    """The labels, each sample weighted by how sure the teacher is: ``w_n CE``.

    Nothing else of the teacher is learned: the paper's control for what dark knowledge is worth. To be born again, the
    student takes a teacher of its own architecture.

    Args:
        weight: of the only term; the weights of each batch's samples have the mean 1.
    """
    return [Stage("weighted labels", weight * CWTM(), course)]


METHOD = Method(
    "born-again-cwtm",
    born_again_cwtm,
    family="self",
    year=2018,
    paper="Furlanello et al., Born-again neural networks, confidence weighted by teacher max",
)
