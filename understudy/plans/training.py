"""One training carried out: a node whose teachers are there, in this process; engines decide where that is."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from torch import nn

from understudy import methods
from understudy.config.stage import Stage
from understudy.data.dataset import Progress
from understudy.errors import FailedTrainingError, UserError
from understudy.models import student as product
from understudy.plans.entry import LAST, METRICS, finish
from understudy.plans.key import determinants, key_of, weights_digest
from understudy.plans.node import Given, Node
from understudy.plans.origin import Origin
from understudy.plans.stages import planned_stages, stages_of
from understudy.recipe.build import Cast
from understudy.recipe.objects import Objects, is_object
from understudy.recipe.schema import DataTable, NetworkTable, Table
from understudy.teacher.shared import SharedPasses
from understudy.teacher.stand_in import StandIns
from understudy.training import preflight
from understudy.training.callbacks import Callback
from understudy.training.interrupt import StopRequest
from understudy.training.loop import Training


class Taught(Table):
    """A teacher that was trained here: its network, the folder of its training, and the key of that."""

    network: NetworkTable
    folder: str
    key: str
    assists: bool = False  # one of those between the recipe's teacher and its student


class Job(Table):
    """A node and all that carrying it out needs; plain data that goes to another process as JSON."""

    node: Node
    key: str
    teachers: tuple[Taught | Given, ...]
    folder: str  # of the finished files
    checkpoints: str | None  # None: none are kept
    trusted: tuple[str, ...] = ()
    every: float = 20.0  # seconds between two checkpoints

    @property
    def name(self) -> str:
        return self.node.name


@dataclass
class Casts:
    """The data of each table, loaded once, the teachers that are in use, and their cheaper copies."""

    trusted: Collection[str] = ()
    progress: Progress | None = None
    objects: Objects = field(default_factory=Objects)
    known: dict[str, Cast] = field(default_factory=dict)
    teachers: WeakValueDictionary[str, nn.Module] = field(default_factory=WeakValueDictionary)  # while someone learns
    stand_ins: StandIns = field(default_factory=StandIns)

    def of(self, table: DataTable) -> Cast:
        whole = table.model_copy(update={"student_samples": None})
        told = whole.model_dump_json()
        if told not in self.known:
            self.known[told] = Cast.of(whole, self.trusted, self.progress, self.objects)
        return self.known[told]


class Work:
    """A job under way: its training, which may be gone through step by step, and what it leaves behind."""

    def __init__(
        self, job: Job, casts: Casts, callback: Callback, stop: StopRequest, shared: SharedPasses | None = None
    ):
        self.job, self.cast, self.folder = job, casts.of(job.node.data), Path(job.folder)
        node = job.node
        self.network = self.cast.network(node.network, node.seed, node.role, node.name)
        teachers = _teachers(job, self.cast, casts)
        self.stages = stages_of(node, self.network, teachers, self.cast.data)
        _check_key(job, self.cast, self.stages)
        self.origin = Origin(node, job.key, self.folder)
        self.training = Training(
            self.network,
            teachers,
            self.stages,
            self.cast.seen(node.data.student_samples),
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
            stand_ins=casts.stand_ins,
            origin=self.origin,
        )
        self.began = time.monotonic()

    def finish(self) -> dict[str, Any]:
        """After the last step: the folder then holds the network and its record, which is answered."""
        node, network, folder = self.job.node, self.network, self.folder
        leaving = self.cast.product(network)
        spec = None if is_object(node.network.network) else self.cast.spec(node.network)
        data = self.cast.data
        product.save(folder, leaving, product.describe(leaving, spec, data.shape, data.task))
        if self.training.last is not None:
            network.load_state_dict(self.training.last)
            product.save_weights(folder / LAST, self.cast.product(network).state_dict())
        record = {
            "training": node.name,
            "key": self.origin.key,
            "node": node.model_dump(mode="json"),
            **self.training.ended(),
            "objectives": {stage.name: str(stage.objective) for stage in self.stages},
            "session_seconds": round(time.monotonic() - self.began, 3),
        }
        return finish(folder, record)


def carry_out(job: Job, casts: Casts, callback: Callback, stop: StopRequest) -> dict[str, Any]:
    """Train, or go on training, to the end."""
    work = Work(job, casts, callback, stop)
    work.training.run()
    return work.finish()


def take_part(job: Job, casts: Casts, stop: StopRequest) -> None:
    """The steps of a training whose first process writes what comes of it."""
    Work(job, casts, Callback(), stop).training.run()


def key(node: Node, teachers: Sequence[Taught | Given], cast: Cast, stages: Sequence[Stage] | None = None) -> str:
    """The key of all that a node's result is a function of; its stages are made here where they are not given."""
    of = [weights_digest(teacher) if isinstance(teacher, Given) else teacher.key for teacher in teachers]
    tables = [teacher if isinstance(teacher, Given) else teacher.network for teacher in teachers]
    made = stages if stages is not None else planned_stages(node, cast, tables)
    return key_of(determinants(node, cast, list(zip(tables, of, strict=True)), made))


def _teachers(job: Job, cast: Cast, casts: Casts) -> list[nn.Module]:
    """The teachers with their weights, one module for all trainings that are under way at the same time."""
    if not methods.find(job.node.method).is_taught(job.node.settings):
        return []
    found = list[nn.Module]()
    for teacher in job.teachers:
        told = f"{teacher.model_dump_json()} {job.node.arithmetic} {job.node.accept_weak} {job.node.data}"
        network = casts.teachers.get(told)
        if network is None:
            casts.teachers[told] = network = _teacher(teacher, job, cast)
        found.append(network)
    return found


def _teacher(teacher: Taught | Given, job: Job, cast: Cast) -> nn.Module:
    """One that was trained here is looked at before anything learns from it.

    A weak assistant is how its own training went; a weak teacher is a mistake in what everything rests on.
    """
    settings = job.node.arithmetic
    if isinstance(teacher, Given):
        return settings.place(cast.given(teacher, teacher.weights, teacher.prefix))
    network = settings.place(cast.trained(teacher.network, Path(teacher.folder)))
    name, weak = Path(teacher.folder).name, job.node.accept_weak
    findings = list(preflight.check_teacher(network, cast.data, settings, accept_weak=weak, name=name))
    try:
        preflight.passes(findings)
    except UserError as error:
        if not teacher.assists:
            raise
        reason = f"its teacher {name}: {findings[-1].text.partition(':')[0]}"
        raise FailedTrainingError(str(error), training=job.name, reason=reason) from error
    return network


def _check_key(job: Job, cast: Cast, stages: Sequence[Stage]) -> None:
    """A worker must have the data and versions for which the training was planned."""
    if key(job.node, job.teachers, cast, stages) != job.key:
        raise UserError(
            f"{job.name}: this worker would train something else than was planned: its data, its torch, its "
            "understudy or its processor differ from those of the process that planned (see `understudy cache`)"
        )
