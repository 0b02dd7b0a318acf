"""Detection in space: boxes around objects in a cloud of points, by networks that answer on a map seen from above."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.bounds import Interval, NonNegative, Positive, Share
from understudy.errors import UserError
from understudy.nested import Nested, Shape
from understudy.precision import wide
from understudy.tasks import detected
from understudy.tasks.average_precision import Floats
from understudy.tasks.boxes import BOXES, CLASSES, IGNORED, NONE, Boxes, suppressed_where
from understudy.tasks.centre_precision import CentrePrecision, detection_score, mean_precision
from understudy.tasks.detecting import PLACES, Detecting, X
from understudy.tasks.meters import MeanLoss
from understudy.tasks.space import CENTRE, HEADING, SIZES, VELOCITY, covered, distances, objects_of, turned
from understudy.tasks.task import Figure, Meter, Numbers, Rows, Told, Turns, Values

POINTS, COUNT = "points", "count"  # the names of the inputs
FIRST = 13  # the first logit of a place
OFFSET, HEIGHT, LOGS, AHEAD, SPEED = slice(3, 5), 5, slice(6, 9), slice(9, 11), slice(11, 13)  # columns of a place
LONGEST = 6.0  # the largest logarithm of a side
FOUND = 2.0  # metres: a box whose centre is nearer is that of an object
ALPHA, BETA = 2, 4  # of the focal loss
SMALLEST = 5 / 6  # places: the least standard deviation of an object in the map of its class
BOX_WEIGHT, VELOCITY_WEIGHT = 0.25, 0.2


@dataclass(frozen=True)
class Detection3D(Detecting):
    """Boxes of objects in space: targets are ``boxes`` (N, M, 9) and ``classes`` (N, M), answers a row for each place.

    Inputs are ``points`` (N, P, F), clouds of points padded to one number, whose first three numbers are x, y and z in
    metres with z upwards, and ``count`` (N,), how many there are (``data.clouds`` makes both of a list). A box is x, y
    and z of its centre, length, width and height in metres, its heading (from the x axis to its length,
    counter-clockwise seen from above, in radians), and its velocity along x and y in metres a second: NaN, or left out
    with all others, where it is unknown. The class is -1 where a sample has fewer than M, and boxes that are
    ``ignored`` (N, M) are neither to be found nor wrong to find. ``padded`` makes targets of lists.

    An answer is (N, P, 13 + C), without suppression of duplicates: of each place of a map seen from above its x, y and
    side in metres, the way from it to the centre of its box in sides, the height of that centre, the logarithms of the
    box's sides, sine and cosine of its heading, its velocity, and a logit for each class. The loss is CenterPoint's:
    the penalty-reduced focal loss of a map with a peak at each object, and a quarter of the distance (L1) of the
    numbers at the places with a centre, each divided by the objects of its own sample. Differences: a peak's standard
    deviation is a sixth of the root of its box's area, 5/6 of a place at least (there it follows from a radius, for
    most boxes of two places); one map for all classes; a box suppresses others by the distance of centres, in units of
    its size.

    The figures are nuScenes' (``tasks.centre_precision``): the mean average precision by distance of centres, errors of
    what is found, and with ``velocity`` the detection score, to which attributes, that are not predicted, add nothing:
    0.9 is its best.

    References: Yin, Zhou, Krähenbühl, "Center-based 3D object detection and tracking", CVPR 2021; Zhou, Wang,
    Krähenbühl, "Objects as points", 2019, for the focal loss; Caesar et al., "nuScenes", CVPR 2020.

    Args:
        classes: their names in the order of their numbers.
        least_score: boxes with less are left out.
        apart: boxes of one class whose centre is nearer to that of a surer one than this share of the surer one's size
            (the root of length times width) are left out.
        most: of the boxes of a sample, so many are kept.
        side: of the square seen from above, in metres; 0, 0 is in its middle.
        velocity: whether velocities are measured and shown.
        ranges: of each class, to which distance from 0, 0 boxes count, in metres; empty: all of them.
        symmetric: classes whose front and back are alike: their heading is measured up to half a turn.
        without_heading, without_velocity: classes for which these are not measured.

    >>> task = Detection3D(("car",), side=8)
    >>> place = torch.tensor([[[1.0, 1.0, 2.0, 0.5, 0.0, -1.0, 1.4, 0.6, 0.4, 0.0, 1.0, 0.0, 0.0, 4.0]]])
    >>> task.told({"places": place})[0].text
    'car 98.2 % at 2.0, 1.0, -1.0 m, 4.1 x 1.8 x 1.5 m, 0 degrees'
    """

    classes: tuple[str, ...] = ()
    least_score: Share = 0.1
    apart: NonNegative = 0.5
    most: Annotated[int, Interval(ge=1, le=10_000)] = 200
    side: Annotated[int, Interval(ge=1, le=10_000)] = 104
    velocity: bool = False
    ranges: tuple[Positive, ...] = ()
    symmetric: tuple[str, ...] = ()
    without_heading: tuple[str, ...] = ()
    without_velocity: tuple[str, ...] = ()

    name: ClassVar[str] = "detection-3d"
    columns: ClassVar[int] = FIRST
    logits: ClassVar[int] = FIRST

    def __post_init__(self) -> None:
        if self.ranges and len(self.ranges) != len(self.classes):
            raise UserError(f"task 'detection-3d': {len(self.ranges)} ranges for {len(self.classes)} classes: one each")
        for setting in ("symmetric", "without_heading", "without_velocity"):
            if unknown := [name for name in getattr(self, setting) if name not in self.classes]:
                raise UserError(f"task 'detection-3d': {setting} names {unknown[0]!r}, which is no class")

    # The data.

    @property
    def figures(self) -> tuple[Figure, ...]:
        score = (Figure("nds", "nuScenes detection score", unit="share", chance=0.0),) if self.velocity else ()
        speed = (Figure("mave", "velocity error, m/s", "lower"),) if self.velocity else ()
        return (
            Figure("map", "mean average precision", unit="share", chance=0.0),
            *score,
            Figure("mate", "translation error, m", "lower"),
            Figure("mase", "scale error, 1 - IoU", "lower"),
            Figure("maoe", "orientation error, rad", "lower"),
            *speed,
        )

    @property
    def about(self) -> str:
        return f"boxes of {len(self.classes)} classes in space, {self.side} x {self.side} m"

    def sizes(self, shape: Shape) -> tuple[int, ...]:
        """The numbers of a point, the points of a cloud, and the side of the square seen from above."""
        points = shape.get(POINTS) if isinstance(shape, dict) else None
        count = shape.get(COUNT) if isinstance(shape, dict) else None
        if not isinstance(points, tuple) or len(points) != 2 or not isinstance(points[1], int) or points[1] < 3:
            raise UserError(
                f"inputs of a detection in space are {POINTS!r} (N, P, 3 or more) and {COUNT!r} (N,), as "
                f"understudy.data.clouds makes them of a list, and these have shape {shape}"
            )
        if count != ():
            raise UserError(f"{COUNT!r} has shape {count} of each sample; it is one number, how many points there are")
        return points[1], int(str(points[0])), self.side

    def luck(self, figure: Figure, samples: int) -> float:
        """Boxes at random hardly find any object."""
        return 0.02

    @staticmethod
    def objects(targets: Nested) -> Boxes:
        return objects_of(targets)

    def check(self, targets: Nested) -> None:
        super().check(targets)
        found = objects_of(targets)
        broken = ~torch.isfinite(found.boxes[..., : VELOCITY.start]).all(2) | ~(found.boxes[..., SIZES] > 0).all(2)
        broken = (broken | found.boxes[..., VELOCITY].isinf().any(2)) & (found.classes >= 0)
        if broken.any():
            first, place = (int(number) for number in broken.nonzero()[0])
            raise UserError(
                f"sample {first} has the box {[round(one, 3) for one in found.boxes[first, place].tolist()]}; a box is "
                "x, y, z, length, width, height (above 0) and heading, and the velocity along x and y"
            )

    def remarks(self, targets: Nested) -> Sequence[str]:
        found, remarks = objects_of(targets), [*super().remarks(targets)]
        outside = int(((found.boxes[..., :2].abs() > self.side / 2).any(2) & found.there).sum())
        if outside:
            text = f"{outside:,} of {int(found.there.sum()):,} objects are outside the square of {self.side} m"
            remarks.append(f"{text} that a network sees, and cannot be found: task.side makes it larger")
        turns = found.boxes[found.there][:, HEADING]
        if len(turns) and turns.abs().max() > 3 * math.pi:
            remarks.append("headings reach beyond three half turns, and are in radians: degrees are 57.3 times as much")
        if self.velocity and found.there.any() and found.boxes[found.there][:, VELOCITY].isnan().all():
            remarks.append("no object has a known velocity, and task.velocity asks for them")
        return remarks

    def turned(self, inputs: Nested, targets: Nested, turns: Turns) -> tuple[Nested, Nested]:
        """Points and boxes moved together; boxes whose centre leaves the square are gone."""
        assert isinstance(inputs, Mapping)
        points = inputs[POINTS]
        assert isinstance(points, Tensor)
        matrix, scale = turns.matrix.to(points.dtype), turns.scale.to(points.dtype)[:, None, None]
        moved = torch.cat((points[..., :2] @ matrix.mT * scale, points[..., 2:3] * scale, points[..., 3:]), 2)
        found = objects_of(targets)
        boxes = turned(found.boxes, turns)
        gone = (boxes[..., :2].abs() > self.side / 2).any(2)
        classes = found.classes.masked_fill(gone, NONE)
        return {**inputs, POINTS: moved}, {BOXES: boxes, CLASSES: classes, IGNORED: found.ignored & ~gone}

    # Answers.

    def boxes(self, answer: Values) -> Tensor:
        places = wide(answer[PLACES])
        middle = places[..., :2] + places[..., OFFSET] * places[..., 2:3]
        heading = torch.atan2(places[..., AHEAD.start], places[..., AHEAD.start + 1])
        return torch.cat(
            (
                middle,
                places[..., HEIGHT, None],
                places[..., LOGS].clamp(-LONGEST, LONGEST).exp(),
                heading.unsqueeze(2),
                places[..., SPEED],
            ),
            2,
        )

    def scores(self, answer: Values) -> Tensor:
        return wide(answer[PLACES][..., FIRST:]).sigmoid()

    def misfit(self, answer: Values) -> str | None:
        """Also of places elsewhere than on the square: figures might be right, and hints would be at other places."""
        if (wrong := super().misfit(answer)) or answer[PLACES].is_meta or not answer[PLACES].numel():
            return wrong
        x_y, step = wide(answer[PLACES][..., X]).split([2, 1], 2)
        reach = (x_y.abs() + step / 2).max().item()
        if abs(reach - self.side / 2) <= step.max().item() / 2:
            return None
        return f"its places reach {reach:g} m from 0, 0, and the square of {self.side} m reaches {self.side / 2:g} m"

    def suppressed(self, boxes: Tensor, classes: Tensor) -> Tensor:
        return suppressed_where(self._near, boxes, classes)

    def _near(self, boxes: Tensor) -> Tensor:
        sizes = (boxes[..., 3] * boxes[..., 4]).sqrt()
        return distances(boxes, boxes) < self.apart * sizes.unsqueeze(2)

    def alike(self, boxes: Tensor, others: Tensor) -> Tensor:
        return distances(boxes, others) < FOUND

    def loss(self, answer: Values, targets: Nested, *, smoothing: float = 0.0) -> Tensor:
        """The focal loss of the map, and the distance of the boxes' numbers; one value per sample."""
        if smoothing:
            raise UserError(f"task {self.name!r} has no labels that could be smoothed: leave label_smoothing out")
        objects, places = objects_of(targets), wide(answer[PLACES])
        at = _at(answer)
        number = _responsible(at, objects)
        count = objects.there.sum(1).clamp_min(1).to(places.dtype)
        focal = _focal(places[..., FIRST:], self._heat(at, objects), self.labels(objects, number))
        wanted, weights = self._wanted(at, objects, number)
        weights[..., SPEED.start - OFFSET.start :] *= VELOCITY_WEIGHT
        apart = ((places[..., OFFSET.start : FIRST] - wanted).abs() * weights).sum((1, 2))
        return self.nan_without_label(focal.sum((1, 2)) / count + BOX_WEIGHT * apart / count, targets)

    def _heat(self, places: Tensor, objects: Boxes) -> Tensor:
        """(N, P, C): a peak at the place of each object of a class, ignored ones, too."""
        heat = places.new_zeros(*places.shape[:2], len(self.classes))
        if not objects.classes.shape[1]:
            return heat
        steps = (objects.boxes[:, None, :, :2] - places[:, :, None, :2]) / places[:, :, None, 2:3]
        apart = (steps + 0.5).floor().square().sum(3)  # in places, from that of the centre
        size = (objects.boxes[..., 3] * objects.boxes[..., 4]).sqrt().unsqueeze(1)
        spread = (size / (6 * places[..., 2, None])).clamp_min(SMALLEST)
        peaks = (-apart / (2 * spread.square())).exp() * (objects.classes >= 0).unsqueeze(1)
        classes = objects.classes.clamp_min(0).unsqueeze(1).expand_as(peaks)
        return heat.scatter_reduce(2, classes, peaks.to(heat.dtype), "amax")

    def wanted(self, answer: Values, objects: Boxes) -> tuple[Tensor, Tensor]:
        """The numbers that each place of an answer should have, (N, P, 10), and their weights, 0 where it has none."""
        places = _at(answer)
        numbers, weights = self._wanted(places, objects, _responsible(places, objects))
        return self._measured(numbers), self._measured(weights, units=False)

    def places_of(self, answer: Values) -> Tensor:
        """The numbers of the box of each place, (N, P, 8 or 10): as in an answer, velocities in units of 5 m/s."""
        return self._measured(wide(answer[PLACES][..., OFFSET.start : FIRST]))

    def _measured(self, numbers: Tensor, *, units: bool = True) -> Tensor:
        """Without velocities if none are measured."""
        rest, speed = numbers[..., : SPEED.start - OFFSET.start], numbers[..., SPEED.start - OFFSET.start :]
        if not self.velocity:
            return rest
        return torch.cat((rest, speed * VELOCITY_WEIGHT if units else speed), 2)

    def _wanted(self, places: Tensor, objects: Boxes, number: Tensor) -> tuple[Tensor, Tensor]:
        """(N, P, 10) both: the numbers of the box for which each place answers, and 1 where there is one."""
        if not objects.boxes.shape[1]:
            nothing = places.new_zeros(*number.shape, FIRST - OFFSET.start)
            return nothing, nothing.clone()
        boxes = objects.boxes.to(places.dtype)
        boxes = boxes.gather(1, number.clamp_min(0)[..., None].expand(-1, -1, boxes.shape[2]))
        wanted = torch.cat(
            (
                (boxes[..., :2] - places[..., :2]) / places[..., 2:3],
                boxes[..., CENTRE.stop - 1 : CENTRE.stop],
                boxes[..., SIZES].clamp_min(1e-3).log(),
                boxes[..., HEADING, None].sin(),
                boxes[..., HEADING, None].cos(),
                boxes[..., VELOCITY],
            ),
            2,
        )
        weights = (number >= 0).unsqueeze(2) & ~wanted.isnan()
        return wanted.nan_to_num(0.0), weights.to(wanted.dtype)

    def rows(self, answer: Values, targets: Nested | None) -> Rows:
        """Two options for each place and class, ``(0, z)``: no centre of such an object, and one.

        The places near the centres of objects have half of a sample's weight together, by the height of their peaks,
        and all others the other half.
        """
        logits = wide(answer[PLACES][..., FIRST:]).flatten(1)
        scores = torch.stack((torch.zeros_like(logits), logits), -1)
        if targets is None:
            return Rows(scores)
        objects, places = objects_of(targets), _at(answer)
        heat = self._heat(places, objects).amax(2)
        shares = [kind / kind.sum(1, keepdim=True).clamp_min(1e-6) for kind in (heat, 1 - heat)]
        labels = self.labels(objects, _responsible(places, objects)).flatten(1).long()
        return Rows(scores, labels, (shares[0] + shares[1]).repeat_interleave(len(self.classes), 1))

    def numbers(self, answer: Values, targets: Nested | None) -> Numbers:
        """The numbers of the boxes, those of places with an object's centre."""
        values = self.places_of(answer).flatten(1)
        if targets is None:
            return Numbers(values)
        wanted, weights = self.wanted(answer, objects_of(targets))
        return Numbers(values, weights.flatten(1), wanted.flatten(1))

    def places(self, targets: Nested, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """1 at the places of a map seen from above that boxes cover, 0 at others."""
        return covered(objects_of(targets), grid, size[0])

    def extent(self, inputs: Nested | None) -> tuple[int, int]:
        return self.side, self.side

    # Evaluation.

    def meter(self) -> Meter:
        return SpaceMeter(self)

    def precision(self) -> CentrePrecision:
        return CentrePrecision(
            self.classes,
            symmetric=self.symmetric,
            without_heading=self.without_heading,
            without_velocity=self.without_velocity,
        )

    def add(self, precision: CentrePrecision, answer: Values, targets: Nested) -> None:
        """Count the boxes that are kept of a batch, those within the ranges of their classes."""
        objects = objects_of(targets)
        classes = answer[CLASSES].masked_fill(~self._counts(answer), NONE)
        there = self._counts({BOXES: objects.boxes, CLASSES: objects.classes})
        counted = Boxes(objects.boxes, objects.classes.masked_fill(~there, NONE), objects.ignored)
        detected.add(precision, {**answer, CLASSES: classes}, counted)

    def _counts(self, boxes: Values) -> Tensor:
        """(N, M) bool, whether boxes are within the range of their class."""
        if not self.ranges:
            return torch.ones_like(boxes[CLASSES], dtype=torch.bool)
        ranges = torch.tensor(self.ranges, device=boxes[CLASSES].device)[boxes[CLASSES].clamp_min(0)]
        return boxes[BOXES][..., :2].square().sum(2).sqrt() < ranges

    def details(self, answers: Sequence[Values], targets: Nested, taught: Sequence[Values]) -> dict[str, object]:
        """``options``: the average precision of each class, all seeds together."""
        precision = self.precision()
        for answer in answers:
            self.add(precision, answer, targets)
        values: Floats = precision.of_classes().mean(1)
        return {"options": values.tolist()}

    def magnitude(self, targets: Nested) -> float:
        return float(self.side)

    def told(self, answer: Values, *, top: int = 3) -> list[Told]:
        """The boxes whose score is at least 0.3."""
        return [self._told(rows) for rows in detected.rows(self.detections(answer), self.classes)]

    def _told(self, rows: Sequence[detected.Row]) -> Told:
        lines, record = list[str](), list[dict[str, object]]()
        for name, score, box in rows:
            x, y, z, length, width, height, heading, *speed = box
            sides = f"{length:.1f} x {width:.1f} x {height:.1f} m"
            at = f"{x:.1f}, {y:.1f}, {z:.1f} m, {sides}, {math.degrees(heading):.0f} degrees"
            line = f"{name} {100 * score:.1f} % at {at}"
            known = {"label": name, "score": score, "box": box[: VELOCITY.start]}
            if self.velocity:
                line, known = f"{line}, {math.hypot(*speed):.1f} m/s", {**known, "velocity": speed}
            lines.append(line)
            record.append(known)
        return Told("; ".join(lines) or "nothing", {"boxes": record})


class SpaceMeter:
    """nuScenes' figures and the mean loss; it holds of each box its score, whether it is right, and its errors."""

    def __init__(self, task: Detection3D):
        self.task, self.loss = task, MeanLoss(task)
        self.precision = task.precision()

    def update(self, answer: Values, targets: Nested) -> None:
        self.task.add(self.precision, self.task.detections(answer), targets)
        self.loss.update(answer, targets)

    def compute(self) -> dict[str, float]:
        loss, errors = self.loss.compute(), self.precision.errors()
        precision = mean_precision(self.precision.of_classes())
        figures = {
            "map": precision,
            "nds": detection_score(precision, errors),
            "mate": errors["translation"],
            "mase": errors["scale"],
            "maoe": errors["orientation"],
            "mave": errors["velocity"],
        }
        return {figure.name: figures[figure.name] for figure in self.task.figures} | loss


def _at(answer: Values) -> Tensor:
    """(N, P, 3), x, y and side of the places of an answer: known numbers, which nothing is to change."""
    return wide(answer[PLACES][..., X].detach())


def _responsible(places: Tensor, objects: Boxes) -> Tensor:
    """The object whose centre is in each place, as its number or -1: (N, P); of several the first."""
    if not objects.classes.shape[1]:
        return torch.full(places.shape[:2], NONE, device=places.device)
    steps = (objects.boxes[:, None, :, :2] - places[:, :, None, :2]) / places[:, :, None, 2:3]
    inside = ((steps >= -0.5) & (steps < 0.5)).all(3) & objects.there.unsqueeze(1)
    return inside.to(torch.uint8).argmax(2).where(inside.any(2), NONE)


def _focal(logits: Tensor, heat: Tensor, labels: Tensor) -> Tensor:
    """The penalty-reduced focal loss of each logit: at the centres of objects, and less near them than elsewhere."""
    share = logits.sigmoid()
    found = (1 - share) ** ALPHA * F.softplus(-logits)
    wrong = (1 - heat) ** BETA * share**ALPHA * F.softplus(logits)
    return torch.where(labels, found, wrong)
