"""The execution of one node in this process, with its teachers. The engine decides which process that is."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

import torch
from pydantic import JsonValue
from torch import nn

from understudy import methods
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.data.dataset import Progress
from understudy.errors import FailedTrainingError, UserError
from understudy.models import from_teacher
from understudy.models import student as product
from understudy.models.weights import restore
from understudy.plans.entry import LAST, METRICS, finish
from understudy.plans.key import determinants, key_of, weights_digest
from understudy.plans.node import Given, Node
from understudy.plans.stages import planned_stages, stages_of
from understudy.ranks import alone
from understudy.recipe.build import Builder
from understudy.recipe.objects import Objects, is_object
from understudy.recipe.overrides import without_nones
from understudy.recipe.schema import DataTable, NetworkTable, Recipe, Table
from understudy.teacher.shared import SharedPasses
from understudy.teacher.stand_in import StandIns
from understudy.training import preflight
from understudy.training.callbacks import Callback
from understudy.training.evaluate import Measured, measured
from understudy.training.filling import Filled, fill
from understudy.training.interrupt import StopRequest
from understudy.training.loop import Training
from understudy.training.records import Record, TrainingRecord

WHAT = (
    "network",
    "method",
    "settings",
    "balance",
    "config",
    "seed",
    "role",
    "teachers",
    "ends",
    "start",
    "data",
)  # what identifies a node
WHERE = ("root", "workers", "memory")  # keys of its data that may differ


class TrainedTeacher(Table):
    """A teacher that was trained here: its network, and the folder and key of its training."""

    network: NetworkTable
    folder: str
    key: str
    assists: bool = False  # an assistant


class Job(Table):
    """A node and all that its execution needs, as plain data that can be sent to another process as JSON."""

    node: Node
    key: str
    teachers: tuple[TrainedTeacher | Given, ...]
    start: TrainedTeacher | Given | None = None  # whose layers the network starts from
    folder: str  # of the finished files
    checkpoints: str | None  # None: none are kept
    trusted: tuple[str, ...] = ()
    every: float = 20.0  # seconds between two checkpoints
    answers_only: bool = False  # its teachers' answers are stored, and nothing is trained

    @property
    def name(self) -> str:
        return self.node.name


@dataclass
class Builders:
    """Builders by data table, made once, and the teachers in use with their copies in low precision.

    >>> builders = Builders()
    >>> data = DataTable(name="demo")
    >>> builders.of(data) is builders.of(data)
    True
    """

    trusted: Collection[str] = ()
    progress: Progress | None = None
    objects: Objects = field(default_factory=Objects)
    known: dict[str, Builder] = field(default_factory=dict)
    teachers: WeakValueDictionary[str, nn.Module] = field(default_factory=WeakValueDictionary)  # while they are in use
    stand_ins: StandIns = field(default_factory=StandIns)

    def of(self, table: DataTable) -> Builder:
        whole = table.model_copy(update={"student_samples": None, "unlabelled": None})
        name = whole.model_dump_json()
        if name not in self.known and table.answered_by:
            read = self.of(whole.model_copy(update={"answered_by": None}))
            self.known[name] = read.answered_by(table.answered_by)
        elif name not in self.known:
            self.known[name] = Builder.of(whole, self.trusted, self.progress, self.objects)
        return self.known[name]

    def answered(self, recipe: Recipe) -> Recipe:
        """The recipe; where its data have no labels, its teachers are the networks that answer for them."""
        if self.of(recipe.data).data.task.labelled or recipe.data.answered_by:
            return recipe
        teachers = tuple(recipe.taught_by.values())
        if not teachers:
            raise UserError("the data have no labels, so a student has nothing to learn without a teacher: name one")
        if any(table.train is not None for table in teachers):
            raise UserError("the data have no labels, so no teacher can be trained on them: give the teacher's weights")
        data = recipe.data.model_copy(update={"answered_by": teachers})
        return recipe.model_copy(update={"data": data})


class RunningJob:
    """A running job: its training, which can be advanced step by step, and the files that it writes."""

    def __init__(
        self, job: Job, builders: Builders, callback: Callback, stop: StopRequest, shared: SharedPasses | None = None
    ):
        self.job, self.builder, self.folder = job, builders.of(job.node.data), Path(job.folder)
        node = job.node
        self.network = self.builder.network(node.network, node.seed, node.role, node.name)
        teachers = _teachers(job, self.builder, builders, callback.note)
        if node.start is not None and job.start is not None:
            start = _known(job.start, job, self.builder, builders, callback.note)
            from_teacher(self.network, start, node.start.layers.layers, at=node.start.layers.at)
        self.stages = stages_of(node, self.network, teachers, self.builder.data)
        self.example = self.builder.data.example(1, torch.device("cpu"))
        _check_key(job, self.builder, self.stages)
        self.origin = Origin(node, job.key, self.folder)
        self.training = Training(
            self.network,
            teachers,
            self.stages,
            self.builder.seen(node.data),
            seed=node.seed,
            settings=node.arithmetic,
            checkpoint_folder=Path(job.checkpoints) if job.checkpoints else None,
            metrics=self.folder / METRICS,
            name=node.name,
            callback=callback,
            stop=stop,
            every=job.every,
            stored=node.answers,
            shared=shared,
            stand_ins=builders.stand_ins,
            origin=self.origin,
            ends=node.ends,
        )
        self.began = time.monotonic()

    def finish(self) -> TrainingRecord:
        """Finish after the last step: write the network and its record, and return the record."""
        node, network, folder = self.job.node, self.network, self.folder
        leaving = self.builder.product(network)
        spec = None if is_object(node.network.network) else self.builder.spec(node.network)
        shape, task = self.builder.shape(node.network), self.builder.task(node.network)
        described = product.describe(leaving, spec, shape, task, self.builder.data.image, self.example)
        product.save(folder, leaving, described)
        if self.training.last is not None:
            restore(network, self.training.last)
            product.save_weights(folder / LAST, self.builder.product(network).state_dict())
        ended = self.training.ended()
        record = TrainingRecord(
            training=node.name,
            key=self.origin.key,
            node=node.model_dump(mode="json"),
            stages=ended.stages,
            seconds=ended.seconds,
            steps=ended.steps,
            objectives={stage.name: str(stage.objective) for stage in self.stages},
            session_seconds=round(time.monotonic() - self.began, 3),
        )
        return finish(folder, record)


def carry_out(job: Job, builders: Builders, callback: Callback, stop: StopRequest) -> TrainingRecord:
    """Train, or continue a training, to the end."""
    running = RunningJob(job, builders, callback, stop)
    running.training.run()
    return running.finish()


def store_answers(job: Job, builders: Builders, callback: Callback, stop: StopRequest) -> list[Filled]:
    """Store the answers of its teachers that the training would read."""
    return fill(RunningJob(job, builders, callback, stop).training)


class Measurement(Table):
    """Networks that are measured as one on the part of the data that the final figures are measured on."""

    networks: tuple[TrainedTeacher | Given, ...]
    data: DataTable
    settings: Settings

    def taken(self, builders: Builders) -> Measured:
        """Measure networks that are loaded from their files."""
        builder, settings = builders.of(self.data), self.settings
        _, part = builder.data.measured
        networks = [
            builder.given(network)
            if isinstance(network, Given)
            else builder.trained(network.network, Path(network.folder))
            for network in self.networks
        ]
        with settings.in_force():
            return measured([settings.place(network) for network in networks], part, builder.data.task, settings)


def take_part(job: Job, builders: Builders, stop: StopRequest) -> None:
    """The part of a job that a process of a group has, whose rank 0 writes the files."""
    if job.answers_only:
        store_answers(job, builders, Callback(), stop)
    else:
        RunningJob(job, builders, Callback(), stop).training.run()


def key(
    node: Node,
    teachers: Sequence[TrainedTeacher | Given],
    builder: Builder,
    stages: Sequence[Stage] | None = None,
    *,
    start: TrainedTeacher | Given | None = None,
) -> str:
    """The key of a node; its stages are made here where they are not passed."""
    of = [_weights_of(teacher, builder) for teacher in teachers]
    tables = [teacher if isinstance(teacher, Given) else teacher.network for teacher in teachers]
    made = stages if stages is not None else planned_stages(node, builder, tables)
    begins = _weights_of(start, builder) if start is not None else None
    return key_of(determinants(node, builder, list(zip(tables, of, strict=True)), made, start=begins))


def _weights_of(teacher: TrainedTeacher | Given, builder: Builder) -> str:
    """What determines the weights of a teacher: the key of its training, or the digest of its file."""
    return weights_digest(teacher, builder) if isinstance(teacher, Given) else teacher.key


def _teachers(job: Job, builder: Builder, builders: Builders, note: Callable[[str], None]) -> list[nn.Module]:
    """The teachers with their weights, one module for all trainings that run at the same time."""
    if not methods.find(job.node.method).is_taught(job.node.settings):
        return []
    return [_known(teacher, job, builder, builders, note) for teacher in job.teachers]


def _known(
    teacher: TrainedTeacher | Given, job: Job, builder: Builder, builders: Builders, note: Callable[[str], None]
) -> nn.Module:
    """A teacher's network, made once while it is in use; ``note`` is told what is doubtful about one trained here."""
    name = f"{teacher.model_dump_json()} {job.node.arithmetic} {job.node.accept_weak} {job.node.data}"
    network = builders.teachers.get(name)
    if network is None:
        builders.teachers[name] = network = _teacher(teacher, job, builder, note)
    return network


def _teacher(teacher: TrainedTeacher | Given, job: Job, builder: Builder, note: Callable[[str], None]) -> nn.Module:
    """Check a teacher that was trained here before it teaches.

    A weak assistant is a result of the run and causes a note; a weak teacher makes all results useless and is an error.
    """
    settings = job.node.arithmetic
    if isinstance(teacher, Given):
        return settings.place(builder.given(teacher))
    network = settings.place(builder.trained(teacher.network, Path(teacher.folder)))
    name, weak = Path(teacher.folder).name, job.node.accept_weak
    with alone():  # another process of a group may have this teacher in memory still, and not look at it again
        findings = list(preflight.check_teacher(network, builder.data, settings, accept_weak=weak, name=name))
    try:
        preflight.passes(findings)
    except UserError as error:
        if not teacher.assists:
            raise
        reason = f"its teacher {name}: {findings[-1].text.partition(':')[0]}"
        raise FailedTrainingError(str(error), training=job.name, reason=reason) from error
    for finding in findings[1:]:  # beside the first, which has its figure
        if not teacher.assists:
            note(f"{name}: {finding.text}")
    return network


def _check_key(job: Job, builder: Builder, stages: Sequence[Stage]) -> None:
    """Check that a worker has the data and versions for which the training was planned."""
    if key(job.node, job.teachers, builder, stages, start=job.start) != job.key:
        raise UserError(
            f"{job.name}: this worker would train something else than was planned: its data, its torch, its "
            "understudy or its processor differ from those of the process that planned (see `understudy cache`)"
        )


def check_same(node: Node, before: Mapping[str, JsonValue] | None, folder: Path) -> None:
    """Check that the files under a training's name are of that training. Device and speed may differ."""
    if before is None:
        return
    wanted, before = node.model_dump(mode="json"), {"ends": [], **before}  # older files have none
    differing = [part for part in WHAT if _said(before.get(part)) != _said(wanted[part])]
    if differing:
        raise UserError(
            f"{folder} holds another training of that name (it differs in {', '.join(differing)}): choose another "
            "--out, or another name"
        )


class OriginRecord(Record):
    """The description of a training in its checkpoint."""

    node: dict[str, JsonValue] | None = None  # None where the checkpoint has no such field
    keys: list[str]


def begun_as(state: object) -> dict[str, JsonValue] | None:
    """The node that a checkpoint's state names; None where it names none."""
    origin = state.get("origin") if isinstance(state, dict) else None
    return OriginRecord.model_validate(origin).node if origin is not None else None


class Origin:
    """The identity of a training in its checkpoints, which is compared when it is resumed."""

    def __init__(self, node: Node, key: str, folder: Path):
        self.node, self.folder, self.keys = node, folder, [key]

    @property
    def key(self) -> str:
        """The key of the result: the planned one, where everything ran as planned."""
        return self.keys[0] if len(self.keys) == 1 else key_of({"in turn": self.keys})

    def state(self) -> dict[str, JsonValue]:
        return OriginRecord(node=self.node.model_dump(mode="json"), keys=self.keys).content()

    def resume(self, before: object, note: Callable[[str], None]) -> None:
        """Compare this training with the ``state`` of a checkpoint, and refuse that of another training."""
        begun = OriginRecord(keys=["unknown"]) if before is None else OriginRecord.model_validate(before)
        check_same(self.node, begun.node, self.folder)
        keys = list(dict.fromkeys([*begun.keys, *self.keys]))
        if keys != self.keys:
            note(
                f"{self.node.name} was begun with other code, data, threads or settings than today's: it goes on from "
                "its checkpoint, and its result goes into no cache"
            )
        self.keys = keys


def _said(value: JsonValue) -> JsonValue:
    """A part of a node without the keys that may differ: unused ones, and those of how data are read."""
    plain = without_nones(value)
    return {key: item for key, item in plain.items() if key not in WHERE} if isinstance(plain, dict) else plain
