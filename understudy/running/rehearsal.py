"""A training of a recipe that nobody keeps: what is measured on it holds for the real ones."""

from understudy import methods
from understudy.recipe import Recipe
from understudy.running.cast import Cast
from understudy.running.compiling import student_node
from understudy.running.work import staged
from understudy.stored import Stored
from understudy.training.loop import Training


def rehearsal(recipe: Recipe, cast: Cast, name: str, stored: Stored | None = None) -> Training:
    """A training by the recipe's method ``name``, not begun. A teacher that is yet to be trained has fresh weights."""
    seed = recipe.seeds[0]
    student = cast.network(recipe.student, seed, "student")
    reads = methods.find(recipe.methods[name].method).reads_teacher
    teachers = [cast.teacher(table, seed) for table in recipe.taught_by.values()] if reads else []
    stages = staged(student_node(name, recipe, seed), student, teachers, cast)
    data = cast.seen(recipe.data.student_samples)
    settings = recipe.settings.plain
    return Training(student, teachers, stages, data, seed=seed, settings=settings, stored=stored)
