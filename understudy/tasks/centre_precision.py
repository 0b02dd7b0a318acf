"""nuScenes' figures of boxes in space: average precision by the distance of centres, and the errors of what is found.

By the development kit's rules, without its packages (``nuscenes.eval.detection`` 1.2, algo.py, data_classes.py and
configs/detection_cvpr_2019.json): a detection, the surest first, gets the nearest object of its class that is still
free, if it is nearer than 0.5, 1, 2 or 4 m; precision counts from a recall and a precision of 10 % on, as the mean over
these distances; errors are the means of those found within 2 m, averaged over the recalls from 10 % to the highest. A
class without objects has a precision of 0 and errors of 1. Equal figures are tested against the development kit's.

Reference: Caesar et al., "nuScenes: a multimodal dataset for autonomous driving", CVPR 2020.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from understudy.tasks.average_precision import Bools, Floats, Ints
from understudy.tasks.space import HEADING, SIZES, VELOCITY

DISTANCES: Floats = np.array([0.5, 1.0, 2.0, 4.0])  # metres
OF_ERRORS = 2  # which of them: errors are of what is found within 2 m
LEAST = 0.1  # recall and precision from which they count
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
FIRST = round(100 * LEAST) + 1  # of these
ERRORS = ("translation", "scale", "orientation", "velocity")
WEIGHT = 5  # of the mean average precision in the detection score, beside one of each of five errors


@dataclass
class _Found:
    """All detections of one class: scores, for each distance whether one is right or does not count, and errors."""

    scores: list[Floats] = field(default_factory=list)
    right: list[Bools] = field(default_factory=list)
    left_out: list[Bools] = field(default_factory=list)
    errors: list[Floats] = field(default_factory=list)
    objects: int = 0


class CentrePrecision:
    """Precisions and errors of the classes, fed sample by sample.

    Args:
        names: of the classes.
        symmetric: classes whose front and back are alike.
        without_heading, without_velocity: classes that have none.

    >>> precision = CentrePrecision(["car"])
    >>> box = np.array([[0.0, 0.0, 0.0, 4.0, 2.0, 2.0, 0.0, 0.0, 0.0]])
    >>> precision.add(box, np.array([0.9]), np.array([0]), box, np.array([0]), np.array([False]))
    >>> precision.of_classes()
    array([[1., 1., 1., 1.]])
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        symmetric: Sequence[str] = (),
        without_heading: Sequence[str] = (),
        without_velocity: Sequence[str] = (),
    ):
        self.found = [_Found() for _ in names]
        self.periods = [np.pi if name in symmetric else 2 * np.pi for name in names]
        self.exempt = np.array([[False, False, n in without_heading, n in without_velocity] for n in names])

    def add(self, boxes: Floats, scores: Floats, classes: Ints, objects: Floats, labels: Ints, ignored: Bools) -> None:
        """One sample: its detections, (D, 9), (D) and (D), and its objects, (G, 9), (G) and (G).

        ``ignored`` are objects that are neither to be found nor wrong to find.
        """
        for number in np.union1d(classes, labels).tolist():
            mine, theirs = classes == number, labels == number
            found = self.found[number]
            found.objects += int((~ignored[theirs]).sum())
            if not mine.any():
                continue
            right, left_out, matched = _matched(boxes[mine], scores[mine], objects[theirs], ignored[theirs])
            found.scores.append(scores[mine])
            found.right.append(right)
            found.left_out.append(left_out)
            found.errors.append(_errors(boxes[mine], objects[theirs], matched, self.periods[number]))

    def of_classes(self) -> Floats:
        """(C, 4): the average precision of each class at each distance."""
        return np.array([[_average(found, place)[0] for place in range(len(DISTANCES))] for found in self.found])

    def errors(self) -> dict[str, float]:
        """The mean error of each kind over the classes that have it."""
        each = np.array([_average(found, OF_ERRORS)[1] for found in self.found])
        means = {}
        for kind, values, exempt in zip(ERRORS, each.T, self.exempt.T, strict=True):
            means[kind] = float(values[~exempt].mean()) if not exempt.all() else 1.0
        return means


def mean_precision(values: Floats) -> float:
    """The mean over distances and classes."""
    return float(values.mean())


def detection_score(precision: float, errors: dict[str, float]) -> float:
    """nuScenes' detection score (NDS) of answers without attributes, whose score is 0: 0.9 at most.

    >>> detection_score(0.5, {"translation": 0.5, "scale": 0.5, "orientation": 0.5, "velocity": 2.0})
    0.4
    """
    scores = [max(0.0, 1.0 - error) for error in errors.values()]
    return (WEIGHT * precision + sum(scores)) / (WEIGHT + len(ERRORS) + 1)


def _surest_first(scores: Floats) -> npt.NDArray[np.intp]:
    """Of equal scores the last one first, as the development kit sorts."""
    return np.lexsort((np.arange(len(scores)), scores))[::-1]


def _matched(boxes: Floats, scores: Floats, objects: Floats, ignored: Bools) -> tuple[Bools, Bools, Ints]:
    """(T, D) whether each detection gets an object, and whether it does not count; and the object within 2 m, or -1."""
    right = np.zeros((len(DISTANCES), len(boxes)), dtype=bool)
    left_out, matched = np.zeros_like(right), np.full(len(boxes), -1)
    if not len(objects):
        return right, left_out, matched
    free = np.repeat(~ignored[None], len(DISTANCES), axis=0)
    every = np.arange(len(DISTANCES))
    apart = np.sqrt(((boxes[:, None, :2] - objects[None, :, :2]) ** 2).sum(2))
    for number in _surest_first(scores).tolist():
        distances = np.where(free, apart[number], np.inf)
        nearest = distances.argmin(1)
        taken = distances[every, nearest] < DISTANCES
        free[every[taken], nearest[taken]] = False
        right[:, number] = taken
        left_out[:, number] = ~taken & (apart[number][ignored].min(initial=np.inf) < DISTANCES)
        if taken[OF_ERRORS]:
            matched[number] = nearest[OF_ERRORS]
    return right, left_out, matched


def _errors(boxes: Floats, objects: Floats, matched: Ints, period: float) -> Floats:
    """(4, D): the errors of each detection against its object; NaN where it has none, or one of unknown velocity."""
    errors = np.full((len(ERRORS), len(boxes)), np.nan)
    there = matched >= 0
    own, true = boxes[there], objects[matched[there]]
    errors[0, there] = np.sqrt(((own[:, :2] - true[:, :2]) ** 2).sum(1))
    shared = np.minimum(own[:, SIZES], true[:, SIZES]).prod(1)
    errors[1, there] = 1 - shared / (own[:, SIZES].prod(1) + true[:, SIZES].prod(1) - shared)
    errors[2, there] = np.abs((true[:, HEADING] - own[:, HEADING] + period / 2) % period - period / 2)
    errors[3, there] = np.sqrt(((own[:, VELOCITY] - true[:, VELOCITY]) ** 2).sum(1))
    return errors


def _average(found: _Found, place: int) -> tuple[float, Floats]:
    """The average precision of a class at a distance, and at that of the errors its errors, (4,)."""
    nothing = 0.0, np.ones(len(ERRORS))
    if not found.objects or not found.scores:
        return nothing
    right, left_out = (np.concatenate([some[place] for some in parts]) for parts in (found.right, found.left_out))
    scores = np.concatenate(found.scores)
    order = _surest_first(scores)
    order = order[~left_out[order]]
    right, scores = right[order], scores[order]
    if not right.any():
        return nothing
    hits = np.cumsum(right, dtype=np.float64)
    recall = hits / found.objects
    precision = np.interp(RECALLS, recall, hits / np.arange(1, len(hits) + 1), right=0)
    confidence = np.interp(RECALLS, recall, scores, right=0)
    average = float(np.clip(precision[FIRST:] - LEAST, 0, None).mean()) / (1 - LEAST)
    last = int(np.flatnonzero(confidence)[-1]) if confidence.any() else 0
    if place != OF_ERRORS or last < FIRST:
        return average, nothing[1]
    errors = np.concatenate(found.errors, axis=1)[:, order][:, right]
    sure = scores[right]
    curves = [np.interp(confidence[::-1], sure[::-1], _means(each)[::-1])[::-1] for each in errors]
    return average, np.array([curve[FIRST : last + 1].mean() for curve in curves])


def _means(values: Floats) -> Floats:
    """The mean up to each value, without those that are NaN; 1 if all are."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    counts = np.cumsum(known)
    means: Floats = np.nancumsum(values) / np.maximum(counts, 1)
    return means
