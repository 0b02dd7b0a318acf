"""The files of a run as typed values. The same classes write and read them.

``Result`` is ``result.json`` of a run, ``SearchRecord`` is ``tune.json``, ``Landscapes`` is ``landscape.json``. Figures
are stored by name; ``Result.task`` holds the description of each: its label, its direction, and its value
by chance.
"""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import ConfigDict, Field, JsonValue, computed_field, model_validator

from understudy.measure.latency import Latency
from understudy.measure.verdict import Spread, Verdict
from understudy.printable import some
from understudy.tasks import LOSS, Figure, Task
from understudy.tasks.class_scores import Bin, Histogram, Softness
from understudy.training.records import Figures, File, Record

BASELINE = "alone"


class Values(Record):
    """One figure of every seed; mean and standard deviation are written for other readers."""

    model_config = ConfigDict(extra="ignore")

    values: list[float] = Field(min_length=1)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mean(self) -> float:
        return self.spread.mean

    @computed_field  # type: ignore[prop-decorator]
    @property
    def sd(self) -> float | None:
        return self.spread.sd

    @property
    def spread(self) -> Spread:
        return Spread(tuple(self.values))


class TaskRecord(Record):
    """The description of the task of a run."""

    name: str
    figures: list[Figure] = Field(min_length=1)  # the first one selects and is shown first
    options: list[str] = Field(default_factory=list)  # the word for the outputs: classes, labels, landmarks

    @classmethod
    def of(cls, task: Task) -> Self:
        figures = [*task.figures, *task.likeness, task.figure(LOSS)]
        return cls(
            name=task.name, figures=list({figure.name: figure for figure in figures}.values()), options=list(task.names)
        )

    @property
    def first(self) -> Figure:
        return self.figures[0]

    def figure(self, name: str) -> Figure:
        """The description of a figure; one of another version is described by its name."""
        return next((figure for figure in self.figures if figure.name == name), Figure(name, name))


class DataRecord(Record):
    """The data of a run; ``digest`` tells objects of one name apart."""

    name: str = ""
    digest: str = ""  # of an object: that of its samples
    train: int
    unlabelled: int = 0  # further training samples, of students with a teacher
    validation: int = 0
    measured_on: str = "test"
    measured: int = 0


class NetworkRecord(Record):
    """A network's description, its size, and its latency for one sample and for many."""

    network: str
    parameters: int | None = None
    bytes: int | None = None
    multiplications: int | None = None
    activation_bytes: int | None = None
    latency_ms: Latency | None = None
    throughput_ms: Latency | None = None
    onnx_latency_ms: Latency | None = None
    onnx_throughput_ms: Latency | None = None


class Measures(Record):
    """Measurements over all seeds; empty where a task has none."""

    options: list[float | None] = Field(default_factory=list)  # the first figure of each of the task's options
    calibration: list[Bin] = Field(default_factory=list)  # accuracy by the network's own confidence
    agreement: list[Bin] = Field(default_factory=list)  # agreement by the teacher's confidence
    logit: Histogram | None = None  # of one class


class Row(Record):
    """One training of a method."""

    seed: int
    training: str
    figures: Figures
    validation: Figures = Field(default_factory=dict)
    seconds: float | None = None
    kept: Literal["best", "last"] | None = None
    broken: list[str] = Field(default_factory=list)  # why this student is broken


class Method(Record):
    """A method of the run over its seeds."""

    method: str
    trainings: list[Row] = Field(min_length=1)
    taught: bool = False  # whether a stage reads a teacher
    objectives: dict[str, str] = Field(default_factory=dict)  # of each stage
    figures: dict[str, Values] = Field(default_factory=dict)
    seconds: Values | None = None
    measures: Measures = Field(default_factory=Measures)

    @classmethod
    def of(
        cls, method: str, rows: Sequence[Row], *, taught: bool, objectives: dict[str, str], measures: Measures
    ) -> Self:
        """Make the record, with the figures that every seed has."""
        seconds = [row.seconds for row in rows if row.seconds is not None]
        return cls(
            method=method,
            trainings=list(rows),
            taught=taught,
            objectives=objectives,
            figures=together([row.figures for row in rows]),
            seconds=Values(values=seconds) if len(seconds) == len(rows) else None,
            measures=measures,
        )

    def spread(self, figure: str) -> Spread | None:
        values = self.figures.get(figure)
        return values.spread if values else None

    def validation(self, figure: str) -> float | None:
        """The mean over the seeds, where each has one."""
        values = [row.validation[figure] for row in self.trainings if figure in row.validation]
        return Spread(tuple(values)).mean if len(values) == len(self.trainings) else None

    @property
    def is_baseline(self) -> bool:
        return self.method == BASELINE


class Teacher(Record):
    """A teacher's figures, one for each seed."""

    figures: dict[str, Values]
    measures: Measures = Field(default_factory=Measures)
    softness: Softness | None = None

    def values(self, figure: str) -> list[float]:
        """One for each seed; a teacher that is the same for every seed has no spread."""
        values = self.figures[figure].values if figure in self.figures else []
        return values if len(set(values)) > 1 else values[:1]

    def spread(self, figure: str) -> Spread | None:
        values = self.values(figure)
        return Spread(tuple(values)) if values else None


class Wrong(Record):
    """Samples that only one of the two networks answers correctly."""

    count: int = 0
    ids: list[int] = Field(default_factory=list)


class Errors(Record):
    """The number of samples that only one of the two networks, or neither of them, answers correctly."""

    student: Wrong
    teacher: Wrong
    both: int = 0


class Sample(Record):
    """A picture on which the kept student and its teacher disagree, with both answers."""

    id: int
    file: str
    wrong: Literal["student", "teacher", "both"]
    target: str
    student: str
    teacher: str
    student_confidence: float | None = None
    teacher_confidence: float | None = None
    sha256: str = ""  # of the file
    drawn: dict[str, list[list[float]]] = Field(default_factory=dict)  # boxes, by whose they are


class Similarity(Record):
    """Linear CKA of each method's student with the teacher: a row for each of the teacher's taps."""

    teacher: list[str]
    student: list[str]
    samples: int
    tapped: dict[str, list[tuple[str, str]]] = Field(default_factory=dict)  # the pairs that a method's terms compare
    methods: dict[str, list[list[float]]]

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        shape = [len(self.student)] * len(self.teacher)
        if any([len(row) for row in rows] != shape for rows in self.methods.values()):
            raise ValueError("a map must have a row for each of the teacher's taps and a value for each student's tap")
        return self


Size = int | str


class Hop(Record):
    """A training of a path search: the last network of ``path``, trained along the others."""

    path: list[Size] = Field(min_length=1)
    quick: bool = False
    trainings: list[str] = Field(default_factory=list)
    validation: Values | None = None  # the first figure, on the part that selects
    test: Values | None = None  # the same on the test part, read once, after the search

    @property
    def shown(self) -> Spread | None:
        """The test part's figure, as papers report it, where it was read."""
        values = self.test or self.validation
        return values.spread if values else None


class PathRecord(Record):
    """A search for the best path from teacher to student."""

    strategy: str
    sizes: list[Size]
    networks: dict[str, str] = Field(default_factory=dict)
    edges: list[Hop] = Field(default_factory=list)
    ranked: list[list[Size]] = Field(default_factory=list)  # by validation
    best: list[Size] = Field(default_factory=list)
    sure: Literal["yes", "no", "unknown"] = "unknown"
    sentences: list[str] = Field(default_factory=list)
    searched: int = 0
    paths: int = 0
    left: list[str] = Field(default_factory=list)
    failed: dict[str, str] = Field(default_factory=dict)
    trainings: int = 0

    def hop(self, path: Sequence[Size]) -> Hop | None:
        return next((hop for hop in self.edges if hop.path == list(path) and not hop.quick), None)


class Result(File):
    """``result.json`` of a run."""

    title: str = ""
    command: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str | int] = Field(default_factory=dict)
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    seeds: list[int]
    task: TaskRecord
    data: DataRecord
    networks: dict[str, NetworkRecord]
    teacher: Teacher | None = None  # of several, their ensemble
    teachers: dict[str, Teacher] = Field(default_factory=dict)  # each of several
    methods: dict[str, Method] = Field(min_length=1)
    verdicts: dict[str, Verdict] = Field(default_factory=dict)  # against the student alone
    kept: str  # the training whose student is kept
    kept_because: str = ""  # the reason
    path: PathRecord | None = None
    notes: list[str] = Field(default_factory=list)
    errors: Errors | None = None
    samples: list[Sample] = Field(default_factory=list)
    similarity: Similarity | None = None
    digests: dict[str, str] = Field(default_factory=dict)  # SHA-256 of files of the run folder
    measuring_seconds: float | None = None
    memory: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        lacking = [name for name in self.methods if not {"student", f"student, {name}"} & self.networks.keys()]
        if lacking:
            raise ValueError(f"it has no network of method {lacking[0]!r}")
        return self

    @property
    def first(self) -> Figure:
        """The figure that selects and is shown first."""
        return self.task.first

    @property
    def teacher_spread(self) -> Spread | None:
        return self.teacher.spread(self.first.name) if self.teacher else None

    @property
    def teacher_networks(self) -> dict[str, NetworkRecord]:
        """The teachers' networks: ``teacher``, or ``teacher1``, ``teacher2`` and so on."""
        return {name: network for name, network in self.networks.items() if name.startswith("teacher")}

    @property
    def each_teacher(self) -> dict[str, Teacher]:
        """Every teacher's figures, and of several those of all together."""
        together = {"teachers together" if self.teachers else "teacher": self.teacher} if self.teacher else {}
        return {**self.teachers, **together}

    @property
    def trained(self) -> list[str]:
        """The trainings of all methods."""
        return [row.training for method in self.methods.values() for row in method.trainings]

    @property
    def broken(self) -> dict[str, list[str]]:
        """The trainings with a broken student, and the reasons."""
        return {row.training: row.broken for method in self.methods.values() for row in method.trainings if row.broken}

    def network_of(self, method: str) -> NetworkRecord:
        """A method's student, which is a network of its own where it keeps a part of its teacher."""
        return self.networks.get(f"student, {method}") or self.networks["student"]

    def spread_of(self, method: str) -> Spread | None:
        """The first figure of a method."""
        return self.methods[method].spread(self.first.name)

    @property
    def distilled(self) -> list[str]:
        return [name for name, method in self.methods.items() if not method.is_baseline]

    @property
    def foremost(self) -> str:
        """The method of the kept student, which tables and texts show first."""
        trained = {row.training: name for name, method in self.methods.items() for row in method.trainings}
        return trained.get(self.kept) or list(self.methods)[-1]


class Surface(Record):
    """The loss around one student, over two random directions; a loss that is no number is None."""

    training: str
    method: str
    seed: int
    student: str = ""  # SHA-256 of its weights
    axis: list[float] = Field(min_length=3)
    losses: list[list[float | None]]
    centre: float | None = None
    sharpness: float | None = None

    @model_validator(mode="after")
    def _square(self) -> Self:
        if [len(row) for row in self.losses] != [len(self.axis)] * len(self.axis):
            raise ValueError("its losses are not a square over its axis")
        return self


class Landscapes(File):
    """``landscape.json``: the loss around each student of a run."""

    part: str
    samples: int
    direction_seed: int = 0
    sharpness_radius: float
    students: list[Surface] = Field(min_length=1)


class ProofRecord(Record):
    """An entry of ``proof.json``."""

    model_config = ConfigDict(extra="ignore")

    student: str  # SHA-256 of the weights that were exported
    sha256: str = ""  # of the exported file
    broken: list[str] = Field(default_factory=list)  # why the student is broken
    format: str
    bytes: dict[str, int]
    figure: Figure  # the first of the task
    value: dict[str, float]  # of the figure, before and after
    agreement: float | None = None  # of a task whose answers are choices
    latency_ms: dict[str, Latency]
    speedup: dict[str, float | None]


class FailedTrainings(File):
    """``failed.json``: the failed trainings without which a choice was made."""

    trainings: list[str]


class SearchTime(File):
    """``search.json``: the total seconds of the sessions of a path search."""

    seconds: float


class TrialRecord(Record):
    """One trial of a search for settings."""

    trial: int
    state: Literal["complete", "stopped", "failed", "running"]
    settings: Figures
    validation: Values | None = None  # the first figure
    epochs: int = 0
    reason: str = ""


class BestTrial(Record):
    trial: int
    settings: Figures
    validation: Values
    lines: str  # the settings as lines of a recipe


class TestFigure(Record):
    """The first figure on the test part of one trial, under the name that says how the trial was chosen."""

    __test__ = False  # not a test class for pytest

    trial: int
    values: Values
    of: int | None = None  # the best of so many


class SearchRecord(File):
    """``tune.json``: a search for settings."""

    title: str = ""
    command: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str | int] = Field(default_factory=dict)
    method: str
    seeds: list[int]
    task: TaskRecord
    data: DataRecord
    search: dict[str, str]
    sampler_seed: int = 0
    best: BestTrial
    figures: dict[str, TestFigure] = Field(default_factory=dict)
    test_read_after_trials: list[int] = Field(default_factory=list)
    trials: list[TrialRecord] = Field(min_length=1)

    @property
    def tie(self) -> str:
        """A sentence on the trials whose figure on validation equals that of the best one, where there are any."""
        mean = self.best.validation.mean
        others = [
            f"trial {trial.trial}"
            for trial in self.trials
            if trial.trial != self.best.trial
            and trial.state == "complete"
            and trial.validation
            and trial.validation.mean == mean
        ]
        return f"as good: {some(others)}; of equal trials the earliest is named" if others else ""


def together(figures: Sequence[Figures]) -> dict[str, Values]:
    """The figures that every seed has, each with the values of all seeds.

    Example:
        >>> together([{"accuracy": 0.5}, {"accuracy": 0.75, "loss": 1.0}])["accuracy"].mean
        0.625
    """
    names = [name for name in figures[0] if all(name in others for others in figures)] if figures else []
    return {name: Values(values=[others[name] for others in figures]) for name in names}
