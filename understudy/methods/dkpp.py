"""Born-again networks' DKPP (Furlanello et al., ICML 2018)."""

from understudy._terms.dkpp import DKPP
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.training.course import Course


def born_again_dkpp(course: Course, *, temperature: float = 1.0, weight: float = 1.0) -> list[Stage]:
    """Soft targets whose wrong classes change places at random: ``KL(pi(t) || s)``.

    The teacher's trust in its answer stays, what it knows of the other classes is gone: the paper's second control for
    what dark knowledge is worth. Labels are not read. To be born again, the student takes a teacher of its own
    architecture.

    Args:
        temperature: the paper has none.
        weight: of the only term.
    """
    return [Stage("permuted soft targets", weight * DKPP(temperature), course)]


METHOD = Method(
    "born-again-dkpp",
    born_again_dkpp,
    family="self",
    year=2018,
    paper="Furlanello et al., Born-again neural networks, dark knowledge with permuted predictions",
)
