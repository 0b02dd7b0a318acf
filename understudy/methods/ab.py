"""Activation boundaries (Heo et al., AAAI 2019)."""

from understudy._terms.ab import AB
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.methods.shared.stages import split
from understudy.stage import Stage
from understudy.terms import CE, KD
from understudy.training.course import Course


def ab(
    course: Course,
    *,
    pairs: tuple[str, ...],
    boundary_epochs: int | None = None,
    boundary_lr: float | None = None,
    weight: float = 0.003,
    margin: float = 1.0,
    kd_weight: float = 1.0,
    temperature: float = 3.0,
    squared: bool = False,
    label_weight: float = 0.0,
) -> list[Stage]:
    """Stage 1 sets neurons on and off as the teacher's are, stage 2 trains on soft targets.

    Args:
        pairs: from input to output; each counts half of the one after it.
        boundary_epochs: of the course's epochs, so many are stage 1 (a fifth by default).
        boundary_lr: the learning rate of stage 1, where it differs.
        weight, margin: of stage 1, as in the authors' code: 3 / 1000 of a sum over elements, and 1.
        kd_weight, temperature, squared: of stage 2, as in the authors' code: soft targets alone, at 3, without T^2.
        label_weight: of the cross-entropy in stage 2. Labels alone (``label_weight = 1`` and ``kd_weight = 0``) are the
            code's other form, and CRD's benchmark's.
    """
    if kd_weight == 0 == label_weight:
        raise UserError("ab: stage 2 trains on soft targets or on labels: set kd_weight or label_weight above 0")
    first, rest = split(course, boundary_epochs, setting="ab: boundary_epochs", lr=boundary_lr)
    soft, labels = kd_weight * KD(temperature, squared=squared), label_weight * CE()
    objective = labels + soft if kd_weight and label_weight else soft if kd_weight else labels
    name = "soft targets" if kd_weight else "labels"
    return [Stage("boundaries", weight * AB(pairs, margin=margin), first), Stage(name, objective, rest)]


METHOD = Method(
    "ab",
    ab,
    family="features",
    year=2019,
    paper="Heo et al., Knowledge transfer via distillation of activation boundaries",
)
