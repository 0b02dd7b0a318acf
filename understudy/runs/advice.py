"""``understudy advise``: short trainings of shapes that cost about the same, and which one to train out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pydantic import Field, JsonValue
from torch import nn

from understudy import files
from understudy import recipe as recipes
from understudy.config import hardware
from understudy.config.settings import Settings
from understudy.errors import FailedTrainingError, UserError
from understudy.files import write_atomically
from understudy.measure import Candidate, Choice, Latency, choose, latencies
from understudy.measure.machine import command, machine, versions
from understudy.measure.shapes import Limits, Measure, Shape, at_equal_cost
from understudy.measure.verdict import amount
from understudy.models import NetworkSpec
from understudy.plans import Node, Plan
from understudy.recipe import Recipe
from understudy.recipe.build import Builder
from understudy.recipe.schema import StudentTable
from understudy.runs.compile import bare, compiled, guides, link, plain, teachers_of
from understudy.runs.records import Values
from understudy.runs.run import Run
from understudy.tasks import Figure
from understudy.training.records import File, Record

ADVICE = "advice.json"
PAPER = (
    "CAN (Xu et al., 2018, table 5, CIFAR-100): at about equal time the deeper, thinner student had the lower error, "
    "WRN-22-4 (1.07 s) 21.66 %, WRN-10-10 (1.17 s) 23.02 %. None of its students deeper than 10 layers is thinner than "
    "4 times a ResNet."
)


class ShapeRecord(Record):
    """A shape within the limits, and what its short trainings reached on validation, where it was tried."""

    network: str
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    depth: int
    parameters: int
    multiplications: int
    latency_ms: Latency
    validation: Values | None = None
    failed: str | None = None

    @classmethod
    def of(cls, shape: Shape) -> Self:
        assert shape.latency is not None
        assert shape.multiplications is not None
        return cls(
            network=shape.network.name,
            settings=dict(shape.network.settings),  # type: ignore[arg-type]  # plain values, checked by the record
            depth=shape.depth,
            parameters=shape.parameters,
            multiplications=shape.multiplications,
            latency_ms=shape.latency,
        )

    @property
    def shape(self) -> Shape:
        spec = NetworkSpec(self.network, dict(self.settings))
        return Shape(spec, self.depth, self.parameters, self.multiplications, self.latency_ms)


class AdviceRecord(File):
    """``advice.json``: the shapes within the limits, those that were tried, and which one to train out."""

    command: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str | int] = Field(default_factory=dict)
    families: list[str]
    limits: dict[str, float | int | None]
    shapes: list[ShapeRecord]  # at each depth the widest, from deep to shallow
    figure: Figure | None = None  # by which the tried ones are compared
    method: str | None = None
    epochs: int | None = None
    seeds: list[int] = Field(default_factory=list)
    chosen: str | None = None
    sentences: list[str] = Field(default_factory=list)

    @classmethod
    def of(cls, families: Sequence[str], limits: Limits, shapes: Sequence[Shape]) -> Self:
        """What is known before any training."""
        record = cls(
            command=command(),
            versions=versions(),
            machine=machine(),
            families=list(families),
            limits={"latency_ms": limits.latency_ms, **_counts(limits)},
            shapes=[ShapeRecord.of(shape) for shape in shapes],
        )
        return record.model_copy(update={"sentences": record.before})

    @property
    def bounds(self) -> Limits:
        return Limits(**self.limits)  # type: ignore[arg-type]  # as it was written

    @property
    def before(self) -> list[str]:
        """What to try, as far as costs and the paper say."""
        near = [str(shape) for shape in at_equal_cost([one.shape for one in self.shapes], self.bounds, 1000)]
        widest = f"At each depth the widest shape that fits ({self.bounds}): {len(self.shapes)} of them."
        if len(near) < 2:
            return [widest, f"Try {near[0]}: no other shape costs at least half as much."]
        return [
            widest,
            f"At about equal {self.equal} stand {'; '.join(near)}. By the paper, begin with {near[0]}.",
            PAPER if self.bounds.latency_ms is not None else f"{PAPER} Here {self.equal} are equal, and times are not.",
        ]

    @property
    def equal(self) -> str:
        """What the compared shapes cost about alike."""
        if self.bounds.latency_ms is not None:
            return "time"
        return "parameters" if self.bounds.multiplications is None else "multiplications"


class AdviceRun(Run):
    """Short trainings of shapes in a run folder; the test part is not read.

    Args:
        recipe: the run's, with one method; its student is replaced by the shapes.
        most: how many shapes are tried.
    """

    def __init__(self, recipe: Recipe, out: Path, *, record: AdviceRecord, most: int, **options: Any):
        if recipe.data.validation == 0:
            raise UserError("shapes are compared on validation samples, and data.validation is 0: hold some back")
        tried = at_equal_cost([one.shape for one in record.shapes], record.bounds, most)
        super().__init__(recipe.model_copy(update={"student": student(recipe, tried[0])}), out, **options)
        (self.method,) = recipe.methods
        self.advice, self.tried = record, tried
        self.nodes = {str(shape): _nodes(self.recipe, shape) for shape in tried}
        self.execution.submit(*(node for nodes in self.nodes.values() for node in nodes))
        self.plan = self.execution.plan

    @staticmethod
    def first_of(record: AdviceRecord, most: int, recipe: Recipe, _: Builder) -> Plan:
        """The trainings, by which the number of workers is chosen."""
        plan = compiled(recipe, ())
        for shape in at_equal_cost([one.shape for one in record.shapes], record.bounds, most):
            for node in _nodes(recipe, shape):
                plan.add(node)
        return plan

    def decided(self) -> list[str]:
        """Empty: of the recipe's own trainings, only the teachers' are carried out."""
        return []

    def foresee(self) -> int:
        """0: nothing depends on what comes out."""
        return 0

    def _set_aside(self, failure: FailedTrainingError) -> None:
        """Without the teacher there is no advice; without one shape there is."""
        if self.plan[failure.training].role == "teacher":
            raise failure
        super()._set_aside(failure)

    def advise(self) -> AdviceRecord:
        """Run the missing trainings and write what follows from them."""
        path = self.folder.path / ADVICE
        with self.folder.locked():
            files.remove_leftovers(self.folder.path)
            self._adopt_lost()
            self.folder.claim(recipes.write(self.recipe))
            write_atomically(path, self.advice.text().encode())  # with the latencies by which the shapes were chosen
            figure = self.builder.data.task.selecting
            self.callback.run_begins(self.plan.names, figure)
            records = self.trained_beside([node for nodes in self.nodes.values() for node in nodes])
            values = {name: record.selecting_value for name, record in records.items()}
            shapes = [self._with(one, values) for one in self.advice.shapes]
            choice = choose(
                [_candidate(one) for one in shapes if one.validation is not None], figure, part="validation"
            )
            if choice.chosen is None:
                raise UserError("no short training came to its end: lower the learning rate, or give more --epochs")
            table = self.recipe.methods[self.method]
            self.advice = self.advice.model_copy(
                update={
                    "shapes": shapes,
                    "figure": figure,
                    "method": self.method,
                    "epochs": table.train.epochs,
                    "seeds": list(self.recipe.seeds_of(self.method)),
                    "chosen": choice.chosen.name,
                    "sentences": [*self.advice.before, *self._after(shapes, figure, choice, table.train.epochs)],
                }
            )
            write_atomically(path, self.advice.text().encode())
        return self.advice

    def _after(self, shapes: Sequence[ShapeRecord], figure: Figure, choice: Choice, epochs: int) -> Sequence[str]:
        """What the trainings say: which shape, and whether the paper's advice holds here."""
        tried = [one for one in shapes if one.validation is not None]
        compared = [_depth_against_width(tried, figure, self.advice.equal)] if len(tried) > 1 else []
        length = "1 epoch" if epochs == 1 else f"{epochs} epochs"
        return [choice.reason, *compared, f"A training of {length} is short: what learns fast is ahead in it."]

    def _with(self, one: ShapeRecord, values: Mapping[str, float | None]) -> ShapeRecord:
        """A shape with what its trainings reached."""
        nodes = self.nodes.get(str(one.shape))
        if nodes is None:
            return one.model_copy(update={"validation": None, "failed": None})
        reached = [value for node in nodes if (value := values.get(node.name)) is not None]
        if len(reached) < len(nodes):
            return one.model_copy(update={"validation": None, "failed": "a short training failed"})
        return one.model_copy(update={"validation": Values(values=reached), "failed": None})


def read_advice(path: Path, families: Sequence[str], limits: Limits) -> AdviceRecord | None:
    """The advice in a folder, whose latencies are not measured again; None where there is none."""
    if not path.exists():
        return None
    record = AdviceRecord.read(path, way_out="remove it, and the shapes are measured anew")
    if record.families != list(families) or record.bounds != limits:
        raise UserError(
            f"{path} was asked for {', '.join(record.families)}, {record.bounds}: give that again, or choose another "
            "--out"
        )
    return record


def student(recipe: Recipe, shape: Shape) -> StudentTable:
    """The recipe's student in another shape."""
    return recipe.student.model_copy(
        update={"network": shape.network.name, "settings": dict(shape.network.settings), "from_teacher": None}
    )


def measured_by(settings: Settings, builder: Builder) -> Measure:
    """Measures networks on one sample of the data in float32, in the memory format of the run, with the threads of one
    training.
    """
    settings = replace(settings, threads=settings.threads or hardware.threads_each(1))

    def measure(networks: Mapping[str, nn.Module], seconds: float) -> Mapping[str, Latency]:
        placed = {name: settings.place(network) for name, network in networks.items()}
        example = settings.prepare(builder.data.example(1, settings.torch_device))
        with settings.in_force():
            return latencies(placed, example, seconds=seconds)

    return measure


def _counts(limits: Limits) -> dict[str, int | None]:
    return {"parameters": limits.parameters, "multiplications": limits.multiplications}


def _nodes(recipe: Recipe, shape: Shape) -> list[Node]:
    """The short trainings of a shape, one for each seed."""
    ((name, learns),) = recipe.methods.items()
    network, nodes = bare(student(recipe, shape)), list[Node]()
    for seed in recipe.seeds_of(name):
        taught_by = guides(learns, teachers_of(recipe, seed), ())
        nodes.append(link(f"{plain(str(shape))}-{seed}", network, learns, recipe, seed, taught_by))
    return nodes


def _candidate(one: ShapeRecord) -> Candidate:
    assert one.validation is not None
    return Candidate(str(one.shape), one.validation.mean, one.latency_ms.p50)


def _depth_against_width(tried: Sequence[ShapeRecord], figure: Figure, equal: str) -> str:
    """The deepest against the shallowest, by the spread over their seeds; the paper compares at equal time."""
    deep, shallow = tried[0], tried[-1]
    assert deep.validation is not None
    assert shallow.validation is not None
    first, second = deep.validation.spread, shallow.validation.spread
    gain = figure.gain(first.mean, second.mean)
    texts = [
        f"{one.shape} ({one.latency_ms.p50:.3g} ms) reaches {spread.text(figure.unit)}"
        for one, spread in ((deep, first), (shallow, second))
    ]
    said = f"Depth against width at about equal {equal}: {texts[0]}, {texts[1]}: "
    if first.sd is None or second.sd is None:
        sure = "one seed cannot tell that from luck"
    elif abs(gain) <= first.sd + second.sd:
        sure = "within the spread over the seeds, a tie"
    else:
        sure = "more than the spread over the seeds"
        sure += f", {'as' if gain > 0 else 'not as'} in the paper" if equal == "time" else ""
    side = "better" if gain >= 0 else "worse"
    return f"{said}the deeper one is {side} by {amount(abs(figure.scale * gain), figure)}; {sure}."
