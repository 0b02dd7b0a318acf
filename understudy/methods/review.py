"""Knowledge review (ReviewKD; Chen et al., CVPR 2021)."""

from understudy._terms.review import Review
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.objective.weights import linear
from understudy.stage import Stage
from understudy.terms import CE
from understudy.training.course import Course


def review(
    course: Course, *, pairs: tuple[str, ...], embedding: str, weight: float = 1.0, warmup_epochs: float | None = None
) -> list[Stage]:
    """The student's stages, fused from the deepest up, learn the teacher's: ``CE + Review``.

    Args:
        pairs: the stages, from input to output.
        embedding: what goes into the classifiers, the deepest stage in the authors' code.
        weight: 1 on ImageNet; 0.6 to 8 by pair on CIFAR-100.
        warmup_epochs: the weight grows from 0 over so many epochs: the first 20 of 240 in the authors' code, by default
            the same share of the course. 0: none.
    """
    warmup = course.epochs / 12 if warmup_epochs is None else warmup_epochs
    if warmup < 0:
        raise UserError(f"review: warmup_epochs must not be negative, it is {warmup}")
    term = weight * Review((*pairs, embedding))
    if warmup:
        term = term * linear(0.0, 1.0, epochs=warmup)
    return [Stage("labels and review", CE() + term, course)]


METHOD = Method(
    "review", review, family="features", year=2021, paper="Chen et al., Distilling knowledge via knowledge review"
)
