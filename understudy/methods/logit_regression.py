"""Regression of logits (Ba & Caruana, NIPS 2014)."""

from understudy._terms.logit_regression import LogitRegression, Reduce
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.training.course import Course


def logit_regression(course: Course, *, weight: float = 1.0, reduce: Reduce = "mean") -> list[Stage]:
    """The teacher's logits alone, by least squares: ``1/2 ||s - t||^2``.

    Args:
        weight: 1 in the paper, whose only loss this is: labels are not read.
        reduce: "sum" is the paper's, "mean" the same divided by half the number of classes, with weight 1 in a later
            benchmark (KD-Zoo). The sum wants a small learning rate: SGD with today's 0.1 can diverge.
    """
    return [Stage("logits", weight * LogitRegression(reduce), course)]


METHOD = Method(
    "logit-regression",
    logit_regression,
    family="logits",
    year=2014,
    paper="Ba & Caruana, Do deep nets really need to be deep?",
)
