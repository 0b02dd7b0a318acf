"""A recipe as it will be carried out: read, with its settings chosen, and by whom."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from understudy import recipe as recipes
from understudy.cli._engines import By, chosen_engine, of_workers
from understudy.cli._shared import err, print_findings
from understudy.plans.training import Casts
from understudy.recipe import Recipe
from understudy.recipe.resolve import HowSettings
from understudy.report.format import plural
from understudy.runs import Run
from understudy.runs.at_once import at_once
from understudy.runs.choosing import settled
from understudy.runs.folder import RunFolder
from understudy.settings import Settings
from understudy.training.preflight import Finding
from understudy.training.watch import Watcher

R = TypeVar("R", bound=Run)


def read_settled(
    path: Path,
    changes: Sequence[str] | None,
    how: HowSettings,
    casts: Casts,
) -> Recipe:
    """The recipe in a file; what was chosen is said on standard error."""
    return settle(recipes.read(path, changes or [], settings=how), casts)


def settle(recipe: Recipe, casts: Casts, folder: Path | None = None) -> Recipe:
    found, reason = settled(recipe, folder, casts)
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
    casts = Casts(trust or (), watcher.downloads)
    make = partial(make, casts=casts)
    begun = RunFolder(folder).settings()
    if begun is None:
        by = _by_default(make, recipe, by, _named(recipe.settings))
        recipe = _with(recipe, of_workers(recipe.settings, by))
    else:  # with the threads with which it began; if those were all that there are, one training after another
        recipe = _with(recipe, _gone_on_with(recipe.settings, begun))
        by = _by_default(make, recipe, by, begun.threads) if begun.threads else by
    found = settle(recipe, casts, folder)
    engine, threads = chosen_engine(by, found.settings)
    if by.chosen:
        told = f"{by.workers} at once, {plural(threads, 'thread')} each; --workers 1 for one after another"
        print_findings([Finding("ok", "workers", told)], err)
    return make(found, engine=engine, threads=threads)


def _by_default(make: Callable[..., Run], recipe: Recipe, by: By, threads: int | None) -> By:
    """Where nobody said by whom: as many workers as there are cores for, if that is worth it."""
    if by.engine is not None or by.workers is not None:
        return by
    workers = at_once(make(recipe), threads)
    return replace(by, workers=workers, chosen=workers > 1)


def _named(settings: Settings) -> int | None:
    return None if "threads" in settings.auto else settings.threads


def _gone_on_with(settings: Settings, begun: Settings) -> Settings:
    """Threads that a recipe leaves open are those that were taken for it at the beginning."""
    return settings if settings.auto or settings.threads else replace(settings, threads=begun.threads)


def _with(recipe: Recipe, settings: Settings) -> Recipe:
    return recipe.model_copy(update={"settings": settings})
