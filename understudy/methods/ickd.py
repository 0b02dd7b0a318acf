"""Inter-channel correlation (Liu et al., ICCV 2021)."""

from understudy._terms.ickd import ICKD
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def ickd(course: Course, *, maps: str, weight: float = 2.5, embed: bool | None = None) -> list[Stage]:
    """Which channels of the last map go together: ``CE + 2.5 ICKD``.

    Args:
        maps: the pair of last maps.
        weight: 2.5 in the authors' code.
        embed: a 1x1 convolution after the student's map: where the channels differ (None), or always (their code).
    """
    return [Stage("labels and channels", CE() + weight * ICKD(maps, embed=embed), course)]


METHOD = Method(
    "ickd",
    ickd,
    family="features",
    year=2021,
    paper="Liu et al., Exploring inter-channel correlation for diversity-preserved knowledge distillation",
)
