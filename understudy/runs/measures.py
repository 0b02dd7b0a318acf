"""The measurements of answers and inner values in the result of a run."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from torch import Tensor, nn

from understudy import methods, randomness
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.data.parts import Part
from understudy.errors import UserError
from understudy.measure import similarity, taps_to_compare
from understudy.objective.term import Reads
from understudy.recipe.schema import MethodTable
from understudy.runs.records import Errors, Measures, Similarity, Teacher, together
from understudy.taps.tracing import trace
from understudy.tasks import Task
from understudy.tasks.class_scores import Softness
from understudy.training.evaluate import Measured
from understudy.training.records import Figures

COMPARED, BATCH = 512, 32  # samples on which inner values are compared, and the batch


def of_training(student: Measured, teacher: Measured | None, task: Task) -> Figures:
    """One network's figures, beside the answers of its teacher where it has one."""
    if teacher is None or task.fits(student.kept, teacher.kept) is not None:
        return student.figures
    return student.figures | task.compared(student.kept, teacher.kept, student.targets)


def of_seeds(students: Sequence[Measured], teachers: Sequence[Measured], task: Task) -> Measures:
    """The measurements over all seeds, as far as the task has them."""
    fitting = [one.kept for one in teachers if task.fits(students[0].kept, one.kept) is None]
    details = task.details([one.kept for one in students], students[0].targets, fitting)
    return Measures.model_validate(details)


def of_teacher(teachers: Sequence[Measured], tables: Mapping[str, MethodTable], task: Task) -> Teacher:
    """The teacher's own figures, and whether its answers are soft."""
    make: Callable[..., Softness] = Softness
    advice = task.advice(teachers[0].kept, temperature(tables))
    return Teacher(
        figures=together([one.figures for one in teachers]),
        measures=of_seeds(teachers, [], task),
        softness=make(**advice) if advice else None,
    )


def temperature(tables: Mapping[str, MethodTable]) -> float:
    """The highest at which a method of the run softens the teacher's answers; 1 where none does."""
    temperatures = [1.0]
    for table in tables.values():
        default = methods.find(table.method).settings.get("temperature")
        value = table.settings.get("temperature", default.default if default else None)
        temperatures += [float(value)] if isinstance(value, (int, float)) else []
    return max(temperatures)


def of_errors(student: Measured, teacher: Measured, ids: Tensor, task: Task) -> Errors | None:
    """The errors of the kept student and its teacher; None where a task has no right and wrong."""
    errors = task.errors(student.kept, teacher.kept, student.targets, ids)
    return Errors.model_validate(errors) if errors else None


def of_inner_values(
    teacher: nn.Module,
    students: Mapping[str, nn.Module],
    stages: Mapping[str, Sequence[Stage]],
    part: Part,
    settings: Settings,
) -> Similarity | None:
    """The similarity of inner values of the teacher and each method's student; None where none can be read."""
    device = settings.torch_device
    some = Part(part.source, randomness.shuffled(0, 0, part.ids, "compared")[:COMPARED])
    batches = [settings.prepare(batch.inputs) for batch in some.in_order(BATCH, device)]
    reads = {name: [stage.objective.reads for stage in each] for name, each in stages.items()}
    every = [read for each in reads.values() for read in each]
    try:
        theirs, ours = trace(teacher, batches[0]), trace(next(iter(students.values())), batches[0])
        taps = {
            "teacher_taps": taps_to_compare(theirs, also=[tap for read in every for tap in read.teacher_taps]),
            "student_taps": taps_to_compare(ours, also=[tap for read in every for tap in read.student_taps]),
        }
    except UserError:
        return None
    if not all(taps.values()):  # a network of a single module has no hidden value
        return None
    maps = {}
    for name, student in students.items():
        with suppress(UserError, ValueError):  # a student that cannot be traced must not cost the result
            maps[name] = similarity(teacher, student, batches, **taps)
    if not maps:
        return None
    one = next(iter(maps.values()))
    return Similarity(
        teacher=list(one.teacher),
        student=list(one.student),
        samples=one.samples,
        tapped={name: pairs for name in maps if (pairs := _tapped(reads[name]))},
        methods={name: [list(row) for row in alike.values] for name, alike in maps.items()},
    )


def _tapped(reads: Sequence[Reads]) -> list[tuple[str, str]]:
    """The pairs of taps that a method's terms compare."""
    pairs = [
        pair
        for read in reads
        if len(read.teacher_taps) == len(read.student_taps)
        for pair in zip(read.teacher_taps, read.student_taps, strict=True)
    ]
    return [(str(teacher), str(student)) for teacher, student in dict.fromkeys(pairs)]
