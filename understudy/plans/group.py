"""One training on several processes that torchrun started. Rank 0 gives the commands, and all ranks train.

Rank 0 runs the command as a single process does, apart from the trainings. The others wait for jobs, and take the
steps of each training with it. Only rank 0 writes and prints.
"""

import atexit
import contextlib
import importlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

from understudy.errors import UserError
from understudy.methods import Method
from understudy.plans.attempt import fresh_store
from understudy.plans.engines.base import Ended, Engine
from understudy.plans.training import Builders, Job, Measurement, carry_out, store_answers, take_part
from understudy.ranks import alone, processes
from understudy.recipe.schema import Table
from understudy.training.callbacks import Callback
from understudy.training.evaluate import Measured
from understudy.training.filling import Filled
from understudy.training.interrupt import Stopped, StopRequest

T = TypeVar("T")
WAITING = timedelta(days=30)  # for rank 0, which loads, checks and measures by itself
DROPPED = 0.1  # seconds
PATIENCE = 20.0  # seconds in which another process reaches the same error
CONNECTION = re.compile(r"gloo|nccl|connection|socket|timed out", re.IGNORECASE)
GO_ON = "what was saved is kept: the same command goes on"


class LostRankError(UserError):
    """Another process of the group ended without a message: it was killed, or its machine was lost."""


class Group:
    """The processes of a torchrun group, of which this process is one.

    The process group is made at the first use, unless there is one, and lasts until the process ends. All processes
    must make the same calls.
    """

    _of_process: "Group | None" = None

    def __init__(self) -> None:
        if not dist.is_initialized():
            backend = "gloo"
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
                backend = "cpu:gloo,cuda:nccl"
            # Imported later, its functions would have the group as their default, and keep it for ever.
            importlib.import_module("torch.distributed.nn.functional")
            store, rank, world = fresh_store() or (None, -1, -1)
            dist.init_process_group(backend, store=store, rank=rank, world_size=world)
            atexit.register(_leave)
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self._orders = dist.new_group(backend="gloo", timeout=WAITING)
        self._store = _get_default_store()
        self._jobs = 0

    @classmethod
    def started(cls) -> "Group | None":
        """The group of this process; None where one process was started."""
        torchrun = "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
        if cls._of_process is None and (torchrun or processes() > 1):
            cls._of_process = cls()
        return cls._of_process

    def leave(self) -> None:
        """Drop the process group of the orders: nobody else may hold it when the groups are destroyed."""
        del self._orders

    @property
    def here(self) -> int:
        """The number of processes on this machine."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.world))

    @contextlib.contextmanager
    def led(self) -> Iterator[None]:
        """Run the work of rank 0, for which the others wait."""
        try:
            with alone():
                yield
        finally:
            with contextlib.suppress(RuntimeError):  # processes that have ended need no message
                self.tell(None)

    def folder(self, own: Path) -> Path:
        """The folder of rank 0, on all ranks."""
        paths = [str(own)]
        dist.broadcast_object_list(paths, 0, group=self._orders)
        return Path(paths[0])

    def meet(self) -> None:
        """Wait for all processes."""
        dist.barrier(group=self._orders)

    def tell(self, message: "Message | None") -> None:
        """Send a job from rank 0 to the others, or None at the end of a command."""
        dist.broadcast_object_list([message.model_dump_json() if message else None], 0, group=self._orders)

    def told(self) -> "Message | None":
        """The message of rank 0; None when it has ended."""
        received: list[str | None] = [None]
        with contextlib.suppress(RuntimeError):
            dist.broadcast_object_list(received, 0, group=self._orders)
        return None if received[0] is None else Message.model_validate_json(received[0])

    def follow(
        self,
        builders: Builders,
        stop: StopRequest,
        *,
        begin: Callable[[], None] = lambda: None,
        given: Mapping[str, Method] | None = None,
    ) -> None:
        """Take part in the trainings of rank 0 until its command ends.

        ``begin`` is called before each. ``given`` are methods that are not in the registry, by the names that
        they have in a job.
        """
        while (message := self.told()) is not None:
            begin()
            with contextlib.suppress(UserError, Stopped):  # rank 0 reports them
                if message.measurement is not None:
                    self.trained(partial(message.measurement.taken, builders))
                if message.job is not None:
                    job = message.job
                    method = (given or {}).get(str(job.node.method))
                    if method is not None:
                        job = job.model_copy(update={"node": job.node.model_copy(update={"method": method})})
                    self.trained(partial(take_part, job, builders, stop))

    def measured(self, measurement: Measurement, measure: Callable[[], Measured]) -> Measured:
        """What rank 0 measures by ``measure``, with the other processes, which load the networks themselves."""
        self.tell(Message(measurement=measurement))
        return self.trained(measure)

    def trained(self, train: Callable[[], T]) -> T:
        """A training that all processes take together."""
        self._jobs += 1
        try:
            with alone(False):
                return train()
        except Exception as error:
            raise self._to_raise(error) from error

    def _to_raise(self, error: Exception) -> Exception:
        """The error to raise. An error of another process alone shows as a lost connection."""
        if isinstance(error, RuntimeError) and CONNECTION.search(str(error)):
            if said := self._said():
                return UserError(f"{said}; {GO_ON}")
            return LostRankError(f"another process of this training ended; {GO_ON}")
        self._store.set(self._key(self.rank), f"process {self.rank}: {error}")
        if self.rank and not self._met_by_first():
            sys.stderr.flush()
            os._exit(1)  # the others wait for this process and notice its end
        return error

    def _met_by_first(self) -> bool:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self._store.check([self._key(0)]):
                return True
            time.sleep(0.05)
        return False

    def _said(self) -> str:
        """The message of another process before it ended."""
        until = time.monotonic() + 2
        while time.monotonic() < until:
            for rank in set(range(self.world)) - {self.rank}:
                if self._store.check([self._key(rank)]):
                    return self._store.get(self._key(rank)).decode()
            time.sleep(0.05)
        return ""

    def _key(self, rank: int) -> str:
        return f"understudy/{self._jobs}/{rank}"


class Message(Table):
    """What rank 0 tells the others to do with it."""

    job: Job | None = None
    measurement: Measurement | None = None


class InGroup(Engine):
    """One training after another, each on all processes of the group."""

    takes_ranks = True

    def __init__(self, group: Group, builders: Builders, callback: Callback, stop: StopRequest):
        self.group, self.builders, self.callback, self.stop = group, builders, callback, stop
        self.job: Job | None = None

    def start(self, job: Job) -> None:
        if job.node.arithmetic.ranks not in (1, self.group.world):
            raise UserError(
                f"{job.name} asks for {job.node.arithmetic.ranks} processes (settings.ranks), and {self.group.world} "
                "were started: leave settings.ranks out"
            )
        self.job = job

    def next(self) -> Ended:
        job, self.job = self.job, None
        assert job is not None
        self.group.tell(Message(job=job))
        callback = self.callback.of(job.name)
        return Ended(job.name, self.group.trained(lambda: carry_out(job, self.builders, callback, self.stop)))

    def store_answers(self, job: Job) -> list[Filled]:
        self.group.tell(Message(job=job))
        callback = self.callback.of(job.name)
        return self.group.trained(lambda: store_answers(job, self.builders, callback, self.stop))


def _leave() -> None:
    """End the process groups, and with them their threads.

    A thread of gloo that still holds a message when the interpreter is taken down aborts the process
    (``terminate called without an active exception``), and torchrun then ends the other processes.
    """
    if Group._of_process is not None:
        Group._of_process.leave()
    if dist.is_initialized():
        dist.destroy_process_group()
    # A mesh of FSDP2 keeps its group, and threads drop their messages a moment after the last one.
    time.sleep(DROPPED)
