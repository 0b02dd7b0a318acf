"""A training of a recipe that nobody keeps: what is measured on it holds for the real ones."""

from understudy import methods
from understudy.recipe import Recipe
from understudy.running.cast import Cast
from understudy.stored import Stored
from understudy.training.loop import Training


def rehearsal(recipe: Recipe, cast: Cast, name: str, stored: Stored | None = None) -> Training:
    """A training by the recipe's method ``name``, not begun. A teacher that is yet to be trained has fresh weights."""
    table, seed = recipe.methods[name], recipe.seeds[0]
    student = cast.student(seed)
    teacher = cast.teacher(seed) if recipe.teacher and methods.find(table.method).reads_teacher else None
    stages = cast.stages(table, student, teacher)
    teachers = [] if teacher is None else [teacher]
    data, settings = cast.student_data, recipe.settings.plain
    return Training(student, teachers, stages, data, seed=seed, settings=settings, stored=stored)
