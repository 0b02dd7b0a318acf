"""``result.json`` of a run."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from understudy.measure import Spread
from understudy.report.record._part import Part, Values


class Latency(Part):
    p50: float
    p95: float | None = None
    batch: int = 1
    threads: int | None = None


class Network(Part):
    network: str = ""
    parameters: int | None = None
    bytes: int | None = None
    multiplications: int | None = None
    activation_bytes: int | None = None
    latency_ms: Latency | None = None
    throughput_ms: Latency | None = None
    onnx_latency_ms: Latency | None = None
    onnx_throughput_ms: Latency | None = None


class Bin(Part):
    """The samples of one interval of confidence: how sure, how many of them hold good, how many there are."""

    confidence: float
    share: float
    count: int = 0


class Measures(Part):
    """What is told of all seeds together."""

    classes: list[float | None] = Field(default_factory=list)
    calibration: list[Bin] = Field(default_factory=list)
    agreement: list[Bin] = Field(default_factory=list)


class Row(Part):
    """One training of a method."""

    seed: int | None = None
    training: str = ""
    accuracy: float | None = None
    loss: float | None = None
    agreement: float | None = None
    validation: float | None = None
    seconds: float | None = None
    kept: str | None = None


class Method(Part):
    method: str = ""
    trainings: list[Row] = Field(default_factory=list)
    taught: bool | None = None  # older runs do not say
    objectives: dict[str, str] | None = None
    accuracy: Values | None = None
    top5: Values | None = None
    loss: Values | None = None
    calibration_error: Values | None = None
    agreement: Values | None = None
    divergence: Values | None = None
    seconds: Values | None = None
    measures: Measures = Field(default_factory=Measures)

    @property
    def validation(self) -> float | None:
        """The mean over the seeds, where each has one."""
        values = [row.validation for row in self.trainings if row.validation is not None]
        return sum(values) / len(values) if values and len(values) == len(self.trainings) else None

    @property
    def is_baseline(self) -> bool:
        return self.method == "alone"

    @property
    def reads_teacher(self) -> bool:
        return not self.is_baseline if self.taught is None else self.taught


class Softness(Part):
    """How much the teacher's answers hold beside their first choice, in nats."""

    entropy: float
    temperature: float
    softened: float
    most: float
    hint: str | None = None


class Teacher(Measures):
    accuracy: Values | None = None
    top5: Values | None = None
    loss: Values | None = None
    calibration_error: Values | None = None
    softness: Softness | None = None

    @property
    def values(self) -> list[float]:
        """One for each seed; but a teacher that is given is the same for every seed, and has no spread."""
        values = self.accuracy.values if self.accuracy else []
        return values if len(set(values)) > 1 else values[:1]

    @property
    def spread(self) -> Spread | None:
        return Spread(tuple(self.values)) if self.values else None


class Wrong(Part):
    count: int = 0


class Errors(Part):
    """How many samples one of the two gets wrong and the other right, and how many both get wrong."""

    student: Wrong = Field(default_factory=Wrong)
    teacher: Wrong = Field(default_factory=Wrong)
    both: int = 0


class Sample(Part):
    """A picture on which the student that is kept and its teacher disagree."""

    id: int
    file: str
    label: int = Field(ge=0)
    student: int = Field(ge=0)
    teacher: int = Field(ge=0)
    student_confidence: float | None = None
    teacher_confidence: float | None = None


class Similarity(Part):
    """Of each method's student, how alike its inner values are to the teacher's: a row for each of the teacher's."""

    teacher: list[str]
    student: list[str]
    samples: int = 0
    tapped: dict[str, list[tuple[str, str]]] = Field(default_factory=dict)  # pairs that a method's terms compare
    methods: dict[str, list[list[float]]]

    @model_validator(mode="after")
    def _rectangular(self) -> "Similarity":
        shape = [len(self.student)] * len(self.teacher)
        if any([len(row) for row in rows] != shape for rows in self.methods.values()):
            raise ValueError("a map must have a row for each of the teacher's taps and a value for each student's tap")
        return self


class Verdict(Part):
    verdict: Literal["beats", "ties", "loses", "unknown"]
    gain: float | None = None
    sentence: str


class Data(Part):
    name: str = ""
    train: int | None = None
    validation: int | None = None
    measured_on: str = "test"
    measured: int | None = None
    classes: list[str] = Field(default_factory=list)


class Hop(Part):
    """A training of a search for a path: the last of ``path``, taught along the others; one alone has no others."""

    path: list[int | str] = Field(min_length=1)
    quick: bool = False
    validation: Values | None = None
    test: Values | None = None

    @property
    def shown(self) -> Spread | None:
        """What the figure tells: the test part's, as papers do, where it was read."""
        found = self.test or self.validation
        return found.spread if found else None


class PathSearch(Part):
    """A search for the best path from teacher to student."""

    sizes: list[int | str]
    strategy: str = ""
    edges: list[Hop] = Field(default_factory=list)
    ranked: list[list[int | str]] = Field(default_factory=list)  # by validation
    sentences: list[str] = Field(default_factory=list)
    trainings: int | None = None

    def hop(self, path: Sequence[int | str]) -> Hop | None:
        return next((hop for hop in self.edges if hop.path == list(path) and not hop.quick), None)


class Result(Part):
    """``result.json``."""

    title: str = ""
    command: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str | int | float] = Field(default_factory=dict)
    seeds: list[int] = Field(default_factory=list)
    data: Data = Field(default_factory=Data)
    networks: dict[str, Network] = Field(default_factory=dict)
    teacher: Teacher | None = None  # of several, what they answer together
    teachers: dict[str, Teacher] = Field(default_factory=dict)  # each of several
    methods: dict[str, Method] = Field(min_length=1)
    verdicts: dict[str, Verdict] = Field(default_factory=dict)
    kept: str | None = None
    path: PathSearch | None = None
    notes: list[str] = Field(default_factory=list)
    errors: Errors | None = None
    samples: list[Sample] = Field(default_factory=list)
    similarity: Similarity | None = None
    measuring_seconds: float | None = None
    memory: dict[str, int] = Field(default_factory=dict)

    @property
    def teacher_spread(self) -> Spread | None:
        return self.teacher.spread if self.teacher else None

    @property
    def taught_by(self) -> dict[str, Network]:
        """The teachers' networks: ``teacher``, or ``teacher1``, ``teacher2`` and so on."""
        return {name: network for name, network in self.networks.items() if name.startswith("teacher")}

    @property
    def each_teacher(self) -> dict[str, Teacher]:
        """Every teacher's figures, and of several those of all together."""
        together = {"teachers together" if self.teachers else "teacher": self.teacher} if self.teacher else {}
        return {**self.teachers, **together}

    def network_of(self, method: str) -> Network:
        """A method's student: of its own where it leaves with a part of its teacher."""
        return self.networks.get(f"student, {method}") or self.networks.get("student") or Network()

    def spread_of(self, method: str) -> Spread | None:
        found = self.methods[method].accuracy
        return found.spread if found else None

    @property
    def distilled(self) -> list[str]:
        return [name for name, found in self.methods.items() if not found.is_baseline]

    @property
    def foremost(self) -> tuple[str, bool]:
        """The method to tell first: the distilled one that is best on validation, and whether validation told so."""
        names = self.distilled or list(self.methods)
        chosen = {name: self.methods[name].validation for name in names}
        if all(value is not None for value in chosen.values()):
            return max(names, key=lambda name: chosen[name] or 0.0), True
        return max(names, key=lambda name: found.mean if (found := self.spread_of(name)) else -1.0), False
