"""Detection in images and in space: what both share, whose answers are a row for each place of a map."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from math import nan
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.precision import wide
from understudy.tasks import detected
from understudy.tasks.boxes import BOXES, CLASSES, IGNORED, NONE, UNSEEN, Boxes, whole
from understudy.tasks.detected import SCORES
from understudy.tasks.task import Figure, Task, Values, only

PLACES = "places"  # the value of an answer: (N, P, columns + C)
X = slice(0, 3)  # the columns of a place: its x, y and stride
CANDIDATES = 1000  # of a sample, before suppression


class Detecting(Task):
    """Boxes of objects, from a row for each place of a map: by the fields ``classes``, ``least_score`` and ``most``.

    A row is the place's x, y and stride, numbers that say where its box is, and a logit for each class.

    >>> issubclass(understudy.tasks.Detection, Detecting)
    True
    """

    classes: tuple[str, ...]
    least_score: float
    most: int

    rows_per_sample: ClassVar[Literal["one", "many"] | None] = "many"
    values: ClassVar[tuple[str, ...]] = (PLACES,)
    targets_are_numbers: ClassVar[bool] = True
    dense: ClassVar[bool] = True
    likeness: ClassVar[tuple[Figure, ...]] = (Figure("overlap", "of the teacher's boxes found", unit="share"),)
    columns: ClassVar[int]  # before the logits of the classes
    logits: ClassVar[int]  # the first column that is a logit

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> Self:
        if names is None:
            classes = cls.objects(targets).classes
            names = int(classes.max()) + 1 if classes.numel() else 0
            if not names:
                raise UserError("no sample has a box, so the classes are unknown: name them (classes=...)")
        make: Callable[..., Self] = cls
        return make(
            **{"classes": tuple(map(str, range(names))) if isinstance(names, int) else tuple(names), **settings}
        )

    @staticmethod
    @abstractmethod
    def objects(targets: Nested) -> Boxes:
        """The targets of a batch."""

    @abstractmethod
    def boxes(self, answer: Values) -> Tensor:
        """The box of each place, (N, P, ...)."""

    @abstractmethod
    def scores(self, answer: Values) -> Tensor:
        """The score of each class at each place, (N, P, C)."""

    @abstractmethod
    def suppressed(self, boxes: Tensor, classes: Tensor) -> Tensor:
        """Which boxes (N, M, ...), of each sample the surest first, are of an object that a surer one has: (N, M)."""

    @abstractmethod
    def alike(self, boxes: Tensor, others: Tensor) -> Tensor:
        """(N, M, L) bool, whether boxes (N, M, ...) and others (N, L, ...) may be of one object."""

    @property
    def names(self) -> tuple[str, ...]:
        return self.classes

    def converted(self, targets: Nested) -> Nested:
        found = self.objects(targets)
        classes = whole(found.classes)
        boxes = found.boxes.float().masked_fill((classes == NONE)[..., None], 0.0)  # what pads may be anything
        return {BOXES: boxes, CLASSES: classes, IGNORED: found.ignored}

    def check(self, targets: Nested) -> None:
        found, count = self.objects(targets), len(self.classes)
        wrong = ((found.classes < NONE) | (found.classes >= count)).any(1).nonzero().flatten()
        if len(wrong):
            first = int(wrong[0])
            raise UserError(
                f"sample {first} has objects of classes {sorted(set(found.classes[first].tolist()) - {NONE})[:5]}, but "
                f"the {count} classes are numbered 0 to {count - 1} (torchvision's detectors count from 1)"
            )

    def without_labels(self, targets: Nested, count: int) -> Nested:
        found = self.objects(targets)
        most, numbers = found.boxes.shape[1:]
        return {
            BOXES: torch.zeros(count, most, numbers),
            CLASSES: torch.full((count, most), UNSEEN),
            IGNORED: torch.zeros(count, most, dtype=torch.bool),
        }

    def has_label(self, targets: Nested) -> Tensor:
        return ~(self.objects(targets).classes == UNSEEN).any(1)

    def nan_without_label(self, values: Tensor, targets: Nested) -> Tensor:
        """A loss of each sample, NaN where it has no label, as in tasks whose targets are numbers."""
        return values.masked_fill(~self.has_label(targets), nan)

    def as_targets(self, answer: Values, targets: Nested | None = None) -> Nested:
        """The boxes that are sure."""
        found = self.detections(answer)
        classes = detected.sure(found)
        boxes = found[BOXES].masked_fill((classes == NONE)[..., None], 0.0)
        return {BOXES: boxes, CLASSES: classes, IGNORED: torch.zeros_like(classes, dtype=torch.bool)}

    def completed_by(self, targets: Nested, answer: Values) -> Nested:
        """The targets, and the sure boxes of the answer in the place of missing ones; so many columns as both need."""
        given, found = self.objects(targets), self.objects(self.as_targets(answer))
        known, more = self.has_label(targets).unsqueeze(1), found.classes.shape[1] - given.classes.shape[1]
        ours, theirs = (0, max(more, 0)), (0, max(-more, 0))
        boxes = F.pad(given.boxes, (0, 0, *ours)), F.pad(found.boxes.to(given.boxes.dtype), (0, 0, *theirs))
        classes = F.pad(given.classes, ours, value=NONE), F.pad(found.classes, theirs, value=NONE)
        ignored = F.pad(given.ignored, ours), F.pad(found.ignored, theirs)
        return {
            BOXES: torch.where(known.unsqueeze(2), *boxes),
            CLASSES: torch.where(known, *classes),
            IGNORED: torch.where(known, *ignored),
        }

    def remarks(self, targets: Nested) -> Sequence[str]:
        found = self.objects(targets)
        counts = found.classes[found.there].bincount(minlength=len(self.classes))
        without = [self.classes[number] for number in (counts == 0).nonzero().flatten().tolist()]
        return [f"no training sample has an object of class {', '.join(without[:5])}"] if without else []

    # Answers.

    def answer(self, output: object) -> Values:
        return {PLACES: only(output, PLACES)}

    def misfit(self, answer: Values) -> str | None:
        shape = tuple(answer[PLACES].shape[1:])
        if len(shape) == 2 and shape[1] == self.columns + len(self.classes):
            return None
        return (
            f"it answers with shape {shape}, and must with (places, {self.columns} + {len(self.classes)}): {self.about}"
        )

    def fits(self, student: Values, teacher: Values) -> str | None:
        if PLACES not in student or PLACES not in teacher:
            return super().fits(student, teacher)
        (ours, columns), (theirs, others) = (tuple(answer[PLACES].shape[1:]) for answer in (student, teacher))
        if columns != others:
            return (
                f"the student answers with {columns - self.columns} classes, the teacher with {others - self.columns}"
            )
        if ours != theirs:
            return (
                f"the student answers at {ours} places, the teacher at {theirs}, and scores and boxes are compared "
                "place by place: give both the same strides, or take hints on their features"
            )
        places, elsewhere = (wide(answer[PLACES][..., X]) for answer in (student, teacher))
        if not places.is_meta and ((places - elsewhere).abs() > places[..., 2:] / 4).any():
            return (
                f"both answer at {ours} places, but at others, and scores and boxes are compared place by place: give "
                "both the same grids or anchors, or take hints on their features"
            )
        return None

    def together(self, answers: Sequence[Values]) -> Values:
        """The means of the numbers and of the probabilities, place by place; a single answer as it is."""
        if len(answers) == 1:
            return answers[0]
        every = torch.stack([wide(answer[PLACES]) for answer in answers])
        shares = every[..., self.logits :].sigmoid().mean(0).logit(eps=1e-6)
        return {PLACES: torch.cat((every[..., : self.logits].mean(0), shares), 2)}

    def detections(self, answer: Values) -> Values:
        """The boxes that are kept of an answer, surest first: ``boxes``, ``scores`` and ``classes``, -1 for none."""
        boxes, scores = self.boxes(answer), self.scores(answer)
        known = torch.isfinite(boxes).all(2, keepdim=True) & ~scores.isnan()
        scores = scores.where(known, -1.0).flatten(1)  # less than any least_score
        count, numbers = len(self.classes), boxes.shape[2]
        best, which = scores.topk(min(CANDIDATES, scores.shape[1]), dim=1)
        places, classes = which.div(count, rounding_mode="floor"), which % count
        found = boxes.gather(1, places[..., None].expand(-1, -1, numbers))
        gone = self.suppressed(found, classes) | (best < self.least_score)
        order = gone.to(torch.uint8).argsort(dim=1, stable=True)[:, : self.most]
        best, classes, gone = (some.gather(1, order) for some in (best, classes, gone))
        found = found.gather(1, order[..., None].expand(-1, -1, numbers))
        kept = {
            BOXES: found.masked_fill(gone[..., None], 0.0),
            SCORES: best.masked_fill(gone, 0.0),
            CLASSES: classes.masked_fill(gone, NONE),
        }
        missing = self.most - order.shape[1]
        if missing <= 0:
            return kept
        return {
            BOXES: F.pad(kept[BOXES], (0, 0, 0, missing)),
            SCORES: F.pad(kept[SCORES], (0, missing)),
            CLASSES: F.pad(kept[CLASSES], (0, missing), value=NONE),
        }

    def labels(self, objects: Boxes, number: Tensor) -> Tensor:
        """(N, P, C) bool, the class of the box, by its number or -1, for which each place answers."""
        if not objects.classes.shape[1]:
            return torch.zeros(*number.shape, len(self.classes), dtype=torch.bool, device=number.device)
        labels = objects.classes.gather(1, number.clamp_min(0)).where(number >= 0, NONE)
        return labels[..., None] == torch.arange(len(self.classes), device=number.device)

    # Evaluation.

    def kept(self, answer: Values, targets: Nested) -> Values:
        """The boxes after suppression."""
        return self.detections(answer)

    def changed(self, before: Values, after: Values) -> str | None:
        """As by default, of what a network computes: where its places are is known."""
        pairs = [{key: _computed(key, value) for key, value in answer.items()} for answer in (before, after)]
        return super().changed(*pairs)

    def compared(self, student: Values, teacher: Values, targets: Nested) -> dict[str, float]:
        return {"overlap": detected.share_found(teacher, student, self.alike)}

    def errors(self, student: Values, teacher: Values, targets: Nested, ids: Tensor) -> dict[str, object]:
        """The samples in which a sure box is wrong or an object is not found."""
        kinds = detected.kinds_of_errors(student, teacher, self.objects(targets), self.alike)
        listed = {kind: {"count": int(some.sum()), "ids": ids[some].tolist()} for kind, some in kinds.items()}
        return {"student": listed["student"], "teacher": listed["teacher"], "both": listed["both"]["count"]}

    def commonest(self, answer: Values) -> float | None:
        """The share of samples without any box."""
        return (answer[CLASSES] < 0).all(1).float().mean().item() if len(answer[CLASSES]) else None


def _computed(name: str, value: Tensor) -> Tensor:
    return value[..., 3:] if name == PLACES else value
