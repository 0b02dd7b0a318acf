"""Boxes that were found: right or wrong by an image's objects, and in words.

An answer is as ``Detecting.detections`` makes it: ``boxes`` (N, M, ...), ``scores`` (N, M) and ``classes`` (N, M), the
surest first and -1 for none.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from understudy.precision import exact
from understudy.tasks.average_precision import Bools, Floats, Ints
from understudy.tasks.boxes import BOXES, CLASSES, NONE, Boxes
from understudy.tasks.task import Differing, Values

SCORES = "scores"
SURE = 0.3  # the least score of a box that is shown
PICTURES = 8  # of each kind, in a report
Kind = Literal["student", "teacher", "both"]
Alike = Callable[[Tensor, Tensor], Tensor]  # of boxes (N, M, ...) and (N, L, ...): whether they may be of one object


class Counting(Protocol):
    """A precision that is fed sample by sample."""

    def add(self, boxes: Floats, scores: Floats, classes: Ints, objects: Floats, labels: Ints, ignored: Bools) -> None:
        """The detections of one sample, and its objects."""


def add(precision: Counting, answer: Values, objects: Boxes) -> None:
    """Count a batch, sample by sample."""
    found = [answer[key].detach().cpu().numpy() for key in (BOXES, SCORES, CLASSES)]
    wanted = [value.cpu().numpy() for value in (objects.boxes, objects.classes, objects.ignored)]
    for boxes, scores, classes, theirs, labels, ignored in zip(*found, *wanted, strict=True):
        kept, there = classes >= 0, labels >= 0
        precision.add(
            boxes[kept].astype(np.float64),
            scores[kept].astype(np.float64),
            classes[kept],
            theirs[there].astype(np.float64),
            labels[there],
            ignored[there],
        )


def sure(answer: Values) -> Tensor:
    """(N, M), the classes of the boxes that are sure, and -1."""
    return answer[CLASSES].where(answer[SCORES] >= SURE, NONE)


def share_found(wanted: Values, answer: Values, alike: Alike) -> float:
    """The share of one network's sure boxes that another one has, too; 0 if there are none."""
    theirs, ours = sure(wanted), sure(answer)
    same = alike(wanted[BOXES], answer[BOXES]) & (theirs[:, :, None] == ours[:, None, :])
    there = theirs >= 0
    return exact(same.any(2)[there]).mean().item() if there.any() else 0.0


def faultless(answer: Values, objects: Boxes, alike: Alike) -> Tensor:
    """(N) bool: every object is found by a sure box, and every sure box finds one."""
    classes = sure(answer)
    if not objects.classes.shape[1]:
        return (classes < 0).all(1)
    same = alike(answer[BOXES], objects.boxes.to(answer[BOXES])) & (classes[:, :, None] == objects.classes[:, None, :])
    every = (same.any(1) | ~objects.there).all(1)
    return every & (same.any(2) | (classes < 0)).all(1)


def kinds_of_errors(student: Values, teacher: Values, objects: Boxes, alike: Alike) -> dict[Kind, Tensor]:
    """Which samples are at fault, of the student alone, of the teacher alone, and of both."""
    ours, theirs = (faultless(answer, objects, alike) for answer in (student, teacher))
    return {"student": ~ours & theirs, "teacher": ours & ~theirs, "both": ~ours & ~theirs}


def differing(student: Values, teacher: Values, objects: Boxes, alike: Alike, names: Sequence[str]) -> list[Differing]:
    """Samples of each kind of error, with the boxes of all three."""
    there = objects.classes.where(objects.there, NONE)
    shown = (
        ("target", objects.boxes, there),
        ("student", student[BOXES], sure(student)),
        ("teacher", teacher[BOXES], sure(teacher)),
    )
    found = []
    for kind, some in kinds_of_errors(student, teacher, objects, alike).items():
        for place in some.nonzero().flatten()[:PICTURES].tolist():
            record = {whose: counted(classes[place], names) for whose, _, classes in shown}
            drawn = {whose: boxes[place][classes[place] >= 0].tolist() for whose, boxes, classes in shown}
            found.append(Differing(place, kind, record, drawn))
    return found


def counted(classes: Tensor, names: Sequence[str]) -> str:
    """How many boxes there are of each class.

    >>> import torch
    >>> counted(torch.tensor([0, 0, 1, -1]), ("person", "car"))
    '2 person, 1 car'
    """
    counts = classes[classes >= 0].bincount(minlength=len(names)).tolist()
    return ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True) if count) or "none"


Row = tuple[str, float, list[float]]  # name, score and box


def rows(answer: Values, names: Sequence[str]) -> Iterator[list[Row]]:
    """Of each sample the sure boxes."""
    for boxes, scores, classes in zip(answer[BOXES], answer[SCORES], sure(answer), strict=True):
        there = classes >= 0
        listed = zip(boxes[there].tolist(), scores[there].tolist(), classes[there].tolist(), strict=True)
        yield [(names[number], score, box) for box, score, number in listed]
