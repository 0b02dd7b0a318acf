"""Masked generative distillation (Yang et al., ECCV 2022)."""

from typing import Literal

from understudy._terms.mgd import MGD
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def mgd(
    course: Course,
    *,
    maps: str,
    weight: float = 7e-5,
    ratio: float = 0.15,
    mask: Literal["channels", "places"] = "channels",
) -> list[Stage]:
    """The teacher's last map, generated from the student's masked one: ``CE + 7e-5 MGD``.

    The weight and 15 % of the channels are those of the authors' code for ImageNet. The loss is a sum over the
    elements, so a small last map makes it small: there the weight may be several times larger.
    """
    return [Stage("labels and generation", CE() + weight * MGD(maps, ratio=ratio, mask=mask), course)]


METHOD = Method("mgd", mgd, family="features", year=2022, paper="Yang et al., Masked generative distillation")
