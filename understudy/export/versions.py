"""The context of a run's student: the data to prove it on, and the teacher that it replaces."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from understudy import recipe as recipes
from understudy.data import Data
from understudy.data.parts import fewer
from understudy.errors import UserError
from understudy.models import Whitened
from understudy.plans.entry import RESULT
from understudy.recipe import Recipe
from understudy.recipe.build import Builder, named_data
from understudy.recipe.objects import is_object
from understudy.runs.folder import RECIPE, read_recipe


@dataclass(frozen=True)
class Surroundings:
    """Data before any whitening, the student's data, and a teacher with fresh weights.

    The teacher is only timed, for which its weights are not needed; ``note`` is the reason if there is none.
    """

    data: Data
    student_data: Data
    teacher: nn.Module | None
    note: str | None = None


def run_of(folder: Path) -> Path | None:
    """The run folder of a student: the folder itself, or the one that contains its training."""
    for run in (folder, folder.resolve().parent.parent):
        is_run = (run / RECIPE).is_file() or ((run / RESULT).is_file() and (run / "trainings").is_dir())
        if is_run and (run == folder or folder.resolve().parent.name == "trainings"):
            return run
    return None


def surroundings(run: Path, student: nn.Module, trust: Collection[str]) -> Surroundings | None:
    """The context of a recipe's run; None for a run of ``understudy.distill``, whose data were passed as an object."""
    given = read_recipe(run / RECIPE).get("data")
    if isinstance(given, dict) and is_object(str(given.get("name", ""))):
        return None
    recipe = recipes.read(run / RECIPE)
    data = named_data(recipe.data, trust)
    if not data.task.labelled:
        data = Builder.of(recipe.data, trust).data
    seen = fewer(data, recipe.data.student_samples) if recipe.data.student_samples else data
    try:
        return Surroundings(data, seen, _teacher(recipe, data, student, trust))
    except UserError as error:
        return Surroundings(data, seen, None, f"the teacher could not be timed: {error}")


def _teacher(recipe: Recipe, data: Data, student: nn.Module, trust: Collection[str]) -> nn.Module | None:
    table = recipe.teacher
    if table is None:
        return None
    whitening = student.whitening if isinstance(student, Whitened) else None
    builder = Builder(data, data, whitening, trust)
    return builder.product(builder.fresh(table, 0, "teacher")).eval()
