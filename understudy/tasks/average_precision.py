"""Average precision of detections: COCO's, the mean over ten thresholds of the IoU, and VOC 2007's with 11 points.

Both are the published protocols, without their tools: COCO's is tested against faster-coco-eval and pycocotools on
random boxes, and VOC's against its development kit's rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)  # of the IoU
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
ELEVEN: Floats = np.linspace(0.0, 1.0, 11)
MOST = 100  # detections of one class in one image


@dataclass
class _Found:
    """All detections of one class: scores, and for each threshold whether each one is right or does not count."""

    scores: list[Floats] = field(default_factory=list)
    right: list[Bools] = field(default_factory=list)
    left_out: list[Bools] = field(default_factory=list)
    objects: int = 0


class Precision:
    """Precisions of the classes, fed image by image; it holds a score and twenty bits of each detection.

    Args:
        classes: their number.
        eleven: VOC 2007's protocol: one threshold of 0.5, which must be exceeded, the best box of an image whether it
            is taken or not, and precision at 11 recalls. Otherwise COCO's.

    >>> precision = Precision(1)
    >>> box = np.array([[0.0, 0.0, 4.0, 4.0]])
    >>> precision.add(box, np.array([0.9]), np.array([0]), box, np.array([0]), np.array([False]))
    >>> precision.of_classes()
    array([[1., 1., 1., 1., 1., 1., 1., 1., 1., 1.]])
    """

    def __init__(self, classes: int, *, eleven: bool = False):
        self.eleven, self.found = eleven, [_Found() for _ in range(classes)]
        self.thresholds = THRESHOLDS[:1] if eleven else THRESHOLDS

    def add(self, boxes: Floats, scores: Floats, classes: Ints, objects: Floats, labels: Ints, ignored: Bools) -> None:
        """One image: its detections, (D, 4), (D) and (D), and its objects, (G, 4), (G) and (G).

        ``ignored`` are objects that are neither to be found nor wrong to find: COCO's crowds, VOC's difficult ones.
        """
        for number in np.union1d(classes, labels).tolist():
            mine, theirs = classes == number, labels == number
            order = np.argsort(-scores[mine], kind="stable")[:MOST]
            crowds = ignored[theirs]
            found = self.found[number]
            found.objects += int((~crowds).sum())
            if not len(order):
                continue
            ious = _ious(boxes[mine][order], objects[theirs], crowds if not self.eleven else np.zeros_like(crowds))
            right, left_out = (_voc if self.eleven else _coco)(ious, crowds, self.thresholds)
            found.scores.append(scores[mine][order])
            found.right.append(right)
            found.left_out.append(left_out)

    def of_classes(self) -> Floats:
        """(C, T): the average precision of each class at each threshold; NaN for a class without objects."""
        recalls = ELEVEN if self.eleven else RECALLS
        return np.array([_average(found, len(self.thresholds), recalls) for found in self.found])


def mean_precision(values: Floats) -> float:
    """The mean over the classes with objects; 0 if there are none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else 0.0


def _average(found: _Found, thresholds: int, recalls: Floats) -> Floats:
    if not found.objects:
        return np.full(thresholds, np.nan)
    if not found.scores:
        return np.zeros(thresholds)
    order = np.argsort(-np.concatenate(found.scores), kind="stable")
    right, left_out = (np.concatenate(parts, axis=1)[:, order] for parts in (found.right, found.left_out))
    hits = np.cumsum(right & ~left_out, axis=1, dtype=np.float64)
    misses = np.cumsum(~right & ~left_out, axis=1, dtype=np.float64)
    averages = []
    for hit, missed in zip(hits, misses, strict=True):
        precision = np.append(hit / np.maximum(hit + missed, np.finfo(np.float64).eps), 0.0)
        highest = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall, or a higher one
        averages.append(highest[np.searchsorted(hit / found.objects, recalls, side="left")].mean())
    return np.array(averages)


def _coco(ious: Floats, crowds: Bools, thresholds: Floats) -> tuple[Bools, Bools]:
    """(T, D): whether each detection, the surest first, gets an object, and whether that is one which is ignored.

    It gets the free object that it overlaps most; an ignored one only if there is no other, as many as will have it.
    """
    limits = np.minimum(thresholds, 1 - 1e-10)[:, None]
    right = np.zeros((len(thresholds), len(ious)), dtype=bool)
    left_out = np.zeros_like(right)
    free = np.ones((len(thresholds), ious.shape[1]), dtype=bool)
    every = np.arange(len(thresholds))
    for number in _near(ious, float(limits[0, 0])):
        fits = (free | crowds) & (ious[number] >= limits)
        wanted = np.where((fits & ~crowds).any(1, keepdims=True), fits & ~crowds, fits)
        overlap = np.where(wanted, ious[number], -1.0)
        chosen = overlap.shape[1] - 1 - overlap[:, ::-1].argmax(1)  # the last of equal ones
        taken = wanted.any(1)
        free[every[taken], chosen[taken]] = False
        right[:, number], left_out[:, number] = taken, taken & crowds[chosen]
    return right, left_out


def _voc(ious: Floats, difficult: Bools, thresholds: Floats) -> tuple[Bools, Bools]:
    """The same by VOC's rules: the object that it overlaps most is its own, and is found only once."""
    right = np.zeros((1, len(ious)), dtype=bool)
    left_out = np.zeros_like(right)
    free = np.ones(ious.shape[1], dtype=bool)
    for number in _near(ious, float(thresholds[0])):
        best = int(ious[number].argmax())
        if ious[number, best] > thresholds[0]:
            left_out[0, number] = difficult[best]
            right[0, number] = free[best] and not difficult[best]
            free[best] &= bool(difficult[best])
    return right, left_out


def _near(ious: Floats, least: float) -> Iterator[int]:
    """The detections that overlap any object as much."""
    if ious.shape[1]:
        yield from np.flatnonzero(ious.max(1) >= least).tolist()


def _ious(boxes: Floats, objects: Floats, crowds: Bools) -> Floats:
    """(D, G); with a crowd, the share of the detection that lies in it."""
    low = np.maximum(boxes[:, None, :2], objects[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], objects[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    sizes, others = (np.clip(some[:, 2:] - some[:, :2], 0, None).prod(1) for some in (boxes, objects))
    union = np.where(crowds[None], sizes[:, None], sizes[:, None] + others[None] - shared)
    result: Floats = shared / np.maximum(union, np.finfo(np.float64).tiny)
    return result
