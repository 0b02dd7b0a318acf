"""What a run measures of answers and inner values, in the form in which ``result.json`` holds it."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

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
from understudy.measure.verdict import Spread
from understudy.objective.term import Reads
from understudy.recipe.schema import MethodTable
from understudy.settings import Settings
from understudy.stage import Stage
from understudy.tracing import trace

FEW = 5  # classes: up to so many, the first five choices are all there are
COMPARED, BATCH = 512, 32  # samples that inner values are compared on, and how many at once


def of_training(logits: Tensor, labels: Tensor, teacher: Tensor | None) -> dict[str, float]:
    """One network's figures, beside the answers of its teacher where it has one."""
    found = {
        "accuracy": accuracy(logits, labels),
        "loss": loss(logits, labels),
        "calibration_error": calibration(logits, labels).error,
    }
    if logits.shape[1] > FEW:
        found["top5"] = accuracy(logits, labels, top=5)
    if teacher is not None and teacher.shape == logits.shape:
        alike = agreement(logits, teacher)
        found |= {"agreement": alike.top1, "divergence": alike.kl}
    return found


def of_seeds(logits: Sequence[Tensor], labels: Tensor, teachers: Sequence[Tensor]) -> dict[str, Any]:
    """What is shown of all seeds together: each class, and what goes by confidence."""
    pooled, repeated = torch.cat(list(logits)), labels.repeat(len(logits))
    found: dict[str, Any] = {
        "classes": class_accuracies(pooled, repeated),
        "calibration": [asdict(bin) for bin in calibration(pooled, repeated).bins],
    }
    taught = torch.cat(list(teachers)) if len(teachers) == len(logits) else None
    if taught is not None and taught.shape == pooled.shape:
        found["agreement"] = [asdict(bin) for bin in agreement(pooled, taught).by_confidence]
    return found


def spreads(rows: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> dict[str, Any]:
    """Those of the figures that every seed has, each with mean and standard deviation."""
    whole = [key for key in keys if all(row.get(key) is not None for row in rows)]
    return {key: spread([row[key] for row in rows]) for key in whole}


def spread(values: Sequence[float]) -> dict[str, Any]:
    found = Spread(tuple(values))
    return {"values": list(values), "mean": found.mean, "sd": found.sd}


def of_teacher(logits: Sequence[Tensor], labels: Tensor, tables: Mapping[str, MethodTable]) -> dict[str, Any]:
    """The teacher's own figures, and whether it has anything soft to teach."""
    rows = [of_training(found, labels, None) for found in logits]
    told = spreads(rows, list(rows[0])) | of_seeds(logits, labels, [])
    return told | {"softness": asdict(softness(logits[0], temperature(tables)))}


def temperature(tables: Mapping[str, MethodTable]) -> float:
    """The highest at which a method of the run softens the teacher's answers; 1 where none does."""
    found = [1.0]
    for table in tables.values():
        default = methods.find(table.method).settings.get("temperature")
        value = table.settings.get("temperature", default.default if default else None)
        found += [float(value)] if isinstance(value, (int, float)) else []
    return max(found)


def of_errors(student: Tensor, teacher: Tensor, labels: Tensor, ids: Tensor) -> dict[str, Any]:
    """Who errs where, of the student that the run keeps."""
    found = errors(student, teacher, labels, ids)
    return {
        "student": {"count": len(found.student), "ids": list(found.student)},
        "teacher": {"count": len(found.teacher), "ids": list(found.teacher)},
        "both": found.both,
    }


def of_inner_values(
    teacher: nn.Module,
    students: Mapping[str, nn.Module],
    stages: Mapping[str, Sequence[Stage]],
    part: Part,
    settings: Settings,
) -> dict[str, Any] | None:
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
    return {
        "teacher": list(one.teacher),
        "student": list(one.student),
        "samples": one.samples,
        "tapped": {name: pairs for name in maps if (pairs := _tapped(reads[name]))},
        "methods": {name: [list(row) for row in found.values] for name, found in maps.items()},
    }


def _tapped(reads: Sequence[Reads]) -> list[list[str]]:
    """The pairs of taps that a method's terms hold side by side."""
    pairs = [
        pair
        for read in reads
        if len(read.teacher_taps) == len(read.student_taps)
        for pair in zip(read.teacher_taps, read.student_taps, strict=True)
    ]
    return [[str(teacher), str(student)] for teacher, student in dict.fromkeys(pairs)]
