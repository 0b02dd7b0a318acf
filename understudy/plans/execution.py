"""The execution of a plan that may still grow. Existing trainings are reused, missing ones are trained."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import nn

from understudy import files
from understudy.errors import FailedTrainingError, UserError
from understudy.files import is_kept, sha256
from understudy.models import student as product
from understudy.plans import Node, Plan, TrainingCache
from understudy.plans.engines import Engine
from understudy.plans.entry import RESULT, copy_finished, damaged, finished, remains
from understudy.plans.folders import TrainingFolders
from understudy.plans.node import Given
from understudy.plans.queue import Queue
from understudy.plans.training import Builders, Job, TrainedTeacher, begun_as, check_same
from understudy.plans.training import key as training_key
from understudy.training import checkpoints
from understudy.training.callbacks import Callback
from understudy.training.filling import Filled
from understudy.training.records import TrainingRecord

TRIES = 3  # a training whose worker dies so often is the likely cause
State = Literal["done", "in the cache", "begun", "to train"]


@dataclass(frozen=True)
class Done:
    """A finished training, and whether it was trained now or existed already."""

    node: Node
    record: TrainingRecord
    origin: Literal["trained", "folder", "cache"]

    @property
    def validation(self) -> float | None:
        """The first figure on the validation part, by which trainings are compared."""
        return self.record.selecting_value


class Execution:
    """Executes nodes in a run folder.

    >>> with Here(builders, callback, stop) as engine:  # doctest: +SKIP
    ...     execution = Execution(folder, builders, engine, cache=cache)
    ...     execution.submit(large, small)
    ...     for done in execution.results():  # more may be submitted meanwhile
    ...         print(done.node.name, done.validation)

    Args:
        threads: of each training whose settings leave them open.
        every: seconds between two checkpoints.
    """

    def __init__(
        self,
        folder: TrainingFolders,
        builders: Builders,
        engine: Engine | None = None,
        *,
        threads: int,
        cache: TrainingCache | None = None,
        callback: Callback | None = None,
        trusted: Collection[str] = (),
        every: float = 20.0,
    ):
        self.folder, self.builders, self.engine, self.cache = folder, builders, engine, cache
        self.callback = callback or Callback()
        self.threads, self.trusted, self.every = threads, tuple(trusted), every
        self.plan = Plan()
        self.done: dict[str, TrainingRecord] = {}
        self.of_before: list[str] = []  # trainings in the folder of other code, data or settings than today's
        self.given_up: set[str] = set()  # trainings that failed, or are not needed any more
        self._keys: dict[str, str] = {}
        self._twins: dict[str, str] = {}  # the first training that is done with each key
        self._queue = Queue(self.plan, self.done)
        self._whole: dict[str, tuple[State, TrainingRecord]] = {}
        self._running: dict[str, Job] = {}
        self._lost: dict[str, int] = {}
        self._cache_is_closed = False
        self._damaged: dict[str, str] = {}  # notes about a training's folder that are not reported yet

    def submit(self, *nodes: Node) -> None:
        """Add trainings. Their teachers must be in the plan."""
        for node in nodes:
            self.plan.add(self._settled(node))

    def results(
        self, names: Collection[str] | None = None, failed: Callable[[FailedTrainingError], None] | None = None
    ) -> Iterator[Done]:
        """Yield each finished training, until all are done, or these and their teachers.

        ``failed`` is called with one that failed, and the others continue. Without it, the failure is raised.
        """
        wanted = None if names is None else self.plan.with_teachers(names)
        self._queue = Queue(self.plan, self.done, wanted)
        while True:
            try:
                yield from self._until_one_fails()
                return
            except FailedTrainingError as failure:
                if failed is None:
                    raise
                failed(failure)

    def _until_one_fails(self) -> Iterator[Done]:
        assert self.engine is not None
        queue = self._queue
        while True:
            free = len(self._running) < self.engine.workers
            name = queue.take(free=free)
            if name is None:
                if not self._running:
                    return
                if done := self._waited():
                    yield self._completed(done)
            elif name not in self._running and name not in self.given_up:
                node = self.plan[name]
                if taken := self._taken(node):
                    yield self._completed(taken)
                elif any(job.key == self.key(name) for job in self._running.values()):
                    queue.wait_behind(name, self.key(name))  # a worker trains the same under another name
                elif free:
                    self._start(node)
                else:
                    queue.wait(name)

    def store_answers(self, name: str) -> list[Filled]:
        """Store the answers of a node's teachers, which are done, also where it says that nothing is to be added."""
        assert self.engine is not None
        node = self.plan[name]
        assert node.answers is not None
        job = self._job(node.model_copy(update={"answers": replace(node.answers, fill=True)}))
        return self.engine.store_answers(job.model_copy(update={"checkpoints": None, "answers_only": True}))

    def states(self) -> dict[str, State]:
        """The existing and the missing trainings; nothing is changed."""
        return {node.name: self._state(node.name) for node in self.plan}

    def begun(self, node: Node) -> bool:
        """Whether a node is done or under way. Its teachers must be in the plan; the node itself need not be."""
        if finished(self.folder.training(node.name)) is not None or self._on_its_way(node.name):
            return True
        return self.cache is not None and self._key(self._settled(node)) in self.cache

    def compare_with_folder(self) -> None:
        """A ``UserError`` where a training or checkpoint of the folder is of another node than the plan's."""
        for node in self.plan:
            folder, checkpoint = self.folder.training(node.name), self.folder.checkpoints(node.name)
            if record := finished(folder):
                check_same(node, record.node or None, folder)
            newest = checkpoints.newest(checkpoint)
            check_same(node, begun_as(newest.state) if newest else None, checkpoint)

    def record(self, name: str) -> TrainingRecord | None:
        """The result of a training that exists in the folder or in the cache; nothing is changed."""
        return self._stored(name)[1]

    def key(self, name: str) -> str:
        """The key of what determines a node's result."""
        if name not in self._keys:
            self._keys[name] = self._key(self.plan[name])
        return self._keys[name]

    def as_teacher(self, name: str) -> TrainedTeacher:
        """A training that is done, as one learns from it."""
        folder = self.folder.training(name).absolute()
        node, key = self.plan[name], self._origin(name, folder)
        return TrainedTeacher(network=node.network, folder=str(folder), key=key, assists=node.role == "student")

    def network(self, name: str) -> nn.Module:
        """The network of a finished training, on its device and in its memory format."""
        node = self.plan[name]
        network = self.builders.of(node.data).trained(node.network, self.folder.training(name))
        return node.arithmetic.place(network)

    def _key(self, node: Node) -> str:
        return training_key(node, self._teachers(node), self.builders.of(node.data), start=self._start_of(node))

    def _settled(self, node: Node) -> Node:
        """The node with threads and a folder for stored answers, where it names none."""
        stored = node.answers.within(self.folder.path.absolute()) if node.answers else None
        arithmetic = replace(node.arithmetic, threads=node.arithmetic.threads or self.threads)
        return node.model_copy(update={"arithmetic": arithmetic, "answers": stored})

    def _completed(self, done: Done) -> Done:
        name = done.node.name
        self.done[name] = done.record
        self._whole.pop(name, None)
        self._twins.setdefault(self.key(name), name)
        self._queue.completed(name)
        if done.record.key not in ("", self.key(name)):
            self.of_before.append(name)
        if done.record.key != self.key(name):  # the keys of its students are others than predicted
            self._keys = {known: key for known, key in self._keys.items() if known in self.done}
        checkpoints.clear(self.folder.checkpoints(name))
        self.callback.of(name).training_ends(name, done.record)
        return done

    def _taken(self, node: Node) -> Done | None:
        """The existing training: in the folder, in the cache, or of another node of this plan with the same key."""
        name, folder = node.name, self.folder.training(node.name)
        if stored := self._in_folder(name):
            check_same(node, stored.node or None, folder)
            if stored.key not in ("", self.key(name)):
                self.callback.note(f"{name} was trained with other code, data or settings than today's: taken as it is")
            elif stored.key:
                self._put(self.key(name), folder, stored)
            return Done(node, stored, "folder")
        twin = self._twins.get(self.key(name))
        if twin and not damaged(self.folder.training(twin)):
            self._tell_damage(name, f"copied from {twin}")
            source, spelled = self.folder.training(twin), node.model_dump(mode="json")
            return Done(node, copy_finished(source, self.done[twin], folder, name, spelled), "folder")
        if self.cache:
            record, lines = self.cache.take(self.key(name), folder, name, node.model_dump(mode="json"))
            for line in lines:
                self.callback.note(line)
            if record:
                self._tell_damage(name, "taken from the cache")
                return Done(node, record, "cache")
        self._tell_damage(name, "trained again")
        return None

    def _in_folder(self, name: str) -> TrainingRecord | None:
        """The finished training in the run's own folder. A damaged one is reported and ignored."""
        folder = self.folder.training(name)
        record = finished(folder)
        wrong = damaged(folder) if record else []
        left = remains(folder) if record is None else None
        if left and not self._on_its_way(name):  # otherwise its files are those of a stopped training
            wrong = [left]
        if wrong:
            self._damaged.setdefault(name, f"{folder} is damaged ({', '.join(wrong)})")
            with suppress(OSError):  # it is overwritten at the end
                files.remove(folder / RESULT)
        return None if wrong else record

    def _tell_damage(self, name: str, what_now: str) -> None:
        """Report the notes of a training once."""
        if text := self._damaged.get(name):
            self._damaged[name] = ""
            self.callback.note(f"{text}: {what_now}")

    def _put(self, key: str, training: Path, record: TrainingRecord) -> None:
        """Add a training to the cache. If that fails, a note says so once, and the run continues without it."""
        if self.cache is None or self._cache_is_closed:
            return
        try:
            self.cache.put(key, training, record)
        except UserError as error:
            self._cache_is_closed = True
            self.callback.note(f"{error}: trainings are still taken from it, and none are added")

    def _start(self, node: Node) -> None:
        assert self.engine is not None
        if node.arithmetic.ranks > 1 and not self.engine.takes_ranks:
            raise UserError(
                f"{node.name} asks for {node.arithmetic.ranks} processes (settings.ranks), and the engine "
                f"{type(self.engine).__name__} trains in one: take worker processes (--engine local), or start the "
                f"command with torchrun --nproc-per-node={node.arithmetic.ranks}"
            )
        self._running[node.name] = job = self._job(node)
        with self._failures_noted():
            self.engine.start(job)

    def _job(self, node: Node) -> Job:
        return Job(
            node=node,
            key=self.key(node.name),
            teachers=self._teachers(node),
            start=self._start_of(node),
            folder=str(self.folder.training(node.name).absolute()),
            checkpoints=str(self.folder.checkpoints(node.name).absolute()) if is_kept(self.folder.path) else None,
            trusted=self.trusted,
            every=self.every,
        )

    @contextmanager
    def _failures_noted(self) -> Iterator[None]:
        try:
            yield
        except FailedTrainingError as failure:
            self._queue.ended(self._running.pop(failure.training).key)
            self.given_up.add(failure.training)
            raise

    def _waited(self) -> Done | None:
        """The next training that ends; None where its worker died and it is started again."""
        assert self.engine is not None
        with self._failures_noted():
            ended = self.engine.next()
        job = self._running.pop(ended.name)
        self._queue.ended(job.key)
        if ended.record is not None:
            if ended.record.key == job.key:  # otherwise it was started under another key
                self._put(job.key, Path(job.folder), ended.record)
            return Done(job.node, ended.record, "trained")
        self._lost[ended.name] = lost = self._lost.get(ended.name, 0) + 1
        if lost == TRIES:
            raise UserError(
                f"{ended.name}: its worker died {TRIES} times ({ended.lost}). What is done is kept: see to it that "
                "there is memory enough, or take fewer workers, and run the same command again"
            )
        self._queue.again(ended.name)
        self.callback.note(f"{ended.name}: its worker died ({ended.lost}); it goes on from its last checkpoint")
        return None

    def _teachers(self, node: Node) -> tuple[TrainedTeacher | Given, ...]:
        return tuple(map(self._network_of, node.teachers))

    def _start_of(self, node: Node) -> TrainedTeacher | Given | None:
        return self._network_of(node.start.teacher) if node.start else None

    def _network_of(self, teacher: str | Given) -> TrainedTeacher | Given:
        return self.as_teacher(teacher) if isinstance(teacher, str) else teacher

    def _origin(self, name: str, folder: Path) -> str:
        """The part of a student's key for its teacher: its key, or its weights where they do not follow from it."""
        record = self.done.get(name) or finished(folder)
        if record is None or record.key == self.key(name):
            return self.key(name)
        return sha256(folder / product.WEIGHTS)

    def _state(self, name: str) -> State:
        state, record = self._stored(name)
        return state if record else "begun" if self._on_its_way(name) else "to train"

    def _stored(self, name: str) -> tuple[State, TrainingRecord | None]:
        """The folder of a complete training, by the same check as in a run, and its result.

        The result is cached, since all of its files are read and a predicted search asks often.
        """
        if name not in self._whole:
            folder = self.folder.training(name)
            if (record := finished(folder)) and not damaged(folder):
                self._whole[name] = "done", record
            elif self.cache and (cached := self.cache.record(self.key(name))):
                self._whole[name] = "in the cache", cached
        return self._whole.get(name, ("to train", None))

    def _on_its_way(self, name: str) -> bool:
        return any(self.folder.checkpoints(name).glob("*.checkpoint"))
