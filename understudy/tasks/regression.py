"""Regression: plain numbers, and landmarks in images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.bounds import Measured, Positive, Whole
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.precision import exact, exact_dtype, wide
from understudy.tasks.task import Figure, Meter, Moves, Numbers, Task, Told, Values, only, outputs_named

VALUES = "values"
NEAR = 0.05  # how much better than chance counts as chance, of R2, or as a share of another figure


@dataclass(frozen=True)
class Regression(Task):
    """Numbers for each sample: targets and answers are (N, K).

    Args:
        names: the names of the numbers.
        scales: of each number, the standard deviation over the training samples; errors are divided by it in the loss.
        form: the loss, squared error (``"mse"``) or ``"huber"``, of the scaled errors.
        delta: of the Huber loss: up to this scaled error it is squared.

    >>> Regression(("price",), (2.0,)).loss({"values": torch.tensor([[4.0]])}, torch.tensor([[0.0]]))
    tensor([4.])
    """

    names: tuple[str, ...] = ()  # a field in place of the property
    scales: tuple[Measured, ...] = ()
    form: Literal["mse", "huber"] = "mse"
    delta: Positive = 1.0

    name: ClassVar[str] = "regression"
    targets_are_numbers: ClassVar[bool] = True
    values: ClassVar[tuple[str, ...]] = (VALUES,)
    likeness: ClassVar[tuple[Figure, ...]] = (Figure("distance", "mean distance from the teacher", "lower"),)

    def __post_init__(self) -> None:
        if self.form not in ("mse", "huber") or not self.delta > 0:
            raise UserError(f"task {self.name!r}: form is 'mse' or 'huber', and delta is above 0")

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> Self:
        values = _flat(targets)
        names = outputs_named(names, values.shape[1], "value")
        make: Callable[..., Self] = cls
        return make(**{"names": names, "scales": _spread(values), **settings})

    @property
    def figures(self) -> tuple[Figure, ...]:
        return Figure("mae", "mean absolute error", "lower"), Figure("r2", "R2", chance=0.0)

    @property
    def about(self) -> str:
        return f"{self.outputs} numbers"

    def luck(self, figure: Figure, samples: int) -> float:
        return NEAR if figure.name == "r2" else NEAR * abs(figure.chance or 0.0)

    def converted(self, targets: Nested) -> Nested:
        return _flat(targets).float()

    def check(self, targets: Nested) -> None:
        values = _flat(targets)
        if values.shape[1] != self.outputs:
            raise UserError(f"targets have {values.shape[1]} numbers for each sample, the task has {self.outputs}")
        broken = (~torch.isfinite(values)).any(1).nonzero().flatten()
        if len(broken):
            raise UserError(f"sample {int(broken[0])} has the target {values[broken[0]].tolist()}: NaN or infinity")

    def without_labels(self, targets: Nested, count: int) -> Nested:
        assert isinstance(targets, Tensor)
        return torch.full((count, *targets.shape[1:]), torch.nan)

    def has_label(self, targets: Nested) -> Tensor:
        return ~_flat(targets).isnan().all(1)

    def as_targets(self, answer: Values, targets: Nested | None = None) -> Tensor:
        values = wide(answer[VALUES])
        return values.view_as(targets) if isinstance(targets, Tensor) else values

    def mixed(self, targets: Nested, partners: Nested, share: Tensor) -> Nested:
        own, other = _flat(targets), _flat(partners)
        return torch.lerp(other, own, share.view(-1, 1).to(own.dtype))

    def answer(self, output: object) -> Values:
        values = output if isinstance(output, Tensor) else _first(output)
        return {VALUES: values.unsqueeze(1) if values.ndim == 1 else values.flatten(1)}

    def misfit(self, answer: Values) -> str | None:
        shape = tuple(answer[VALUES].shape[1:])
        return None if shape == (self.outputs,) else f"it answers with shape {shape}, the task has {self.about}"

    def loss(self, answer: Values, targets: Nested, *, smoothing: float = 0.0) -> Tensor:
        """The mean loss of a sample's numbers that are known."""
        if smoothing:
            raise UserError(f"task {self.name!r} has no labels that could be smoothed: leave label_smoothing out")
        numbers = self._numbers(targets)
        scale = wide(answer[VALUES]).new_tensor(self.scales) if self.scales else 1.0
        errors = (wide(answer[VALUES]) - numbers.values) / scale
        if self.form == "mse":
            values = errors.square()
        else:
            values = F.huber_loss(errors, torch.zeros_like(errors), reduction="none", delta=self.delta)
        if numbers.weights is None:
            return values.mean(1)
        return (values * numbers.weights).sum(1) / numbers.weights.sum(1).clamp_min(1)

    def numbers(self, answer: Values, targets: Nested | None) -> Numbers:
        """The answer in units of the scales, weighted as the targets are."""
        scale = wide(answer[VALUES]).new_tensor(self.scales) if self.scales else 1.0
        values = wide(answer[VALUES]) / scale
        if targets is None:
            return Numbers(values)
        wanted = self._numbers(targets)
        return Numbers(values, wanted.weights, wanted.values / scale)

    def _numbers(self, targets: Nested) -> Numbers:
        """The targets and their weights."""
        return Numbers(_flat(targets))

    def meter(self) -> Meter:
        return NumberMeter(self)

    def compared(self, student: Values, teacher: Values, targets: Nested) -> dict[str, float]:
        return {"distance": exact((student[VALUES] - teacher[VALUES]).abs()).mean().item()}

    def magnitude(self, targets: Nested) -> float:
        values = _flat(targets)
        known = values[torch.isfinite(values)].abs()
        return max(1.0, known.max().item()) if len(known) else 1.0

    def commonest(self, answer: Values) -> float | None:
        """The share of samples with the most frequent answer, rounded to a thousandth of the scales."""
        scale = answer[VALUES].new_tensor(self.scales) if self.scales else 1.0
        _, counts = (1000 * answer[VALUES] / scale).round().unique(dim=0, return_counts=True)
        return int(counts.max()) / len(answer[VALUES])

    def details(self, answers: Sequence[Values], targets: Nested, taught: Sequence[Values]) -> dict[str, object]:
        """``options``: of each number its part of the first figure, the mean over the seeds."""
        errors = exact(torch.stack([self._of_each(answer[VALUES], targets) for answer in answers]))
        means = errors.flatten(0, 1).nanmean(0).tolist()
        return {"options": [value if math.isfinite(value) else None for value in means]}

    def _of_each(self, values: Tensor, targets: Nested) -> Tensor:
        """The absolute error of each number of each sample."""
        return (values - _flat(targets)).abs()

    def told(self, answer: Values, *, top: int = 3) -> list[Told]:
        lines = []
        for numbers in answer[VALUES].tolist():
            lines.append(_told(dict(zip(self.names, numbers, strict=True))))
        return lines


def _told(named: dict[str, float]) -> Told:
    return Told(", ".join(f"{name} {value:.4g}" for name, value in named.items()), {"values": named})


class NumberMeter:
    """Mean absolute error, R2 (the mean over the numbers) and loss, from sums.

    The R2 of a number that is the same in all samples is 1 if it is met, else 0, as in scikit-learn.
    """

    def __init__(self, task: Regression):
        self.task, self.count = task, 0
        self.first: Tensor | None = None  # targets are summed from there: squares of large numbers would swallow them
        self.sums: Tensor | None = None  # of targets, their squares, squared errors, absolute errors, the loss

    def update(self, answer: Values, targets: Nested) -> None:
        dtype = exact_dtype(answer[VALUES].device)
        values, wanted = answer[VALUES].to(dtype), _flat(targets).to(dtype)
        errors = values - wanted
        self.first = wanted[0] if self.first is None else self.first
        wanted = wanted - self.first
        loss = self.task.loss({VALUES: answer[VALUES].float()}, targets).to(dtype).sum().expand(wanted.shape[1])
        sums = torch.stack((wanted.sum(0), wanted.square().sum(0), errors.square().sum(0), errors.abs().sum(0), loss))
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += len(wanted)

    def compute(self) -> dict[str, float]:
        if self.sums is None:
            raise UserError("there are no samples to measure on")
        total, squares, squared, absolute, loss = self.sums / self.count
        spread = (squares - total.square()).clamp_min(0)
        r2 = torch.where(spread > 0, 1 - squared / spread, (squared == 0).to(spread)).mean()
        return {"mae": absolute.mean().item(), "r2": r2.item(), "loss": loss[0].item()}


@dataclass(frozen=True)
class Landmarks(Regression):
    """Points in images: targets are (N, K, 2), x and y in pixels; NaN for a point that is not marked.

    Args:
        names, scales, form, delta: as of ``Regression``, two numbers for each point.
        mirror: pairs of points that are exchanged in a mirrored image: the two eyes, for example.
        between: the two points whose distance is the unit of the error; None: the square root of the area of the
            smallest box around the points that are marked. Samples without a unit above 0 are left out.
        usual: the error of the mean positions of the training samples, which is the figure at chance.

    >>> faces = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]])
    >>> task = Landmarks.of(faces, names=("left eye", "right eye"), between=(0, 1))
    >>> task.figures[0].name
    'nme'
    """

    mirror: tuple[tuple[Whole, Whole], ...] = ()
    between: tuple[Whole, Whole] | None = None
    usual: Measured | None = None

    name: ClassVar[str] = "landmarks"
    moves_targets: ClassVar[bool] = True

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> Self:
        points = _points(targets)
        names = outputs_named(names, points.shape[1], "point")
        pairs = {key: _tuples(settings[key]) for key in ("mirror", "between") if settings.get(key) is not None}
        settings = {**settings, **pairs}
        each = tuple(f"{name} {axis}" for name in names for axis in "xy")
        make: Callable[..., Self] = cls
        task = make(**{"names": each, "scales": _spread(points.flatten(1)), **settings})
        known = torch.isfinite(points)
        mean = torch.where(known, points, 0.0).sum(0) / known.sum(0).clamp_min(1)
        usual = task.errors_of(mean.expand_as(points).flatten(1), points)
        fields = {**task.settings, "usual": None if usual.isnan().all() else round(usual.nanmean().item(), 6)}
        return make(**fields)

    @property
    def figures(self) -> tuple[Figure, ...]:
        return (Figure("nme", "normalised mean error", "lower", unit="share", chance=self.usual),)

    @property
    def about(self) -> str:
        return f"{self.outputs // 2} points"

    def luck(self, figure: Figure, samples: int) -> float:
        return NEAR * abs(figure.chance or 0.0)

    def converted(self, targets: Nested) -> Nested:
        return _points(targets).float()

    def check(self, targets: Nested) -> None:
        points = _points(targets)
        if 2 * points.shape[1] != self.outputs:
            raise UserError(f"targets have {points.shape[1]} points for each sample, the task has {self.outputs // 2}")
        blind = (~torch.isfinite(points).all(2)).all(1).nonzero().flatten()
        if len(blind):
            raise UserError(f"sample {int(blind[0])} has no point that is marked: leave it out")
        if len(points) and not self.measured(points).any():
            unit = "box around the points has an area" if self.between is None else "distance of between is known"
            raise UserError(
                f"the error has no unit, since of no sample the {unit}: name two other points in between, or take the "
                "task 'regression'"
            )

    def located(self, told: Told, scale: tuple[float, float], offset: tuple[float, float]) -> Told:
        """The same points in the pixels of the image file."""
        values = told.record["values"]
        assert isinstance(values, dict)
        moved = {  # a point is the centre of its pixel
            name: (value + 0.5 - offset[axis % 2]) / scale[axis % 2] - 0.5
            for axis, (name, value) in enumerate(values.items())
        }
        return _told(moved)

    def moved(self, targets: Nested, moves: Moves) -> Nested:
        """Points move with the pixels; those of a pair are exchanged in a mirrored image."""
        points = _points(targets)
        x, y = points.unbind(2)
        if moves.crop is not None:  # a point is the centre of its pixel
            down, across, height, width = (side.to(x.dtype)[:, None] for side in moves.crop)
            x = (x + 0.5 - across) * (moves.size[1] / width) - 0.5
            y = (y + 0.5 - down) * (moves.size[0] / height) - 0.5
        if moves.mirrored is not None:
            order = list(range(points.shape[1]))
            for left, right in self.mirror:
                order[left], order[right] = right, left
            turned = (moves.size[1] - 1 - x)[:, order]
            x = torch.where(moves.mirrored[:, None], turned, x)
            y = torch.where(moves.mirrored[:, None], y[:, order], y)
        if moves.right is not None and moves.down is not None:
            x, y = x + moves.right[:, None], y + moves.down[:, None]
        return torch.stack((x, y), 2)

    def unmirrored(self) -> str | None:
        if self.mirror or self.outputs <= 2:
            return None
        return "task.mirror names no pairs of points to exchange, so that a left eye is called a left eye on the right"

    def mixed(self, targets: Nested, partners: Nested, share: Tensor) -> Nested:
        raise UserError("the points of two images cannot be mixed: leave mixup out")

    def _numbers(self, targets: Nested) -> Numbers:
        values = _points(targets).flatten(1)
        known = torch.isfinite(values)
        return Numbers(torch.where(known, values, 0.0), known.to(values.dtype))

    def meter(self) -> Meter:
        return PointMeter(self)

    def errors_of(self, values: Tensor, targets: Nested) -> Tensor:
        """The normalised error of each sample: the mean distance of its marked points, in the unit."""
        points = _points(targets)
        known = torch.isfinite(points).all(2)
        apart = torch.where(known, (values.view_as(points) - points).norm(dim=2), 0.0).sum(1) / known.sum(1)
        relative: Tensor = apart / self._unit(points)
        return relative

    def measured(self, targets: Nested) -> Tensor:
        """(N) bool, the samples whose error has a unit."""
        return ~self._unit(_points(targets)).isnan()

    def _of_each(self, values: Tensor, targets: Nested) -> Tensor:
        """The error of each coordinate of each sample, in the unit."""
        points = _points(targets)
        return (values - points.flatten(1)).abs() / self._unit(points).unsqueeze(1)

    def _unit(self, points: Tensor) -> Tensor:
        """The unit of each sample's error: the distance of two points, or the size of the box around all points."""
        known = torch.isfinite(points).all(2)
        if self.between is not None:
            first, second = self.between
            return _above_zero((points[:, first] - points[:, second]).norm(dim=1))
        least = torch.where(known[..., None], points, torch.inf).amin(1)
        most = torch.where(known[..., None], points, -torch.inf).amax(1)
        return _above_zero((most - least).clamp_min(0).prod(1).sqrt())


class PointMeter:
    """Normalised mean error and loss, from sums; samples with an unknown unit are left out of the error."""

    def __init__(self, task: Landmarks):
        self.task, self.count = task, 0
        self.sums: Tensor | None = None  # of the error, of samples with one, of the loss

    def update(self, answer: Values, targets: Nested) -> None:
        dtype = exact_dtype(answer[VALUES].device)
        points = _points(targets).to(dtype)
        errors, known = self.task.errors_of(answer[VALUES].to(dtype), points), self.task.measured(points)
        loss = self.task.loss({VALUES: answer[VALUES].float()}, targets).to(dtype).sum()
        sums = torch.stack((errors.where(known, 0.0).sum(), known.to(dtype).sum(), loss))
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += len(errors)

    def compute(self) -> dict[str, float]:
        if self.sums is None:
            raise UserError("there are no samples to measure on")
        error, known, loss = self.sums.tolist()
        return {"nme": error / max(known, 1), "loss": loss / self.count}


def _above_zero(units: Tensor) -> Tensor:
    return units.where(units > 0, torch.nan)


def _first(output: object) -> Tensor:
    """The values in a network's output, or the logits of Hugging Face's regressors."""
    try:
        return only(output, VALUES)
    except UserError:
        return only(output, "logits")


def _flat(targets: Nested) -> Tensor:
    if not isinstance(targets, Tensor) or targets.ndim < 1:
        raise UserError(f"targets are a {type(targets).__name__}; give numbers (N, K) or (N)")
    return targets.unsqueeze(1) if targets.ndim == 1 else targets.flatten(1)


def _points(targets: Nested) -> Tensor:
    if isinstance(targets, Tensor) and targets.ndim == 2 and targets.shape[1] % 2 == 0:
        targets = targets.unflatten(1, (-1, 2))
    if not isinstance(targets, Tensor) or targets.ndim != 3 or targets.shape[2] != 2:
        shape = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        raise UserError(f"targets are {shape}; give the points (N, K, 2), x and y in pixels")
    return targets


def _spread(values: Tensor) -> tuple[float, ...]:
    """The standard deviation of each column's known values; 1 for a constant one."""
    scales = []
    for column in exact(values).unbind(1):
        known = column[torch.isfinite(column)]
        spread = known.std(correction=0).item() if len(known) else 0.0
        scales.append(round(spread, 6) if spread > 1e-6 else 1.0)
    return tuple(scales)


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, (list, tuple)) else value
