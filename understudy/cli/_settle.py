"""A recipe as it will be carried out: read, with its settings chosen, and by whom."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from understudy import recipe as recipes
from understudy.cli._engines import By, chosen_engine, of_workers
from understudy.cli._shared import err, print_findings
from understudy.recipe import Recipe
from understudy.recipe.resolve import HowSettings
from understudy.running import Run
from understudy.running.choosing import settled
from understudy.training.preflight import Finding
from understudy.training.watch import Watcher

R = TypeVar("R", bound=Run)


def read_settled(
    path: Path,
    changes: Sequence[str] | None,
    how: HowSettings,
    trust: Sequence[str] | None,
    watcher: Watcher,
    folder: Path | None = None,
) -> Recipe:
    """The recipe in a file; what was chosen is said on standard error."""
    return settle(recipes.read(path, changes or [], settings=how), trust, watcher, folder)


def settle(recipe: Recipe, trust: Sequence[str] | None, watcher: Watcher, folder: Path | None = None) -> Recipe:
    found, reason = settled(recipe, folder, trusted=trust or [], watcher=watcher)
    if reason is not None:
        print_findings([Finding("ok", "settings", reason)], err)
    return found


def made(
    make: Callable[..., R], recipe: Recipe, by: By, trust: Sequence[str] | None, watcher: Watcher, folder: Path
) -> R:
    """The run, ``make(recipe, engine=..., threads=...)``, of a recipe that was read.

    All commands that train with workers come by here: how many threads are to be had, and so which settings are the
    fastest, depends on how many trainings share the machine.
    """
    shared = recipe.model_copy(update={"settings": of_workers(recipe.settings, by)})
    found = settle(shared, trust, watcher, folder)
    engine, threads = chosen_engine(by, found.settings)
    return make(found, engine=engine, threads=threads)
