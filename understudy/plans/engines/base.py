"""What every engine offers: to start a training where a worker is free, and to wait for the next one that ends."""

import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from understudy.errors import FailedTrainingError, UserError
from understudy.plans.training import Job


@dataclass(frozen=True)
class Ended:
    """How a training ended: with its record, or because its worker was ``lost``."""

    name: str
    record: dict[str, Any] | None = None
    lost: str = ""


def ended(name: str, message: Mapping[str, Any]) -> Ended:
    """What a worker's last message says of its training; a mistake in it is raised here as it was there."""
    if "record" in message:
        return Ended(name, message["record"])
    if "failed" in message:
        raise FailedTrainingError(message["mistake"], training=name, reason=message["failed"])
    if "mistake" in message:
        raise UserError(message["mistake"])
    raise RuntimeError(f"{name}: {message.get('failure', 'its worker stopped unasked')}")


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

    def close(self) -> None:  # noqa: B027 - some have nothing to let go
        """Stop what still runs, its state saved, and let the workers go."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
