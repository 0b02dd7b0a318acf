"""Detection: boxes around objects, each of one class, by networks that answer at every place of one or more grids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.bounds import Interval, Share
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.precision import wide
from understudy.tasks import detected
from understudy.tasks.average_precision import Precision, mean_precision
from understudy.tasks.boxes import (
    BOXES,
    CLASSES,
    IGNORED,
    Boxes,
    areas,
    boxes_of,
    coverage,
    giou,
    iou,
    moved,
    responsible,
    suppressed,
)
from understudy.tasks.detecting import PLACES, Detecting, X
from understudy.tasks.meters import MeanLoss
from understudy.tasks.task import Differing, Figure, Meter, Moves, Numbers, Rows, Told, Values

SIDES, CENTRE, FIRST = slice(3, 7), 7, 8  # the columns of a place
ALPHA, GAMMA = 0.25, 2.0  # of the focal loss
FOUND = 0.5  # the IoU from which a box is that of an object


@dataclass(frozen=True)
class Detection(Detecting):
    """Boxes of objects: targets are ``boxes`` (N, M, 4) and ``classes`` (N, M), answers a row for each place.

    Boxes are left, top, right and bottom in pixels; the class is -1 where an image has fewer than M, and boxes that
    are ``ignored`` (N, M) are neither to be found nor wrong to find. ``padded`` makes targets of lists.

    An answer is (N, P, 8 + C), without suppression of duplicates: of each place x, y and stride in pixels, the four
    distances to the sides of its box in strides, the logit of its centreness, and a logit for each class. A place's
    score for a class is the root of the product of both probabilities. The loss is FCOS': focal, GIoU weighted by
    centreness, and binary cross-entropy of centreness, each divided by the places of its own image that answer for a
    box, as in torchvision's RetinaNet; FCOS divides by those of the batch.

    References: Tian et al., "FCOS: fully convolutional one-stage object detection", ICCV 2019; Lin et al., "Focal loss
    for dense object detection", ICCV 2017.

    Args:
        classes: their names in the order of their numbers.
        least_score: boxes with less are left out.
        overlap: boxes of one class that overlap a surer one by more than this IoU are left out.
        most: of the boxes of an image, so many are kept.
        metric: ``"coco"``, AP over ten thresholds of the IoU, and at 0.5; or ``"voc07"``, 11-point AP at 0.5.

    >>> task = Detection(("person",))
    >>> place = torch.tensor([[[8.0, 8.0, 16.0, 0.25, 0.25, 0.25, 0.25, 4.0, 4.0]]])
    >>> task.told({"places": place})[0].text
    'person 98.2 % at 4, 4, 12, 12'
    """

    classes: tuple[str, ...] = ()
    least_score: Share = 0.05
    overlap: Share = 0.6
    most: Annotated[int, Interval(ge=1, le=10_000)] = 100
    metric: Literal["coco", "voc07"] = "coco"

    name: ClassVar[str] = "detection"
    moves_targets: ClassVar[bool] = True
    letterboxed: ClassVar[bool] = True
    columns: ClassVar[int] = FIRST
    logits: ClassVar[int] = CENTRE

    # The data.

    @property
    def figures(self) -> tuple[Figure, ...]:
        if self.metric == "voc07":
            return (Figure("ap50", "AP at 0.5, 11 points", unit="share", chance=0.0),)
        return (
            Figure("ap", "average precision", unit="share", chance=0.0),
            Figure("ap50", "AP at 0.5", unit="share", chance=0.0),
        )

    @property
    def about(self) -> str:
        return f"boxes of {len(self.classes)} classes"

    def luck(self, figure: Figure, samples: int) -> float:
        """Boxes at random hardly find any object."""
        return 0.002

    def check(self, targets: Nested) -> None:
        super().check(targets)
        found = boxes_of(targets)
        empty = ((areas(found.boxes) <= 0) | ~torch.isfinite(found.boxes).all(2)) & (found.classes >= 0)
        if empty.any():
            first, place = (int(number) for number in empty.nonzero()[0])
            raise UserError(
                f"sample {first} has the box {found.boxes[first, place].tolist()}, which has no area; a box is left, "
                "top, right, bottom, in pixels"
            )

    def remarks(self, targets: Nested) -> Sequence[str]:
        remarks, found = [*super().remarks(targets)], boxes_of(targets)
        if found.there.any() and found.boxes[found.there].max() <= 1:
            remarks.append("no box reaches beyond 1, and boxes are in pixels: multiply shares by width and height")
        return remarks

    def outside(self, targets: Nested, size: tuple[int, int]) -> int:
        """Samples with a box of which less than half is in the image."""
        found = boxes_of(targets)
        inside = found.boxes.clamp_min(0).minimum(found.boxes.new_tensor([*size[::-1], *size[::-1]]))
        return int(((areas(inside) < areas(found.boxes) / 2) & (found.classes >= 0)).any(1).sum())

    def moved(self, targets: Nested, moves: Moves) -> Nested:
        """Boxes move with the pixels and are cut at the border; one of which less than a tenth is left is gone."""
        found = moved(boxes_of(targets), moves)
        return {BOXES: found.boxes, CLASSES: found.classes, IGNORED: found.ignored}

    # Answers.

    @staticmethod
    def objects(targets: Nested) -> Boxes:
        return boxes_of(targets)

    def suppressed(self, boxes: Tensor, classes: Tensor) -> Tensor:
        return suppressed(boxes, classes, self.overlap)

    def alike(self, boxes: Tensor, others: Tensor) -> Tensor:
        return iou(boxes, others) >= FOUND

    def boxes(self, answer: Values) -> Tensor:
        """The box of each place, (N, P, 4)."""
        places = wide(answer[PLACES])
        x, y, stride = places[..., X].unbind(2)
        left, top, right, bottom = (places[..., SIDES] * stride.unsqueeze(2)).unbind(2)
        return torch.stack((x - left, y - top, x + right, y + bottom), 2)

    def scores(self, answer: Values) -> Tensor:
        """The score of each class at each place, (N, P, C)."""
        places = wide(answer[PLACES])
        return (places[..., FIRST:].sigmoid() * places[..., CENTRE, None].sigmoid()).sqrt()

    def loss(self, answer: Values, targets: Nested, *, smoothing: float = 0.0) -> Tensor:
        """Focal loss, GIoU and centreness, the sum of all three; one value per sample."""
        if smoothing:
            raise UserError(f"task {self.name!r} has no labels that could be smoothed: leave label_smoothing out")
        objects, places = boxes_of(targets), wide(answer[PLACES])
        number, left_out = responsible(places[..., X], objects)
        answers = number >= 0
        wanted = self._wanted(objects, number)
        count = answers.sum(1).clamp_min(1).to(places.dtype)
        centred = _centreness(places[..., X], wanted).where(answers, 0.0)
        labels = self.labels(objects, number)
        focal = (_focal(places[..., FIRST:], labels).sum(2) * ~left_out).sum(1) / count
        apart = 1 - giou(self.boxes(answer), wanted.to(places.dtype))
        boxes = (apart * centred).sum(1) / centred.sum(1).clamp_min(1e-6)
        centre = F.binary_cross_entropy_with_logits(places[..., CENTRE], centred, reduction="none")
        return self.nan_without_label(focal + boxes + (centre * answers).sum(1) / count, targets)

    def wanted(self, answer: Values, objects: Boxes) -> tuple[Tensor, Tensor]:
        """The box for which each place of an answer is responsible, (N, P, 4), and whether there is one, (N, P)."""
        number, _ = responsible(wide(answer[PLACES][..., X]), objects)
        return self._wanted(objects, number).to(wide(answer[PLACES]).dtype), number >= 0

    def _wanted(self, objects: Boxes, number: Tensor) -> Tensor:
        """(N, P, 4), the box for which each place answers; any for those that answer for none."""
        if not objects.boxes.shape[1]:
            return objects.boxes.new_zeros(*number.shape, 4)
        return objects.boxes.gather(1, number.clamp_min(0)[..., None].expand(-1, -1, 4))

    def rows(self, answer: Values, targets: Nested | None) -> Rows:
        """Two options for each place and class, ``(0, z)``: no such object, and one.

        The places that answer for a box have half of a sample's weight together, and all others the other half.
        """
        logits = wide(answer[PLACES][..., FIRST:]).flatten(1)
        scores = torch.stack((torch.zeros_like(logits), logits), -1)
        if targets is None:
            return Rows(scores)
        objects = boxes_of(targets)
        number, left_out = responsible(wide(answer[PLACES][..., X]), objects)
        answers = number >= 0
        others = ~answers & ~left_out
        shares = [kind / kind.sum(1, keepdim=True).clamp_min(1) for kind in (answers, others)]
        weights = (shares[0] + shares[1]).to(scores.dtype)
        labels = self.labels(objects, number).flatten(1).long()
        return Rows(scores, labels, weights.repeat_interleave(len(self.classes), 1))

    def numbers(self, answer: Values, targets: Nested | None) -> Numbers:
        """The corners of the boxes, in units of the mean box of an image; those of places that answer for a box."""
        values = self.boxes(answer).flatten(1)
        if targets is None:
            return Numbers(values)
        objects = boxes_of(targets)
        wanted, answers = self.wanted(answer, objects)
        sizes = areas(objects.boxes).to(values.dtype) * objects.there
        unit = (sizes.sum(1) / objects.there.sum(1).clamp_min(1)).sqrt().clamp_min(1.0).unsqueeze(1)
        weights = answers.to(values.dtype).repeat_interleave(4, 1)
        return Numbers(values / unit, weights, wanted.flatten(1) / unit)

    def places(self, targets: Nested, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """The share of each place of the map that boxes cover."""
        return coverage(boxes_of(targets), grid, size)

    # Evaluation.

    def meter(self) -> Meter:
        return BoxMeter(self)

    def details(self, answers: Sequence[Values], targets: Nested, taught: Sequence[Values]) -> dict[str, object]:
        """``options``: the first figure of each class, all seeds together."""
        precision = self.precision()
        for answer in answers:
            detected.add(precision, answer, boxes_of(targets))
        values = precision.of_classes().mean(1).tolist()
        return {"options": [None if value != value else value for value in values]}

    def precision(self) -> Precision:
        return Precision(len(self.classes), eleven=self.metric == "voc07")

    def differing(self, student: Values, teacher: Values, targets: Nested) -> Sequence[Differing]:
        return detected.differing(student, teacher, boxes_of(targets), self.alike, self.classes)

    def magnitude(self, targets: Nested) -> float:
        boxes = boxes_of(targets).boxes
        return max(1.0, boxes.max().item()) if boxes.numel() else 1.0

    def told(self, answer: Values, *, top: int = 3) -> list[Told]:
        """The boxes whose score is at least 0.3, in the pixels of the network's inputs."""
        return [_told(rows) for rows in detected.rows(self.detections(answer), self.classes)]

    def located(self, told: Told, scale: tuple[float, float], offset: tuple[float, float]) -> Told:
        """The same boxes in the pixels of the image file."""
        boxes = told.record["boxes"]
        assert isinstance(boxes, list)
        moved = [[(side - offset[axis % 2]) / scale[axis % 2] for axis, side in enumerate(one["box"])] for one in boxes]
        return _told([(one["label"], one["score"], box) for one, box in zip(boxes, moved, strict=True)])


def _told(rows: Sequence[detected.Row]) -> Told:
    lines = [f"{name} {100 * score:.1f} % at {', '.join(f'{side:.0f}' for side in box)}" for name, score, box in rows]
    record = [{"label": name, "score": score, "box": box} for name, score, box in rows]
    return Told("; ".join(lines) or "nothing", {"boxes": record})


class BoxMeter:
    """Average precision and the mean loss; it holds the scores of the boxes and which of them are right."""

    def __init__(self, task: Detection):
        self.task, self.loss = task, MeanLoss(task)
        self.precision = task.precision()

    def update(self, answer: Values, targets: Nested) -> None:
        detected.add(self.precision, self.task.detections(answer), boxes_of(targets))
        self.loss.update(answer, targets)

    def compute(self) -> dict[str, float]:
        loss, precisions = self.loss.compute(), self.precision.of_classes()
        figures = {"ap50": mean_precision(precisions[:, 0])}
        if self.task.metric == "coco":
            figures["ap"] = mean_precision(precisions)
        return {**figures, **loss}


def _focal(logits: Tensor, labels: Tensor) -> Tensor:
    """The focal loss of each logit."""
    wanted = labels.to(logits.dtype)
    share = logits.sigmoid()
    wrong = torch.where(labels, 1 - share, share)
    weight = torch.where(labels, ALPHA, 1 - ALPHA) * wrong**GAMMA
    return weight * F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")


def _centreness(places: Tensor, boxes: Tensor) -> Tensor:
    """(N, P): 1 in the middle of a box, 0 at its sides."""
    x, y, _ = places.unbind(2)
    left, top, right, bottom = boxes.to(places.dtype).unbind(2)
    across, down = torch.stack((x - left, right - x), 2), torch.stack((y - top, bottom - y), 2)
    ratios = [pair.amin(2).clamp_min(0) / pair.amax(2).clamp_min(1e-6) for pair in (across, down)]
    return (ratios[0] * ratios[1]).sqrt()
