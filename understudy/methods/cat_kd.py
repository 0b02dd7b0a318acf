"""Class attention transfer (CAT-KD; Guo et al., CVPR 2023)."""

from understudy._terms.cat_kd import CATKD
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def cat_kd(
    course: Course, *, maps: str, heads: str, weight: float = 8.0, resolution: int = 2, normalize: bool = True
) -> list[Stage]:
    """Class activation maps, averaged down to 2x2: ``CE + 8 CAT``.

    Args:
        maps: the pair of last maps.
        heads: the pair of classifiers, whose weights make the class activation maps.
        weight: the authors' 80 for unlike architectures, with maps of length 1, stands beside a rate of 0.01 (from
            memory); at 0.1 it drowns the labels, and 8 makes steps of the same size. Without that length 0.5 to 15 by
            pair, at 0.05.
        resolution: of the maps compared, 2 or 4.
        normalize: bring each map to length 1. The paper does, its code does not where architectures are alike.
    """
    term = CATKD(maps, heads, resolution=resolution, normalize=normalize)
    return [Stage("labels and class attention", CE() + weight * term, course)]


METHOD = Method(
    "cat-kd",
    cat_kd,
    family="features",
    year=2023,
    paper="Guo et al., Class attention transfer based knowledge distillation",
)
