"""The interface of engines: start a training where a worker is free, and wait for the next one that ends.

An engine is one file with the engine and its entry ``ENGINE``, from which the command line takes it.
"""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from understudy.errors import UserError
from understudy.plans.training import Builders, Job
from understudy.training.callbacks import Callback
from understudy.training.filling import Filled
from understudy.training.interrupt import StopRequest
from understudy.training.records import TrainingRecord


@dataclass(frozen=True)
class Ended:
    """The end of a training: its record, or ``lost`` where its worker has died."""

    name: str
    record: TrainingRecord | None = None
    lost: str = ""


def python_path() -> str:
    """The module search path of this process, for its workers."""
    return os.pathsep.join(os.path.abspath(entry) for entry in sys.path)


class Engine(ABC):
    """Runs jobs, at most ``workers`` at once."""

    workers: int = 1
    takes_ranks: bool = False  # whether a training may be shared by several processes

    @property
    def parallel(self) -> int:
        """The number of trainings that run at the same time, from which the time of a run is estimated."""
        return self.workers

    @abstractmethod
    def start(self, job: Job) -> None:
        """Start a training. A worker must be free."""

    @abstractmethod
    def next(self) -> Ended:
        """Wait until one of the started trainings ends.

        A user's mistake in it is raised as ``UserError``. A training that failed raises ``FailedTrainingError``, which
        leaves the others running. ``Stopped`` is raised after a request to stop, when all have saved their state and
        ended.
        """

    def store_answers(self, job: Job) -> list[Filled]:
        """Store the answers of its teachers that a training would read; some engines only train."""
        raise UserError(f"the engine {type(self).__name__} stores no answers without training: leave --engine out")

    def close(self) -> None:  # noqa: B027 - some engines have nothing to close
        """Stop running trainings after they have saved their state, and end the workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


MakeEngine = Callable[[Builders, Callback, StopRequest], Engine]


@dataclass(frozen=True)
class Request:
    """A request of the command line to an engine.

    Args:
        workers: trainings at once; None leaves the number to the engine.
        threads: of each training.
        gpus: of each training.
        address: of a cluster.
        ranks: processes that share each training.
    """

    workers: int | None = None
    threads: int = 1
    gpus: int = 0
    address: str | None = None
    ranks: int = 1


@dataclass(frozen=True)
class EngineEntry:
    """The entry of an engine for the command line.

    Args:
        name: of ``--engine``.
        summary: its line in the help.
        make: the engine from a request, the builders of this process, the callback, and the request to stop.
        sharing: the number of so many workers that share the cores of this machine.
    """

    name: str
    summary: str
    make: Callable[[Request, Builders, Callback, StopRequest], Engine]
    sharing: Callable[[int | None], int] = lambda workers: workers or 1
