"""Attention transfer on gradients (Zagoruyko & Komodakis, ICLR 2017)."""

from typing import Literal

from understudy._terms.at_gradient import GradientAT
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def at_gradient(
    course: Course,
    *,
    pair: str,
    weight: float = 1000.0,
    form: Literal["maps", "raw"] = "maps",
    p: float = 1.0,
    distance: Literal["norm", "mean_squared"] = "mean_squared",
    label_weight: float = 1.0,
) -> list[Stage]:
    """Labels, and the places to which the teacher's loss is sensitive: ``CE + 1000 AT``.

    Args:
        pair: a middle layer of both, or ``"input"``: the paper's is ``pair = "input"`` with ``form = "raw"`` and
            ``distance = "norm"``. It is not the default, since it costs whole backward passes of both networks.
        weight, distance: those of attention on activations. The paper's weight for gradients was not found.
        form, p: see ``GradientAT``.
        label_weight: of the cross-entropy.
    """
    attention = GradientAT(pair, form=form, p=p, distance=distance)
    return [Stage("labels and gradients", label_weight * CE() + weight * attention, course)]


METHOD = Method(
    "at-gradient",
    at_gradient,
    family="features",
    year=2017,
    paper="Zagoruyko and Komodakis, Paying more attention to attention, section 3.2",
)
