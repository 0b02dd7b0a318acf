"""Softmax regression representation learning (SRRL; Yang et al., ICLR 2021)."""

from understudy._terms.srrl import SRRL
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def srrl(
    course: Course,
    *,
    maps: str,
    heads: str,
    weight: float = 1.0,
    features: float = 1.0,
    logits: float = 1.0,
) -> list[Stage]:
    """The student's features must serve the teacher's classifier: ``CE + SRRL``.

    Args:
        maps: the pair of last maps.
        heads: the pair of classifiers.
        weight: of both parts together.
        features, logits: of the distance of the features and of the logits, 1 and 1 in the paper.
    """
    term = SRRL(maps, heads, features=features, logits=logits)
    return [Stage("labels and the teacher's classifier", CE() + weight * term, course)]


METHOD = Method(
    "srrl",
    srrl,
    family="features",
    year=2021,
    paper="Yang et al., Knowledge distillation via softmax regression representation learning",
)
