"""The flow of the solution procedure (Yim et al., CVPR 2017), in the paper's two stages and in one."""

from typing import Literal

from understudy._terms.fsp import FSP
from understudy.methods.method import Method
from understudy.methods.shared.stages import split
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course

SHARE_OF_RATE = 0.1


def fsp(
    course: Course,
    *,
    pairs: tuple[str, ...],
    fsp_epochs: int | None = None,
    fsp_lr: float | None = None,
    weight: float = 1.0,
    reduce: Literal["sum", "mean"] = "mean",
) -> list[Stage]:
    """Stage 1 trains on FSP matrices of consecutive layers alone, stage 2 on labels alone.

    Args:
        pairs: from input to output, two at least (paper: the ends of the sections of equal map size).
        fsp_epochs: of the course's epochs, so many are stage 1 (a fifth by default). The paper gives both stages as
            many steps each.
        fsp_lr: the learning rate of stage 1, by default a tenth of the course's, as in KD-Zoo: the loss is of fourth
            degree in the student's values, and a high rate diverges. The paper has a hundredth, with ``"sum"``; CRD's
            benchmark the same rate for both stages.
        weight, reduce: ``"mean"`` is that of CRD's benchmark and KD-Zoo, ``"sum"`` the paper's.
    """
    rate = course.optimizer.lr * SHARE_OF_RATE if fsp_lr is None else fsp_lr
    first, rest = split(course, fsp_epochs, setting="fsp: fsp_epochs", lr=rate)
    return [Stage("flow", weight * FSP(pairs, reduce=reduce), first), Stage("labels", CE(), rest)]


def fsp_joint(
    course: Course,
    *,
    pairs: tuple[str, ...],
    weight: float = 1.0,
    reduce: Literal["sum", "mean"] = "mean",
    label_weight: float = 1.0,
) -> list[Stage]:
    """Labels and FSP matrices in one stage: ``CE + FSP``.

    Args:
        pairs: from input to output, two at least.
        weight, reduce: no joint form is published. The 50 that CRD's benchmark lists stands beside a training in two
            stages, and is not read there; at a rate of 0.1 it may diverge.
        label_weight: of the cross-entropy.
    """
    return [Stage("labels and flow", label_weight * CE() + weight * FSP(pairs, reduce=reduce), course)]


_PAPER = "Yim et al., A gift from knowledge distillation"
METHOD = Method("fsp", fsp, family="features", year=2017, paper=_PAPER)
JOINT = Method("fsp-joint", fsp_joint, family="features", year=2017, paper=f"{_PAPER}, in one stage")
