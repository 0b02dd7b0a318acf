"""Conditional adversarial networks (Xu, Hsu, Huang, 2018)."""

from typing import Literal

from understudy.methods._base import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.terms.can import CAN, Game
from understudy.terms.logits_l1 import LogitsL1
from understudy.training.course import Course


def can(
    course: Course,
    *,
    weight: float = 1.0,
    l1_weight: float = 1.0,
    l1_reduction: Literal["sum", "mean"] = "sum",
    game: Game = "can",
    layers: int = 3,
    rival_rate: float = 0.01,
) -> list[Stage]:
    """A discriminator tells the logits apart: ``CE + ||s - t||_1 + 1/2 (L_A - L_DS)``.

    All weights are the paper's and fixed; the 1/2 is within the adversarial term. In each step the discriminator moves
    first, at a hundredth of the student's rate (1e-3 beside 0.1). The paper trains for 200 epochs with SGD at 0.1,
    momentum 0.9, weight decay 1e-4, batch 128, a tenth of the rate from epochs 80 and 160 on, and dropout 0.3 in the
    networks.

    Args:
        weight: of the adversarial term, beside its own 1/2.
        l1_weight, l1_reduction: of the logits' difference, summed over the classes as published: with 100 classes it
            dwarfs the rest; "mean" does not.
        game: "can", or "wgan" and "lsgan", which the paper tried and dropped as slow and unstable.
        layers: of the discriminator.
        rival_rate: the discriminator's learning rate as a share of the student's.
    """
    adversary = CAN(game, layers=layers, rival_rate=rival_rate)
    objective = CE() + l1_weight * LogitsL1(l1_reduction) + weight * adversary
    return [Stage("labels, logits and rival", objective, course)]


METHOD = Method(
    "can",
    can,
    family="adversarial",
    year=2018,
    paper="Xu et al., Training shallow and thin networks for acceleration via knowledge distillation with conditional "
    "adversarial networks",
)
