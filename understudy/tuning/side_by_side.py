"""Trials side by side: further processes that take part in a search, each with its own trials."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.errors import UserError
from understudy.files import locked
from understudy.plans import TrainingCache
from understudy.plans.training import Builders
from understudy.recipe import Searched
from understudy.training.interrupt import Stopped, StopRequest, listening

if TYPE_CHECKING:
    from understudy.tuning.tune import Tuning


@contextlib.contextmanager
def helpers(tuning: "Tuning", count: int, number: int) -> Iterator[None]:
    """A context in which so many further processes train trials of the search. They end with it.

    An exception here, such as a request to stop, makes them save their state and end.
    """
    if number < 1:
        yield
        return
    spawn, part = multiprocessing.get_context("spawn"), Part.of(tuning, count)
    processes = [spawn.Process(target=_take_part, args=(part,), daemon=True) for _ in range(number)]
    for process in processes:
        process.start()
    try:
        yield
    except BaseException:
        for process in processes:
            process.terminate()  # SIGTERM: they save their state and end
        raise
    finally:
        for process in processes:
            process.join()
    for process in processes:
        if process.exitcode:
            tuning.callback.note(f"a worker ended early (exit code {process.exitcode}): its trial is trained here")


@dataclass(frozen=True)
class Part:
    """What a further process needs to take part in a search: the same search, in the same folder."""

    searched: Searched
    folder: Path
    trusted: tuple[str, ...]
    seconds: float
    cache: Path | None
    count: int

    @classmethod
    def of(cls, tuning: "Tuning", count: int) -> "Part":
        cache = None if tuning.cache is None else tuning.cache.path
        folder = tuning.folder.path.absolute()
        return cls(tuning.searched, folder, tuning.trusted, tuning.checkpoint_seconds, cache, count)

    def take(self, stop: StopRequest) -> None:
        """Train trials until there are enough."""
        from understudy.tuning.trials import Trials
        from understudy.tuning.tune import DATABASE, Tuning

        tuning = Tuning(
            self.searched,
            self.folder,
            builders=Builders(self.trusted),
            stop=stop,
            checkpoint_seconds=self.seconds,
            cache=None if self.cache is None else TrainingCache(self.cache),
        )
        trials = Trials(self.folder / DATABASE, self.searched, tuning.figure)
        try:
            tuning.trainer.prepare()
            tuning.take_part(trials, self.count)
        finally:
            trials.close()


def _take_part(part: Part) -> None:
    """The work of a further process."""
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    with listening() as stop:
        try:
            part.take(stop)
        except Stopped as stopped:
            raise SystemExit(128 + stopped.signal_number) from None
        except UserError as error:
            raise SystemExit(str(error)) from None


def _end_with(parent: BaseProcess | None) -> None:
    """End this process when the one that started it has ended."""
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """A lock for one process at a time. The lock of a killed process is released."""
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(path, wait=True))
        except OSError as error:
            raise UserError(f"cannot lock {path}: {error.strerror}") from error
        yield
