"""Attention transfer on activations (Zagoruyko & Komodakis, ICLR 2017)."""

from typing import Literal

from understudy._terms.at import AT
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def at(
    course: Course,
    *,
    pairs: tuple[str, ...],
    weight: float = 1000.0,
    p: float = 2.0,
    reduce: Literal["sum", "mean", "max"] = "sum",
    distance: Literal["norm", "mean_squared"] = "mean_squared",
    label_weight: float = 1.0,
) -> list[Stage]:
    """Labels, and attention maps of several layers as the teacher has them: ``CE + 1000 AT``.

    Args:
        pairs: one for each group of blocks.
        weight, distance: the authors' code (and CRD's benchmark) has 1000 of the mean squared difference. The paper
            writes ``"norm"``, with beta = 1000 / (places * batch), about 0.1, summed over the batch.
        p, reduce: of the attention maps; the paper compares powers 1, 2 and 4, and the sum with the maximum.
        label_weight: of the cross-entropy.
    """
    attention = AT(pairs, p=p, reduce=reduce, distance=distance)
    return [Stage("labels and attention", label_weight * CE() + weight * attention, course)]


METHOD = Method(
    "at",
    at,
    family="features",
    year=2017,
    paper="Zagoruyko and Komodakis, Paying more attention to attention",
)
