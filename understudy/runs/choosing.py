"""Which settings a run has: those that it began with, or the fastest ones, measured at its start."""

from pathlib import Path

from understudy.bench.choose import Choice, describe, fastest_settings
from understudy.plans.training import Casts
from understudy.recipe import Recipe
from understudy.runs.folder import RunFolder
from understudy.runs.rehearsal import Rehearsals
from understudy.stage import Stage
from understudy.stored import Stored


def settled(recipe: Recipe, folder: Path | None, casts: Casts) -> tuple[Recipe, str | None]:
    """The recipe with nothing left to choose, and a line about what was chosen."""
    if not recipe.settings.auto:
        return recipe, None
    begun = RunFolder(folder).settings() if folder else None
    if begun is not None:
        choice = Choice(begun, f"{describe(begun)}, with which the run began")
    else:
        choice = _measured(recipe, casts)
    return recipe.model_copy(update={"settings": choice.settings}), choice.reason


def _measured(recipe: Recipe, casts: Casts) -> Choice:
    """On the students' stage that takes most of the run."""
    rehearsals = Rehearsals(recipe, casts.of(recipe.data))
    name, number, steps = longest(recipe, rehearsals)
    training = rehearsals.student(name)
    return fastest_settings(
        recipe.settings,
        training.teachers,
        training.student,
        training.stages[number],
        training.data,
        steps=steps,
        stored=recipe.stored,
        stand_ins=rehearsals.stand_ins,
    )


def longest(recipe: Recipe, rehearsals: Rehearsals) -> tuple[str, int, int]:
    """The method whose student has the longest stage, that one's number, and how many steps such as its the run has."""
    lengths: dict[tuple[str, int], int] = {}
    steps: dict[tuple[str, int], int] = {}
    epochs = 0
    for name in recipe.methods:
        *assistants, student = map(rehearsals.training, rehearsals.chain(name))
        for number, stage in enumerate(student.stages):
            lengths[name, number] = stage.course.epochs * (2 if _asks(stage, recipe.stored) else 1)
            steps[name, number] = student.data.train.steps(stage.course.batch)
        trained = [stage for training in (*assistants, student) for stage in training.stages]
        epochs += sum(stage.course.epochs for stage in trained) * len(recipe.seeds_of(name))
    name, number = max(lengths, key=lambda place: lengths[place])
    return name, number, epochs * steps[name, number]


def _asks(stage: Stage, stored: Stored | None) -> bool:
    """Whether most steps of a stage run a teacher."""
    reads = stage.objective.reads
    return reads.teacher and not (stored and stored.mostly_read(stage.course, reads))
