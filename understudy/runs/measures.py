"""What a run measures of answers and inner values, as records of its result."""

from collections.abc import Mapping, Sequence
from contextlib import suppress

import torch
from torch import Tensor, nn

from understudy import methods, randomness
from understudy.data.parts import Part
from understudy.errors import UserError
from understudy.measure import (
    accuracy,
    agreement,
    calibration,
    class_accuracies,
    errors,
    loss,
    similarity,
    softness,
    taps_to_compare,
)
from understudy.objective.term import Reads
from understudy.recipe.schema import MethodTable
from understudy.runs.records import Errors, Measures, Similarity, Teacher, Wrong, together
from understudy.settings import Settings
from understudy.stage import Stage
from understudy.tracing import trace
from understudy.training.records import Figures

FEW = 5  # classes: up to so many, the first five choices are all there are
COMPARED, BATCH = 512, 32  # samples that inner values are compared on, and how many at once


def of_training(logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Figures:
    """One network's figures, beside the answers of its teacher where it has one."""
    figures = {
        "accuracy": accuracy(logits, labels),
        "loss": loss(logits, labels),
        "calibration_error": calibration(logits, labels).error,
    }
    if logits.shape[1] > FEW:
        figures["top5"] = accuracy(logits, labels, top=5)
    if teacher is not None and teacher.shape == logits.shape:
        alike = agreement(logits, teacher)
        figures |= {"agreement": alike.top1, "divergence": alike.kl}
    return figures


def constant(logits: Tensor) -> float:
    """The share of samples that have the most frequent answer."""
    return logits.argmax(1).bincount().max().item() / len(logits)


def of_seeds(logits: Sequence[Tensor], labels: Tensor, teachers: Sequence[Tensor]) -> Measures:
    """What is shown of all seeds together: each class, and what goes by confidence."""
    pooled, repeated = torch.cat(list(logits)), labels.repeat(len(logits))
    taught = torch.cat(list(teachers)) if len(teachers) == len(logits) else None
    alike = agreement(pooled, taught).by_confidence if taught is not None and taught.shape == pooled.shape else ()
    return Measures(
        options=list(class_accuracies(pooled, repeated)),
        calibration=list(calibration(pooled, repeated).bins),
        agreement=list(alike),
    )


def of_teacher(logits: Sequence[Tensor], labels: Tensor, tables: Mapping[str, MethodTable]) -> Teacher:
    """The teacher's own figures, and whether it has anything soft to teach."""
    return Teacher(
        figures=together([of_training(answer, labels, None) for answer in logits]),
        measures=of_seeds(logits, labels, []),
        softness=softness(logits[0], temperature(tables)),
    )


def temperature(tables: Mapping[str, MethodTable]) -> float:
    """The highest at which a method of the run softens the teacher's answers; 1 where none does."""
    found = [1.0]
    for table in tables.values():
        default = methods.find(table.method).settings.get("temperature")
        value = table.settings.get("temperature", default.default if default else None)
        found += [float(value)] if isinstance(value, (int, float)) else []
    return max(found)


def of_errors(student: Tensor, teacher: Tensor, labels: Tensor, ids: Tensor) -> Errors:
    """Who errs where, of the student that the run keeps."""
    found = errors(student, teacher, labels, ids)
    return Errors(
        student=Wrong(count=len(found.student), ids=list(found.student)),
        teacher=Wrong(count=len(found.teacher), ids=list(found.teacher)),
        both=found.both,
    )


def of_inner_values(
    teacher: nn.Module,
    students: Mapping[str, nn.Module],
    stages: Mapping[str, Sequence[Stage]],
    part: Part,
    settings: Settings,
) -> Similarity | None:
    """How alike the teacher's inner values are to those of each method's student; None where none can be read."""
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
    maps = {}
    for name, student in students.items():
        with suppress(UserError, ValueError):  # a student that cannot be looked into is no reason to lose a result
            maps[name] = similarity(teacher, student, batches, **taps)
    if not maps:
        return None
    one = next(iter(maps.values()))
    return Similarity(
        teacher=list(one.teacher),
        student=list(one.student),
        samples=one.samples,
        tapped={name: pairs for name in maps if (pairs := _tapped(reads[name]))},
        methods={name: [list(row) for row in found.values] for name, found in maps.items()},
    )


def _tapped(reads: Sequence[Reads]) -> list[tuple[str, str]]:
    """The pairs of taps that a method's terms hold side by side."""
    pairs = [
        pair
        for read in reads
        if len(read.teacher_taps) == len(read.student_taps)
        for pair in zip(read.teacher_taps, read.student_taps, strict=True)
    ]
    return [(str(teacher), str(student)) for teacher, student in dict.fromkeys(pairs)]
