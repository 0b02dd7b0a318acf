"""Trials side by side: further processes that take part in a search, each with its own trials."""

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.errors import UserError
from understudy.files import locked
from understudy.plans import TrainingCache
from understudy.plans.training import Builders
from understudy.recipe import Searched
from understudy.training.interrupt import Stopped, listening

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
    spawn = multiprocessing.get_context("spawn")
    cache = None if tuning.cache is None else tuning.cache.path
    given = (tuning.searched, tuning.folder.path, tuning.trusted, tuning.checkpoint_seconds, cache, count)
    processes = [spawn.Process(target=_take_part, args=given, daemon=True) for _ in range(number)]
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


def _take_part(
    searched: Searched, folder: Path, trusted: tuple[str, ...], seconds: float, cache: Path | None, count: int
) -> None:
    """The work of a further process: the same search, in the same folder."""
    from understudy.tuning.trials import Trials
    from understudy.tuning.tune import DATABASE, Tuning

    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    with listening() as stop:
        tuning = Tuning(
            searched,
            folder,
            builders=Builders(trusted),
            stop=stop,
            checkpoint_seconds=seconds,
            cache=None if cache is None else TrainingCache(cache),
        )
        trials = Trials(folder / DATABASE, searched, tuning.figure)
        try:
            tuning.trainer.prepare()
            tuning.take_part(trials, count)
        except Stopped as stopped:
            raise SystemExit(128 + stopped.signal_number) from None
        except UserError as error:
            raise SystemExit(str(error)) from None
        finally:
            trials.close()


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
