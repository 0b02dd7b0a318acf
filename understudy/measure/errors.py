"""Where the student errs and the teacher is right, and the reverse."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Errors:
    """The ids of the samples on which the two are not of one quality."""

    student: tuple[int, ...]  # the student errs, the teacher is right
    teacher: tuple[int, ...]  # the teacher errs, the student is right
    both: int  # how many both get wrong


def errors(student: Tensor, teacher: Tensor, labels: Tensor, ids: Tensor) -> Errors:
    """By the logits of both on the same samples; ``ids`` are the samples' numbers."""
    ours, theirs = student.argmax(1) == labels, teacher.argmax(1) == labels
    return Errors(
        tuple(ids[~ours & theirs].tolist()), tuple(ids[ours & ~theirs].tolist()), int((~ours & ~theirs).sum())
    )
