"""The contract of a task: the meaning of targets and answers, the supervised loss, metrics, and displayed answers.

Data carry their task. Training, stored answers, plans, reports and exports ask it, and know nothing else of what a
network is for. A further task is one file: a frozen dataclass whose fields are all that it depends on.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.nested import Nested, Shape, count, device, together
from understudy.printable import shown

Values: TypeAlias = Mapping[str, Tensor]  # an answer: tensors by name, with the samples as their first dimension
LOSS = "loss"  # the mean supervised loss, which is part of every evaluation


@dataclass(frozen=True)
class Figure:
    """A metric: its name, its title, and the format of its values.

    Args:
        name: as in records and files.
        title: as in tables.
        better: whether more or less of it is better.
        unit: ``"share"`` for a value from 0 to 1, shown in percent and compared in points; ``""`` for any other.
        chance: the value for answers that ignore the input; None if it is unknown.

    >>> accuracy = Figure("accuracy", "accuracy", unit="share", chance=0.1)
    >>> accuracy.text(0.915), accuracy.difference(0.012)
    ('91.50 %', '+1.20 points')
    """

    name: str
    title: str
    better: Literal["higher", "lower"] = "higher"
    unit: Literal["share", ""] = ""
    chance: float | None = None

    @property
    def scale(self) -> int:
        """The factor by which values are shown: 100 for a share."""
        return 100 if self.unit == "share" else 1

    def gain(self, value: float, over: float) -> float:
        """How much better one value is than another, in the figure's own unit; negative if it is worse."""
        return value - over if self.better == "higher" else over - value

    def quality(self, value: float) -> float:
        """The value as a number that is better when higher, for comparisons and orders; NaN is the worst.

        >>> Figure("nme", "error", "lower").quality(0.25), Figure("nme", "error", "lower").quality(math.nan)
        (-0.25, -inf)
        """
        if math.isnan(value):
            return -math.inf
        return value if self.better == "higher" else -value

    def text(self, value: float, digits: int = 2) -> str:
        """A value with its unit."""
        return f"{100 * value:.{digits}f} %" if self.unit == "share" else f"{value:.{digits + 2}g}"

    def difference(self, value: float, digits: int = 2) -> str:
        """A difference of two values with its sign and unit."""
        return f"{100 * value:+.{digits}f} points" if self.unit == "share" else f"{value:+.{digits + 2}g}"


@dataclass(frozen=True)
class Rows:
    """An answer as questions with options: K questions of each sample, with C options each.

    A term on class scores works on all N * K rows at once, and its values are folded back to one per sample.

    Args:
        scores: (N, K, C), the score of each option.
        labels: (N, K), the right option of each question; a valid number also where the weight is 0. None without.
        weights: (N, K), how much a question counts within its sample; None: all alike.

    >>> rows = Rows(torch.zeros(2, 3, 5))
    >>> rows.flat.shape, rows.fold(torch.arange(6.0))
    (torch.Size([6, 5]), tensor([1., 4.]))
    """

    scores: Tensor
    labels: Tensor | None = None
    weights: Tensor | None = None

    @property
    def flat(self) -> Tensor:
        """The scores as (N * K, C)."""
        return self.scores.flatten(0, 1)

    @property
    def flat_labels(self) -> Tensor | None:
        return None if self.labels is None else self.labels.flatten()

    def fold(self, values: Tensor) -> Tensor:
        """From one value per row to one per sample: the mean of its questions, by their weights."""
        by_sample = values.view(len(self.scores), -1)
        if self.weights is None:
            return by_sample.mean(1)
        weights = self.weights.to(by_sample.dtype)
        return (by_sample * weights).sum(1) / weights.sum(1).clamp_min(torch.finfo(weights.dtype).tiny)


@dataclass(frozen=True)
class Numbers:
    """An answer as numbers that are compared by distance.

    Args:
        values: (N, K).
        weights: (N, K), how much each counts within its sample; None: all alike.
        targets: (N, K), what the values should be, in the same units; None where targets are no numbers.

    >>> Numbers(torch.zeros(2, 4)).values.shape
    torch.Size([2, 4])
    """

    values: Tensor
    weights: Tensor | None = None
    targets: Tensor | None = None


@dataclass(frozen=True)
class Moves:
    """How an augmentation moved the pixels of a batch: first cropped, then mirrored, then shifted, over zeros.

    Args:
        size: height and width of the images.
        crop: top, left, height and width (N) of the boxes that were resized to the size; None: the whole images.
        mirrored: (N,) bool, left and right exchanged; None: none is.
        down, right: (N,), by how many pixels the content moved; None: not at all.

    >>> Moves((28, 28)).size
    (28, 28)
    """

    size: tuple[int, int]
    mirrored: Tensor | None = None
    down: Tensor | None = None
    right: Tensor | None = None
    crop: tuple[Tensor, Tensor, Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Turns:
    """How an augmentation moved points in space: mirrored and turned about the vertical axis, then scaled.

    Args:
        matrix: (N, 2, 2), of x and y.
        scale: (N,), of all three coordinates.

    >>> Turns(torch.eye(2).expand(4, 2, 2), torch.ones(4)).scale.shape
    torch.Size([4])
    """

    matrix: Tensor
    scale: Tensor


class Meter(Protocol):
    """An evaluation that is fed batch by batch; it holds sums, not answers.

    >>> from understudy.tasks import Classification
    >>> meter = Classification(("shirt", "shoe")).meter()
    >>> meter.update({"logits": torch.tensor([[2.0, 0.0]])}, torch.tensor([0]))
    >>> meter.compute()["accuracy"]
    1.0
    """

    def update(self, answer: Values, targets: Nested) -> None:
        """Count one batch."""

    def compute(self) -> dict[str, float]:
        """The task's figures by name, and ``loss``, the mean supervised loss."""


@dataclass(frozen=True)
class Told:
    """The displayed form of one sample's answer: a line of text, and the same as JSON.

    >>> Told("shoe 0.98", {"label": "shoe"}).text
    'shoe 0.98'
    """

    text: str
    record: Mapping[str, object]


@dataclass(frozen=True)
class Differing:
    """A sample on which student and teacher differ, for the report's pictures.

    Args:
        place: of the sample in its part.
        kind: ``"student"`` or ``"teacher"``, if that one alone is wrong, or ``"both"``.
        record: the target and the two answers, as JSON.
        drawn: boxes in the picture, by ``target``, ``student`` and ``teacher``: left, top, right, bottom in pixels.

    >>> Differing(3, "teacher", {"label": "shoe"}).place
    3
    """

    place: int
    kind: Literal["student", "teacher", "both"]
    record: Mapping[str, object]
    drawn: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Task(ABC):
    """The meaning of targets and answers. Subclasses are frozen dataclasses; their fields are JSON values.

    A task has no state. Only ``of``, ``figures``, ``names`` or ``outputs``, ``check``, ``answer``, ``misfit``,
    ``loss``, ``meter`` and ``told`` must be written; the rest has a default that says no more than is true of any task.

    ``rows_per_sample`` is what methods on class scores ask for: ``"one"`` if each sample is one question with C
    options, ``"many"`` if it is several, None if there are no class scores. Rows are made by ``rows``; a task that does
    not define it has one row for each sample, and these are its answer's ``logits`` (N, C) and its targets (N,).

    >>> from understudy.tasks import Classification
    >>> task = Classification(("shirt", "shoe"))
    >>> task.figures[0].name
    'accuracy'
    """

    name: ClassVar[str]
    rows_per_sample: ClassVar[Literal["one", "many"] | None] = None
    values: ClassVar[tuple[str, ...]] = ("logits",)  # the names of what is read of an answer, and stored
    labelled: ClassVar[bool] = True  # false: targets are the teacher's answers, and those of the training part unknown
    targets_are_classes: ClassVar[bool] = False  # whether each sample's target is one class number
    targets_are_distributions: ClassVar[bool] = False  # whether each sample's target is a distribution over classes
    targets_are_numbers: ClassVar[bool] = False  # whether ``numbers`` gives the targets, too
    takes_words: ClassVar[bool] = False  # whether ``encode`` makes inputs of texts
    dense: ClassVar[bool] = False  # whether an answer has many places, and no linear layer makes it of pooled features
    moves_targets: ClassVar[bool] = False  # whether targets follow an augmentation of the inputs
    letterboxed: ClassVar[bool] = False  # whether an image file is shown whole, with borders, instead of cropped
    likeness: ClassVar[tuple[Figure, ...]] = ()  # the figures of ``compared``

    # The data.

    @classmethod
    @abstractmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> "Task":
        """The task of these training targets; ``names`` are the names of the outputs, or their number."""

    @property
    @abstractmethod
    def figures(self) -> tuple[Figure, ...]:
        """The metrics. The first one selects epochs and students, and is shown first."""

    @property
    def outputs(self) -> int:
        """The number of a network's outputs, for building its last layer: by default that of their names."""
        return len(self.names)

    def sizes(self, shape: Shape) -> tuple[int, ...]:
        """The sizes that a network for inputs of this shape is built with: by default the shape of the first tensor."""
        while not isinstance(shape, tuple) or (shape and not isinstance(shape[0], int)):
            shape = next(iter(shape.values() if isinstance(shape, dict) else shape))
        return shape  # type: ignore[return-value]  # the loop ends at numbers

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs; empty if they have none."""
        return ()

    @abstractmethod
    def check(self, targets: Nested) -> None:
        """Raises a ``UserError`` with the number of the first sample with an invalid target."""

    def converted(self, targets: Nested) -> Nested:
        """Targets in the types in which training uses them."""
        return targets

    def remarks(self, targets: Nested) -> Sequence[str]:
        """Warnings of the pre-flight check about the training targets, such as a class without samples."""
        return ()

    def outside(self, targets: Nested, size: tuple[int, int]) -> int:
        """The number of samples with a target outside their image, which has this height and width."""
        return 0

    def completed(self, answer: Values) -> "Task":
        """The task of data that are not ``labelled``, with what follows from an answer of the teacher."""
        return self

    def without_labels(self, targets: Nested, count: int) -> Nested:
        """The targets of so many samples that have none, in the form of these targets."""
        raise UserError(f"task {self.name!r} has no samples without labels beside those with labels: leave them out")

    def has_label(self, targets: Nested) -> Tensor:
        """(N,) bool, which samples have a target: all but those of ``without_labels``."""
        return torch.ones(count(targets), dtype=torch.bool, device=device(targets))

    def as_targets(self, answer: Values, targets: Nested | None = None) -> Nested:
        """The targets that an answer is, such as the likeliest class.

        Args:
            targets: those of the same samples, from which shapes are taken; None where the data are not ``labelled``.
        """
        raise NotImplementedError(f"task {self.name!r} makes no targets of answers")

    def completed_by(self, targets: Nested, answer: Values) -> Nested:
        """The targets, and those that the answer is in the place of missing ones."""
        known = self.has_label(targets)

        def chosen(values: list[Tensor]) -> Tensor:
            there, answered = values
            return there.where(known.view(-1, *[1] * (there.ndim - 1)), answered.to(there.dtype))

        return together(chosen, [targets, self.as_targets(answer, targets)])

    def strata(self, targets: Nested) -> Tensor | None:
        """A number for each sample; a split keeps the share of each number. None: any sample is like any other."""
        return None

    def moved(self, targets: Nested, moves: Moves) -> Nested:
        """Targets that follow an augmentation, if ``moves_targets``."""
        return targets

    def unmirrored(self) -> str | None:
        """Why targets are wrong in a mirrored image, a warning of the pre-flight check; None: they are right."""
        return None

    def turned(self, inputs: Nested, targets: Nested, turns: Turns) -> tuple[Nested, Nested]:
        """Points in space and their targets, moved together."""
        raise UserError(f"turn moves points in space, and the inputs of task {self.name!r} are none: leave it out")

    @property
    def draws(self) -> bool:
        """Whether ``drawn`` changes the batches of a training."""
        return False

    def drawn(self, inputs: Nested, targets: Nested, seed: int, number: int, ids: Tensor) -> tuple[Nested, Nested]:
        """A batch of a training with what is drawn for it: negatives, say; inputs and targets change together.

        It is a function of (seed, number of the view, sample numbers), and teacher and student are given the same.
        """
        return inputs, targets

    def mixed(self, targets: Nested, partners: Nested, share: Tensor) -> Nested:
        """The targets of mixed samples (mixup): ``share`` of the first, the rest of the partner."""
        raise UserError(
            f"mixup mixes class labels, and the targets of task {self.name!r} cannot be mixed: leave it out"
        )

    def encode(self, texts: Iterable[str]) -> Nested:
        """Texts as a batch of inputs, if ``takes_words``."""
        raise NotImplementedError(f"task {self.name!r} makes no inputs of texts")

    # Answers.

    @abstractmethod
    def answer(self, output: object) -> Values:
        """Named tensors from the output of a network."""

    @abstractmethod
    def misfit(self, answer: Values) -> str | None:
        """Why a network's answer does not have the shape of this task, in words; None if it has."""

    def fits(self, student: Values, teacher: Values) -> str | None:
        """Why a student's and a teacher's answer cannot be compared, in words; None if they can."""
        for name in student:
            if name in teacher and student[name].shape[1:] != teacher[name].shape[1:]:
                ours, theirs = (tuple(answer[name].shape[1:]) for answer in (student, teacher))
                return f"the student's {name} have shape {ours}, the teacher's {theirs}"
        return None

    @abstractmethod
    def loss(self, answer: Values, targets: Nested, *, smoothing: float = 0.0) -> Tensor:
        """The supervised loss, one value per sample. ``smoothing`` is label smoothing, for tasks with labels."""

    def rows(self, answer: Values, targets: Nested | None) -> Rows:
        """The answer as questions with options.

        Two answers that fit have the same rows. ``targets`` is None while shapes are traced.
        """
        raise NotImplementedError(f"task {self.name!r} has no rows of class scores")

    def numbers(self, answer: Values, targets: Nested | None) -> Numbers | None:
        """The answer as numbers that are compared by distance; None if it has none."""
        return None

    def places(self, targets: Nested, grid: tuple[int, int], size: tuple[int, int]) -> Tensor | None:
        """Weights (N, height, width) on a feature map of ``grid`` over images of ``size``; None: equal weights."""
        return None

    def extent(self, inputs: Nested | None) -> tuple[int, int] | None:
        """The ``size`` of ``places`` for these inputs: height and width of images; None where they are none."""
        return (inputs.shape[2], inputs.shape[3]) if isinstance(inputs, Tensor) and inputs.ndim == 4 else None

    def together(self, answers: Sequence[Values]) -> Values:
        """The answer of several networks as one: by default the mean of each value."""
        return {name: torch.stack([answer[name] for answer in answers]).mean(0) for name in answers[0]}

    # Evaluation.

    @abstractmethod
    def meter(self) -> Meter:
        """A new evaluation; ``MetricMeter`` makes one of any ``torchmetrics.Metric``."""

    @property
    def of_batch(self) -> Callable[[Values, Nested], Tensor] | None:
        """The function of an answer and its targets that gives the first figure of a training's batch, as one number.

        It stays on the device, which is not waited for. None where the figure is no mean over samples.
        """
        return None

    def kept(self, answer: Values, targets: Nested) -> Values:
        """The part of an answer that is kept for ``compared`` and ``details``: by default all, in float32."""
        return {name: value.float() if value.is_floating_point() else value for name, value in answer.items()}

    def compared(self, student: Values, teacher: Values, targets: Nested) -> dict[str, float]:
        """The ``likeness`` figures of two kept answers about the same samples."""
        return {}

    def changed(self, before: Values, after: Values) -> str | None:
        """Why two kept answers, of one network before and after it was made cheaper, are not alike, in words.

        By default the distance of each value may be 2 % of its length.
        """
        for name, value in before.items():
            distance = ((value - after[name]).float().norm() / value.float().norm().clamp_min(1e-30)).item()
            if not distance <= 0.02:
                return f"its {name} differ by {distance:.2g} of their length (allowed: 0.02)"
        return None

    def details(self, answers: Sequence[Values], targets: Nested, taught: Sequence[Values]) -> dict[str, object]:
        """Further measures for the report, as JSON, of the kept answers of several seeds.

        ``taught`` are the teacher's kept answers for the same seeds; empty without a teacher. ``report`` draws
        ``options``, ``calibration`` and ``agreement``, and ignores others.
        """
        return {}

    def advice(self, teacher: Values, temperature: float) -> dict[str, object]:
        """Advice from the teacher's kept answers, as JSON; ``hint`` is a sentence or None."""
        return {}

    def errors(self, student: Values, teacher: Values, targets: Nested, ids: Tensor) -> dict[str, object]:
        """The samples with errors of the student, of the teacher and of both, as JSON; empty if no answer is wrong."""
        return {}

    def differing(self, student: Values, teacher: Values, targets: Nested) -> Sequence[Differing]:
        """The samples on which the two differ most, for the report's pictures."""
        return ()

    def commonest(self, answer: Values) -> float | None:
        """The share of samples with the most common kept answer; None where answers are not of a few kinds."""
        return None

    def magnitude(self, targets: Nested) -> float:
        """The order of magnitude of plausible answers: 1 for logits, the largest target where answers are numbers."""
        return 1.0

    def luck(self, figure: Figure, samples: int) -> float:
        """The largest distance from ``chance`` on this number of samples that is still explained by chance.

        By default three standard deviations of a share of independent samples; 0 for what is not a share.
        """
        if figure.chance is None or figure.unit != "share":
            return 0.0
        spread = 3 * math.sqrt(figure.chance * (1 - figure.chance) / samples)
        return min(spread, (1 - figure.chance) / 2)  # so that enough can be right of a few samples

    @abstractmethod
    def told(self, answer: Values, *, top: int = 3) -> list[Told]:
        """The displayed form of each sample's answer; ``top`` is the number of options, if there are options."""

    def located(self, told: Told, scale: tuple[float, float], offset: tuple[float, float]) -> Told:
        """The displayed form in the pixels of an image file, if it names places.

        ``scale`` and ``offset``, of x and y, are how the file became the sample: ``x * scale + offset``.
        """
        return told

    def of_text(self, told: Told, text: str) -> Told:
        """The displayed form of the answer to a text, if it names places in it."""
        return told

    # Derived.

    @property
    def makes_rows(self) -> bool:
        """Whether ``rows`` makes rows of class scores; else an answer is its own row, or has none."""
        return type(self).rows is not Task.rows

    @property
    def selecting(self) -> Figure:
        """The figure that selects: the first."""
        return self.figures[0]

    def figure(self, name: str) -> Figure:
        """The figure of this name, also among ``likeness``; ``loss`` is one, too."""
        known = {figure.name: figure for figure in (*self.figures, *self.likeness, Figure(LOSS, LOSS, "lower"))}
        return known[name]

    @property
    def settings(self) -> dict[str, object]:
        """The fields by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def describe(self) -> dict[str, object]:
        """Name and fields as JSON, from which ``tasks.from_description`` makes the same task."""
        return {"name": self.name, **asdict(self)}

    @property
    def about(self) -> str:
        """The task in a few words: ``"classification, 10 classes"``."""
        return f"{self.name}, {self.outputs} outputs"


ANSWERS = {"out", "output", "outputs", "prediction", "predictions", "scores"}  # what others call the answer


def outputs_by_name(output: object, main: str) -> dict[str, Tensor]:
    """The tensors of whatever a network returns, by name.

    A tensor, the first tensor of a tuple, and a tensor that is alone under a usual name (``ANSWERS``) are called
    ``main``; mappings, dataclasses, named tuples with a field ``main`` and the outputs of Hugging Face's networks keep
    their names.

    >>> outputs_by_name((torch.zeros(2, 3), None), "logits")["logits"].shape
    torch.Size([2, 3])
    """
    if isinstance(output, Tensor):
        return {main: output}
    if is_dataclass(output) and not isinstance(output, (type, Mapping)):
        output = {each.name: getattr(output, each.name) for each in fields(output)}
    if not isinstance(output, (Mapping, tuple, list)) and hasattr(output, main):
        output = {main: getattr(output, main)}
    if isinstance(output, tuple) and main in getattr(output, "_fields", ()):
        output = dict(zip(output._fields, output, strict=True))  # type: ignore[attr-defined]
    if isinstance(output, Mapping):
        tensors = {str(name): value for name, value in output.items() if isinstance(value, Tensor)}
        return {main: next(iter(tensors.values()))} if len(tensors) == 1 and tensors.keys() <= ANSWERS else tensors
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return {main: output[0]}
    return {}


def only(output: object, name: str) -> Tensor:
    """The one tensor that a task needs: the output itself, or the one of this name in it."""
    if isinstance(output, Tensor):
        return output
    tensors = outputs_by_name(output, name)
    if name not in tensors:
        there = f", of {', '.join(map(repr, tensors))}" if tensors else ""
        way_out = f": name the answer, understudy.models.Output(network, {next(iter(tensors), 'NAME')!r})"
        raise UserError(
            f"the network answers with {type(output).__name__}, which has no tensor {name!r}{there}{way_out}"
        )
    return tensors[name]


def outputs_named(names: Sequence[str] | int | None, count: int, kind: str) -> tuple[str, ...]:
    """The names of so many outputs, numbered where none are given; a ``UserError`` if they do not fit."""
    if names is None or isinstance(names, int):
        return tuple(f"{kind} {number}" for number in range(count))
    names = [names] if isinstance(names, str) else names
    if len(names) != count:
        raise UserError(
            f"{len(names)} names are given ({shown(list(names))}), and the targets have {count} {kind}s: name each "
            "one, or none"
        )
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UserError(f"{name!r} is the name of two outputs: give each one its own")
    return tuple(names)
