"""One course as two, for methods of two stages."""

from dataclasses import replace

from understudy.errors import UserError
from understudy.training.course import Course

SHARE = 1 / 5  # of the epochs, where nobody says how long the first stage is


def split(course: Course, first: int | None, *, setting: str, lr: float | None = None) -> tuple[Course, Course]:
    """Two courses that spend the epochs of one, so that a method of two stages costs what others cost.

    No stage is shorter than an epoch: a course of a single one becomes two, which the pre-flight and the result say.

    Args:
        first: epochs of the first stage; by default a fifth of them all.
        setting: what the user calls ``first``.
        lr: the learning rate of the first stage, where it differs.
    """
    if first is not None and not 0 < first < course.epochs:
        raise UserError(f"{setting} = {first} must be above 0 and below the {course.epochs} epochs of the course")
    epochs = max(1, round(course.epochs * SHARE)) if first is None else first
    before = replace(course, epochs=epochs)
    if lr is not None:
        before = replace(before, optimizer=replace(course.optimizer, lr=lr))
    return before, replace(course, epochs=max(1, course.epochs - epochs))
