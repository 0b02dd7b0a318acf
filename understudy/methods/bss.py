"""Distillation with adversarial samples that support the decision boundary (Heo et al., 2019)."""

from understudy._terms.bss import BSS
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.objective.weights import linear
from understudy.stage import Stage
from understudy.terms import CE, KD
from understudy.training.course import Course


def bss(
    course: Course,
    *,
    weight: float = 2.0,
    soft_weight: float = 4.0,
    final_soft_weight: float = 1.0,
    temperature: float = 3.0,
    steps: int = 10,
    most: int | None = None,
    share: float = 0.75,
) -> list[Stage]:
    """Soft targets, also on samples at the teacher's decision boundary: ``CE + a KD + b BSS``.

    The authors' code: a from 4 to 1 over the whole training, b from 2 to 0 over three quarters of it, temperature 3
    without T^2; batch 256, 80 epochs, SGD at 0.1, a tenth of it from the half and from three quarters on, weight decay
    1e-4. A step costs up to 11 passes of the teacher over a quarter of the batch, 10 of them with gradients.

    Args:
        weight: b at the beginning.
        soft_weight, final_soft_weight: a at the beginning and at the end.
        temperature: of both kinds of soft targets.
        steps: of pushing a sample to the boundary, at most.
        most: how many samples of a batch are pushed, at most: by default a quarter, as the authors' 64 of 256.
        share: of the training after which b is 0.
    """
    if not 0 < share <= 1:
        raise UserError(f"bss: share is above 0 and 1 at most, not {share:g}")
    soft = KD(temperature, squared=False) * linear(soft_weight, final_soft_weight, epochs=course.epochs)
    pushed = max(2, course.batch // 4) if most is None else most
    boundary = BSS(temperature, steps=steps, most=pushed) * linear(weight, 0.0, epochs=share * course.epochs)
    return [Stage("soft targets at the boundary", CE() + soft + boundary, course)]


METHOD = Method(
    "bss",
    bss,
    family="adversarial",
    year=2019,
    paper="Heo et al., Knowledge distillation with adversarial samples supporting decision boundary",
)
