"""Multi-level logit distillation (Jin, Wang, Lin, CVPR 2023)."""

from collections.abc import Sequence

from understudy._terms.mlkd import MLKD
from understudy.methods.method import Method
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def mlkd(
    course: Course,
    *,
    temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0),
    instance: float = 1.0,
    batch: float | None = None,
    classes: float | None = None,
    weight: float = 0.18,
    label_weight: float = 0.1,
) -> list[Stage]:
    """Soft targets, likeness of samples and likeness of classes, at several temperatures.

    ``label_weight CE + weight sum_T (T^2 KL + ||P_t P_t^T - P_s P_s^T||^2 / N + ||P_t^T P_t - P_s^T P_s||^2 / C)``.
    The published method adds the same on a second, strongly augmented view of each batch. That view is not there.

    Args:
        temperatures: those of the authors' code.
        instance, batch, classes: weights of the three levels, by default such that all weigh as with the authors' 64
            samples of 100 classes; see ``MLKD``.
        weight, label_weight: the authors' code inherits 0.9 and 0.1 (from memory), and runs at half of the usual rate,
            0.025, since its sum over five temperatures is five times as steep as soft targets at one. Here it is the
            weight that is divided by five, so that the rate may stay.
    """
    levels = MLKD(tuple(temperatures), instance, batch, classes)
    return [Stage("labels and levels", label_weight * CE() + weight * levels, course)]


METHOD = Method("mlkd", mlkd, family="logits", year=2023, paper="Jin et al., Multi-level logit distillation, one view")
