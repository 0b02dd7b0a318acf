"""SimKD (Chen et al., CVPR 2022): the student leaves with the teacher's classifier."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from understudy._terms.simkd import SimKD
from understudy.methods.method import Method
from understudy.models.grafts import Graft
from understudy.stage import Stage
from understudy.taps import Pair
from understudy.terms import CE
from understudy.training.course import Course


def simkd(
    course: Course, *, maps: str, heads: str, weight: float = 10.0, label_weight: float = 0.0, factor: int = 2
) -> list[Stage]:
    """The last features become the teacher's, whose classifier answers: ``SimKD``.

    The product is the student's body, the projector (convolutions of 1x1, 3x3 and 1x1) behind its last map, and the
    teacher's classifier: it is larger and slower than the student that was given, and is measured as it leaves.

    Args:
        maps: the pair of last maps; what the student does with its own after it (a mean over the places) must not
            depend on the number of channels.
        heads: the pair of classifiers, linear layers.
        weight: of the features, and the only loss in the paper, where it is 1: a mean over elements, so steps are
            small, and 240 epochs long enough. 10 gets there in a short course at the usual rate of 0.1.
        label_weight: of the cross-entropy through the teacher's classifier; 0 in the paper.
        factor: by which the projector's inner channels are fewer than the teacher's.
    """
    objective = weight * SimKD(maps, projected=True)
    if label_weight:
        objective = label_weight * CE() + objective
    return [Stage("features", objective, course, answers=True)]


def _graft(student: nn.Module, teacher: nn.Module, settings: Mapping[str, Any]) -> None:
    heads, maps = Pair.parse(settings["heads"]), Pair.parse(settings["maps"])
    graft = Graft.between(student, teacher, heads, maps, factor=settings["factor"])
    graft.onto(student)
    graft.fill(student, teacher, heads.teacher.path)


METHOD = Method(
    "simkd",
    simkd,
    family="features",
    year=2022,
    paper="Chen et al., Knowledge distillation with the reused teacher classifier",
    grafts=_graft,
)
