"""Noisy teachers (Sau & Balasubramanian, 2016)."""

from understudy._terms.logit_regression import Reduce
from understudy._terms.noisy_teacher import NoisyTeacher
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.training.course import Course


def noisy_teacher(
    course: Course, *, sigma: float = 0.9, share: float = 0.5, weight: float = 1.0, reduce: Reduce = "mean"
) -> list[Stage]:
    """Regression of logits that are disturbed at random: ``1/2 ||s - (1 + xi) t||^2``.

    Args:
        sigma: deviation of the noise xi, drawn for each logit: 0.1 to 1 in the paper, best at 0.9.
        share: of the samples that are disturbed: 0.5 on CIFAR-10, 0.15 on MNIST and SVHN.
        weight: 1 in the paper, whose only loss this is: labels are not read.
        reduce: "sum" is the paper's, "mean" the same divided by half the number of classes; see logit-regression.
    """
    return [Stage("noisy logits", weight * NoisyTeacher(sigma, share, reduce), course)]


METHOD = Method(
    "noisy-teacher",
    noisy_teacher,
    family="logits",
    year=2016,
    paper="Sau & Balasubramanian, Deep model compression: distilling knowledge from noisy teachers",
)
