"""DarkRank (Chen, Wang, Zhang, AAAI 2018): soft and hard transfer of ranks."""

from understudy._terms.darkrank import DarkRank
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def darkrank_soft(
    course: Course,
    *,
    embedding: str,
    weight: float = 16.0,
    alpha: float = 3.0,
    beta: float = 3.0,
    list_length: int = 4,
    length: float | None = 1.0,
) -> list[Stage]:
    """Probabilities of all orders of each sample's nearest others: ``CE + 16 DarkRank``.

    Args:
        embedding: what goes into the classifiers.
        weight: 16 in the authors' command, with ``alpha`` 1, ``beta`` 4 and ``length`` 3.5.
        alpha, beta, list_length: of the scores and lists, as RKD's re-implementation has them.
        length: to which the embeddings are brought; None: as they are.
    """
    term = DarkRank(embedding, alpha=alpha, beta=beta, list_length=list_length, length=length)
    return [Stage("labels and ranks", CE() + weight * term, course)]


def darkrank_hard(
    course: Course,
    *,
    embedding: str,
    weight: float = 1.0,
    alpha: float = 3.0,
    beta: float = 3.0,
    list_length: int = 4,
    length: float | None = 1.0,
) -> list[Stage]:
    """The order in which the teacher sees each sample's nearest: ``CE - log P_S(order)``.

    The weight is ours: the authors' for hard transfer is not known. The other settings are those of ``darkrank-soft``.
    """
    term = DarkRank(embedding, transfer="hard", alpha=alpha, beta=beta, list_length=list_length, length=length)
    return [Stage("labels and ranks", CE() + weight * term, course)]


_PAPER = "Chen et al., DarkRank: accelerating deep metric learning via cross sample similarities transfer"
METHOD = Method("darkrank-soft", darkrank_soft, family="relations", year=2018, paper=_PAPER)
HARD = Method("darkrank-hard", darkrank_hard, family="relations", year=2018, paper=_PAPER)
