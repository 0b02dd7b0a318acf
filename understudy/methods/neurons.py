"""Face model compression by neurons (Luo et al., AAAI 2016), all of the top layer or the selected ones."""

from typing import Literal

from understudy._terms.neurons import Neurons
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course

PAPERS_SHARE = 422 / 512


def neurons(
    course: Course,
    *,
    embedding: str,
    weight: float = 10.0,
    reduce: Literal["sum", "mean"] = "mean",
    label_weight: float = 1.0,
) -> list[Stage]:
    """Labels, and the neurons that enter the teacher's classifier: ``CE + 5 mean (f - g)^2``.

    Args:
        embedding: what enters the classifiers of both.
        weight, reduce: the paper has this loss alone, a sum over neurons, since its faces are compared by these
            neurons; so no weight beside labels is published. 10 times half the mean suits networks of any width.
        label_weight: of the cross-entropy, from which the student's own classifier learns; ``class-distance`` learns
            the same features for the teacher's classifier instead, and from no labels.
    """
    return [Stage("labels and neurons", label_weight * CE() + weight * Neurons(embedding, reduce=reduce), course)]


def selected_neurons(
    course: Course,
    *,
    embedding: str,
    weight: float = 10.0,
    reduce: Literal["sum", "mean"] = "mean",
    share: float = PAPERS_SHARE,
    selected: tuple[int, ...] | None = None,
    label_weight: float = 1.0,
) -> list[Stage]:
    """Labels, and those of the teacher's top neurons that tell most and repeat least.

    Args:
        embedding, weight, reduce, label_weight: as for ``neurons``.
        share: of the teacher's neurons that are selected (paper: 422 of 512), by the weights of its classifier.
        selected: their numbers, where they are known.
    """
    objective = label_weight * CE() + weight * Neurons(embedding, share, selected, reduce)
    return [Stage("labels and selected neurons", objective, course)]


_PAPER = "Luo et al., Face model compression by distilling knowledge from neurons"
METHOD = Method("neurons", neurons, family="features", year=2016, paper=_PAPER)
SELECTED = Method("selected-neurons", selected_neurons, family="features", year=2016, paper=_PAPER)
