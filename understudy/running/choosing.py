"""Which settings a run has: those that it began with, or the fastest ones, measured at its start."""

from collections.abc import Collection
from pathlib import Path

from understudy.measure.fastest import Choice, describe, fastest_settings
from understudy.recipe import Recipe
from understudy.running.cast import Cast
from understudy.running.folder import RunFolder
from understudy.running.rehearsal import rehearsal
from understudy.stage import Stage
from understudy.stored import Stored
from understudy.training.watch import Watcher


def settled(
    recipe: Recipe, folder: Path | None, *, trusted: Collection[str] = (), watcher: Watcher | None = None
) -> tuple[Recipe, str | None]:
    """The recipe with nothing left to choose, and a line about what was chosen."""
    if not recipe.settings.auto:
        return recipe, None
    begun = RunFolder(folder).settings() if folder else None
    if begun is not None:
        choice = Choice(begun, f"{describe(begun)}, with which the run began")
    else:
        choice = _measured(recipe, trusted, watcher or Watcher())
    return recipe.model_copy(update={"settings": choice.settings}), choice.reason


def _measured(recipe: Recipe, trusted: Collection[str], watcher: Watcher) -> Choice:
    """On the stage that takes most of the run."""
    cast = Cast.of(recipe.data, trusted, watcher.downloads)
    data = cast.seen(recipe.data.student_samples)
    stages = {name: rehearsal(recipe, cast, name).stages for name in recipe.methods}
    epochs = {
        (name, number): stage.course.epochs * (2 if _asks(stage, recipe.stored) else 1)
        for name, found in stages.items()
        for number, stage in enumerate(found)
    }
    name, number = max(epochs, key=lambda place: epochs[place])
    training = rehearsal(recipe, cast, name)
    stage = training.stages[number]
    batches = data.train.steps(stage.course.batch)
    every = sum(stage.course.epochs for found in stages.values() for stage in found) * len(recipe.seeds)
    return fastest_settings(
        recipe.settings,
        training.teachers,
        training.student,
        stage,
        data,
        steps=every * batches,
        stored=recipe.stored,
    )


def _asks(stage: Stage, stored: Stored | None) -> bool:
    """Whether most steps of a stage run a teacher."""
    reads = stage.objective.reads
    return reads.teacher and not (stored and stored.mostly_read(stage.course, reads))
