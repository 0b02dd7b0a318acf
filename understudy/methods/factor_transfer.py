"""Factor transfer (Kim, Park, Kwak, NeurIPS 2018)."""

from typing import Literal

from understudy._terms.factor_transfer import FactorTransfer, Paraphraser
from understudy.methods.method import Method
from understudy.methods.shared.stages import split
from understudy.stage import Stage
from understudy.taps import Pair
from understudy.terms import CE
from understudy.training.course import Course


def factor_transfer(
    course: Course,
    *,
    maps: str,
    weight: float = 500.0,
    rate: float = 0.5,
    distance: Literal["l1", "l2"] = "l1",
    paraphraser_epochs: int | None = None,
    paraphraser_lr: float | None = None,
    paraphraser_distance: Literal["l1", "l2"] = "l1",
    label_weight: float = 1.0,
) -> list[Stage]:
    """Stage 1 trains a paraphraser of the teacher's maps, stage 2 labels and its factors.

    Args:
        maps: the last maps of both.
        weight, distance: the authors' code's 500, of normalised factors' mean absolute difference.
        rate: the factors' channels as a share of the teacher's (code: 0.5).
        paraphraser_epochs: of the course's epochs, so many train the paraphraser (a fifth by default). The code takes
            six, against 163 of the student.
        paraphraser_lr: the learning rate of stage 1, where it differs (code: the student's; CRD's benchmark: 0.01).
        paraphraser_distance: ``"l1"`` is the code's reconstruction loss, ``"l2"`` the paper's, which wants the lower
            rate: on a ResNet-56's maps it diverges at 0.1.
        label_weight: of the cross-entropy in stage 2.
    """
    setting = "factor-transfer: paraphraser_epochs"
    first, rest = split(course, paraphraser_epochs, setting=setting, lr=paraphraser_lr)
    paraphraser = Paraphraser(str(Pair.parse(maps).teacher), rate=rate, distance=paraphraser_distance)
    objective = label_weight * CE() + weight * FactorTransfer(maps, rate=rate, distance=distance)
    return [
        Stage("paraphraser", paraphraser, first, hands_over=True),
        Stage("labels and factors", objective, rest),
    ]


METHOD = Method(
    "factor-transfer",
    factor_transfer,
    family="features",
    year=2018,
    paper="Kim, Park and Kwak, Paraphrasing complex network: network compression via factor transfer",
)
