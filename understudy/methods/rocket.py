"""Rocket Launching (Zhou et al., 2018)."""

from understudy._terms.rocket import Rocket
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def rocket(course: Course, *, shared: str, weight: float = 0.03, block: bool = True) -> list[Stage]:
    """Beside an untrained booster: ``CE(s) + CE(z) + 0.03 ||s - z||^2``.

    The booster has the teacher's architecture and weights of its own; it learns from the labels while the student
    follows its logits, and is thrown away. The paper: batch 128, 200 epochs, SGD at 0.1, a fifth of the rate from
    epochs 60, 120 and 160 on, weight decay 5e-4.

    Args:
        shared: the pair up to which the two share their lower layers, which are the student's; by default the end of
            the first stage, where both have one shape there, and otherwise ``""``: nothing.
        weight: of the hint, the authors' 0.03 (sum over the classes, mean over the batch).
        block: the gradient block: the hint does not move the booster.
    """
    return [Stage("labels and booster", CE() + Rocket(block, shared or None, weight), course)]


METHOD = Method(
    "rocket",
    rocket,
    family="several networks",
    year=2018,
    paper="Zhou et al., Rocket launching: a universal and efficient framework for training well-performing light net",
)
