"""A run again on all of its data: train and validation, for the epochs that validation found."""

from dataclasses import replace
from pathlib import Path

from understudy import recipe as recipes
from understudy.errors import UserError
from understudy.models import student as product
from understudy.plans.entry import RESULT
from understudy.recipe import Recipe
from understudy.recipe.schema import MethodTable, TeacherTable
from understudy.runs.compile import seed_of, student_of, training_of
from understudy.runs.folder import RECIPE, RunFolder, without_seal
from understudy.runs.run import Run
from understudy.training.records import TrainingRecord

NORMALISATION = ("mean", "std", "size", "interpolation")


def retrained(folder: Path) -> Recipe:
    """The recipe by which the students of a finished run are trained again without a validation part.

    Each stage ends after the epoch that was the best on validation, on the schedule of all its epochs; the teachers are
    those of the run. Nothing selects among several methods any more: the student of the one that the run kept is kept.
    """
    run = RunFolder(folder)
    result = run.result()
    if result is None:
        raise UserError(f"{folder} holds no finished run: finish it, and then give it to --retrain")
    text, _ = without_seal((folder / RECIPE).read_text(encoding="utf-8"))
    recipe = recipes.parse(text, str(folder / RECIPE))
    if recipe.path is not None:
        raise UserError(f"{folder} searched a path of assistants, which --retrain does not train again")
    if not result.data.validation:
        raise UserError(f"{folder} held nothing back for validation, so there is nothing more to train on")
    teachers = {name: _teacher(name, table, recipe, run) for name, table in recipe.taught_by.items()}
    return recipe.model_copy(
        update={
            "title": f"{recipe.title}, again on all data".lstrip(", "),
            "data": recipe.data.model_copy(update={"validation": 0}),
            "teacher": teachers["teacher"] if recipe.teacher else None,
            "teachers": () if recipe.teacher else tuple(teachers.values()),
            "methods": {name: _method(name, table, recipe, run) for name, table in recipe.methods.items()},
            "train": replace(recipe.train, patience=None),
            "keep": result.foremost if len(recipe.methods) > 1 else recipe.keep,
            "tune": None,
        }
    )


def check_data(run: Run, folder: Path) -> None:
    """A ``UserError`` if students would be trained on no more samples than those of the run in the folder."""
    result, samples = RunFolder(folder).result(), len(run.student_data.train)
    if result is None or samples > result.data.train:
        return
    seen = f"the students of {folder} saw {result.data.train} samples, and --retrain would show them {samples}"
    if run.recipe.data.student_samples:
        raise UserError(f"{seen}: give the number that they are to see, by --set data.student_samples=N")
    raise UserError(
        f"{seen}: the data set has a validation part of its own, which is not trained on. Add its samples to those of "
        "the training part"
    )


def _method(name: str, table: MethodTable, recipe: Recipe, run: RunFolder) -> MethodTable:
    """The method on the schedule that it had, each stage until its best epoch."""
    if table.assistants:
        raise UserError(f"methods.{name} has assistants, which --retrain does not train again: run it without them")
    ends = {}
    for seed in recipe.seeds_of(name):
        path = run.training(student_of(name, seed)) / RESULT
        record = TrainingRecord.read(path, way_out="finish the run again")
        ends[str(seed)] = tuple(stage.best_epoch or stage.epochs for stage in record.stages)
    config = replace(table.train, patience=None, keep="last")
    return table.model_copy(update={"train": config, "ends": ends})


def _teacher(name: str, table: TeacherTable, recipe: Recipe, run: RunFolder) -> TeacherTable:
    """A teacher that was trained in the run, as it came out."""
    if table.train is None:
        return table
    if len({seed_of(table, recipe, seed) for seed in recipe.seeds}) > 1:
        raise UserError(f"each seed of {run.path} has a {name} of its own: --retrain needs one_for_all = true")
    folder = run.training(training_of(name, table, recipe, recipe.seeds[0])).resolve()
    front = product.read(folder).front or {}
    normalisation = {key: front[key] for key in NORMALISATION if key in front and not recipe.data.whiten}
    content = table.model_dump() | normalisation
    content |= {"weights": str(folder / product.WEIGHTS), "prefix": "module." if recipe.data.whiten else None}
    return TeacherTable(**{**content, "train": None, "terms": None, "pretrained": None})
