"""What every engine offers: to start a training where a worker is free, and to wait for the next one that ends.

An engine is one file, which holds the engine and ``ENGINE``, by which the command line knows it.
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
    """How a training ended: with its record, or because its worker was ``lost``."""

    name: str
    record: TrainingRecord | None = None
    lost: str = ""


def python_path() -> str:
    """Where a worker finds the modules that this process finds."""
    return os.pathsep.join(os.path.abspath(entry) for entry in sys.path)


class Engine(ABC):
    """Carries jobs out, at most ``workers`` at once."""

    workers: int = 1

    @property
    def parallel(self) -> int:
        """How many of them really go on at the same moment: by this, seconds of trainings become seconds of a run."""
        return self.workers

    @abstractmethod
    def start(self, job: Job) -> None:
        """Begin a training; there is a free worker."""

    @abstractmethod
    def next(self) -> Ended:
        """Wait until a training that was started ends.

        A user's mistake in it is raised as ``UserError``, and as ``FailedTrainingError`` that it came to nothing, which
        leaves the others as they are; ``Stopped`` when all have saved their state and left because somebody asked for
        it.
        """

    def store_answers(self, job: Job) -> list[Filled]:
        """Store the answers of its teachers that a training would read; some engines only train."""
        raise UserError(f"the engine {type(self).__name__} stores no answers without training: leave --engine out")

    def close(self) -> None:  # noqa: B027 - some have nothing to let go
        """Stop what still runs, its state saved, and let the workers go."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


MakeEngine = Callable[[Builders, Callback, StopRequest], Engine]


@dataclass(frozen=True)
class Request:
    """What the command line asks of an engine.

    Args:
        workers: trainings at once; None leaves the number to the engine.
        threads: of each training.
        gpus: of each training.
        address: of a cluster.
    """

    workers: int | None = None
    threads: int = 1
    gpus: int = 0
    address: str | None = None


@dataclass(frozen=True)
class EngineEntry:
    """An engine as the command line knows it.

    Args:
        name: of ``--engine``.
        summary: its line in the help.
        make: from a request, the data and networks of this process, who is told what happens, and the wish to stop.
        sharing: how many of that many workers share the cores of this machine.
    """

    name: str
    summary: str
    make: Callable[[Request, Builders, Callback, StopRequest], Engine]
    sharing: Callable[[int | None], int] = lambda workers: workers or 1
