"""Function matching: a good teacher is patient and consistent (Beyer et al., CVPR 2022)."""

from dataclasses import replace

from understudy.errors import UserError
from understudy.methods._base import Method
from understudy.stage import Stage
from understudy.terms import KD
from understudy.training.course import Course


def function_matching(
    course: Course, *, mixup: float = 1.0, longer: int = 1, temperature: float = 1.0, weight: float = 1.0
) -> list[Stage]:
    """Soft targets alone, on mixed pictures that both networks see alike: ``KL(t || s)``.

    Args:
        mixup: alpha of the mixtures; 1 draws their shares evenly, as the paper does. The labels' mixtures are not
            read. The other views are the course's.
        longer: so many times the epochs of the course. Patience is half of the method: the paper's schedules are ten
            to a hundred times as long as usual, up to 9,600 epochs. 1 keeps the comparison with other methods fair.
        temperature: 1 in the paper.
        weight: of the only term.

    Differences: the paper also crops at random, down to small parts of the image, the same for both networks.
    """
    if not isinstance(longer, int) or longer < 1:
        raise UserError(f"function-matching: longer must be a whole number above 0, not {longer!r}")
    patient = replace(course, epochs=course.epochs * longer, views=replace(course.views, mixup=mixup))
    return [Stage("function matching", weight * KD(temperature), patient)]


METHOD = Method(
    "function-matching",
    function_matching,
    family="logits",
    year=2022,
    paper="Beyer et al., Knowledge distillation: a good teacher is patient and consistent",
)
