"""What an objective makes of readings and answers: detached, in another precision, as rows of class scores."""

from dataclasses import replace
from functools import reduce

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.objective.term import Reading, without_targets
from understudy.taps import Answer
from understudy.tasks.classification import LOGITS
from understudy.tasks.task import Rows


def detached(reading: Reading) -> Reading:
    """The reading without any graph."""
    return without_teachers_graph(replace(reading, student=reading.student.detached()))


def without_teachers_graph(reading: Reading) -> Reading:
    """The reading, with the teachers' answers detached."""
    return replace(reading, teachers=tuple(teacher.detached() for teacher in reading.teachers))


def with_gradient(value: Tensor) -> Tensor:
    """Values that a gradient can be asked for; token numbers cannot."""
    return value if value.requires_grad or not value.is_floating_point() else value.detach().requires_grad_()


def requiring_gradient(inputs: Nested) -> Tensor:
    """The inputs of a batch, as a leaf of which gradients can be taken."""
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        raise UserError(f"a term asks for gradients by the inputs: one tensor of numbers, not {type(inputs).__name__}")
    return inputs.detach().requires_grad_()


def widened(reading: Reading) -> Reading:
    """The reading, with the teachers' answers in float32 at least."""
    return replace(reading, teachers=tuple(no_less_precise(teacher) for teacher in reading.teachers))


def common_dtype(student: Answer, teacher: Answer) -> torch.dtype | None:
    """The student's dtype, and float32 at least; None if the values of both networks are in float32."""
    own, others = (
        {value.dtype for value in answer.tensors().values() if value.is_floating_point()}
        for answer in (student, teacher)
    )
    return None if own | others <= {torch.float32} else reduce(torch.promote_types, own, torch.float32)


def no_less_precise(answer: Answer) -> Answer:
    """A teacher's answer in float32 at least, unless autocast is enabled: its forward pass may have had an autocast."""
    if answer.device is None or torch.is_autocast_enabled(answer.device.type):
        return answer
    return answer.widened()


def in_rows(reading: Reading) -> Reading:
    """The batch as rows of class scores."""
    known = None if without_targets(reading.targets) else reading.targets
    student, rows = rows_of(reading.student, known)
    teachers = tuple(rows_of(teacher, known)[0] for teacher in reading.teachers)
    task = reading.task
    samples = tuple(task.rows(task.answer(sample), known).flat for sample in reading.teacher_samples)
    labels = rows.flat_labels
    targets = student.logits.new_zeros(len(student.logits), 0) if labels is None else labels
    ids = reading.ids if task.rows_per_sample == "one" else None
    return replace(
        reading, targets=targets, student=student, teachers=teachers, teacher_samples=samples, ids=ids, rows=rows
    )


def rows_of(answer: Answer, targets: Nested | None) -> tuple[Answer, Rows]:
    """The answer with rows of class scores in place of its output; an answer without output has none."""
    if answer.output is None:
        return answer, Rows(torch.zeros(0, 1, 1))
    rows = answer.task.rows(answer.named, targets)
    return Answer({LOGITS: rows.flat}, dict(answer)), rows
