"""Densely guided distillation (Son et al., ICCV 2021)."""

from typing import Literal

from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import DGKD
from understudy.training.course import Course


def dgkd(
    course: Course,
    *,
    weight: float = 1.0,
    temperature: float = 5.0,
    form: Literal["paper", "code"] = "paper",
    survival: float = 1.0,
    drop: int = 0,
) -> list[Stage]:
    """Labels, and the soft targets of all larger networks: ``(n+1)(1-w) CE + w sum KD``.

    With the teacher alone it is ``kd``. Where assistants are named, each learns from all that are larger, and the
    student from all of them; only the student's mini-batches leave some out at random.

    Args:
        weight: of the soft targets, 1 in the authors' code: no labels. The sum over many guides is large: with n
            assistants it moves the student up to n + 1 times as far as ``kd`` does at the same rate.
        form: "code" has the labels once, not n + 1 times.
        survival: the chance of each guide to take part in a mini-batch; 0.75 is the paper's best.
        drop: or exactly so many are left out of each mini-batch, as in the code, which has 1.
    """
    return [Stage("labels and all guides", DGKD(weight, temperature, form, survival, drop), course)]


METHOD = Method(
    "dgkd",
    dgkd,
    family="several networks",
    year=2021,
    paper="Son et al., Densely guided knowledge distillation using multiple teacher assistants",
    guides="all",
    of_assistants={"survival": 1.0, "drop": 0},
)
