"""A recipe as it will be carried out: read, and with its settings chosen."""

from collections.abc import Sequence
from pathlib import Path

from understudy import recipe as recipes
from understudy.cli._shared import err, print_findings
from understudy.recipe import Recipe
from understudy.recipe.resolve import HowSettings
from understudy.running.choosing import settled
from understudy.training.preflight import Finding
from understudy.training.watch import Watcher


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
