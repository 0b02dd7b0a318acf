"""The trainings of a search: data, teachers, and the students of one recipe after another."""

from collections.abc import Iterator
from pathlib import Path

from torch import nn

from understudy import recipe as recipes
from understudy.data import Data
from understudy.errors import UserError
from understudy.plans import TrainingCache
from understudy.plans.entry import METRICS
from understudy.plans.training import Builders
from understudy.recipe import Recipe
from understudy.runs import Run
from understudy.runs.assistants import chosen, trials
from understudy.runs.compile import student_of
from understudy.runs.folder import RunFolder
from understudy.runs.run import WHOLE
from understudy.training import checkpoints
from understudy.training.callbacks import Callback
from understudy.training.interrupt import StopRequest
from understudy.training.preflight import Finding


class Trainer:
    """Trains the students of recipes that differ from one another in a method's settings and its config alone.

    Args:
        recipe: the one that the others differ from; it has one method.
        cache: of finished trainings. A trial that is stopped early is never added to it.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        *,
        builders: Builders,
        callback: Callback,
        stop: StopRequest | None,
        checkpoint_seconds: float,
        cache: TrainingCache | None,
    ):
        self._run = Run(
            recipe,
            out,
            builders=builders,
            callback=callback,
            stop=stop,
            checkpoint_seconds=checkpoint_seconds,
            cache=cache,
        )
        (self._method,) = recipe.methods

    @property
    def folder(self) -> RunFolder:
        return self._run.folder

    @property
    def data(self) -> Data:
        return self._run.builder.data

    @property
    def training_samples(self) -> int:
        return len(self._run.student_data.train)

    def check(self) -> Iterator[Finding]:
        """The pre-flight of the base recipe. The number of trials is not known at this time."""
        return (finding for finding in self._run.check() if finding.subject != WHOLE)

    def prepare(self) -> None:
        """Train what all trials share: teachers, and the trainings that select assistants."""
        self._run.carry_out(self._teachers)
        self.decided(self._run.recipe)

    def decided(self, recipe: Recipe) -> Recipe:
        """A recipe with the assistants of the base recipe where it leaves them open."""
        run = self._run
        if self._method in run.decided():
            return recipe
        nodes = trials(run.recipe, self._method, run.builder)
        decided, _ = chosen(recipe, [self._method], run.builder, lambda _: run.trained_beside(nodes))
        run.remember_failed()
        return decided

    def log(self, out: Path, seed: int) -> Path:
        """The logged epochs of the student of a seed in this folder."""
        return RunFolder(out).training(student_of(self._method, seed)) / METRICS

    def train(self, recipe: Recipe, out: Path, callback: Callback) -> list[float]:
        """Train a recipe's students in a folder of their own, or go on; each one's first figure on validation."""
        run = self._sibling(recipe, out, callback)
        run.folder.claim(recipes.write(recipe))  # results of other settings in the folder are not used
        return [_figure(run, name) for name in self._students(recipe)]

    def students(self, recipe: Recipe, out: Path) -> Iterator[nn.Module]:
        """The students in this folder, in the order of the seeds."""
        run = self._sibling(recipe, out, None)
        return (run.trained(name) for name in self._students(recipe))

    def clear(self, out: Path) -> None:
        """Remove the checkpoints of trainings that will not be continued."""
        home = out / "checkpoints"
        for folder in (*home.glob("*"), home):
            checkpoints.clear(folder)

    def _sibling(self, recipe: Recipe, out: Path, callback: Callback | None) -> Run:
        """A run of another recipe on the same data, with the same teachers and their stored answers."""
        base = self._run
        return Run(
            self.decided(recipe).model_copy(update={"answers": base.stored}),
            out,
            callback=callback,
            stop=base.stop,
            checkpoint_seconds=base.checkpoint_seconds,
            cache=base.execution.cache,
            builders=base.builders,
            borrowed={name: base.folder.training(name) for name in self._teachers},
        )

    def _students(self, recipe: Recipe) -> list[str]:
        return [student_of(self._method, seed) for seed in recipe.seeds_of(self._method)]

    @property
    def _teachers(self) -> list[str]:
        return [node.name for node in self._run.plan if node.role == "teacher"]


def _figure(run: Run, name: str) -> float:
    """The first figure on validation of the final weights."""
    value = run.carry_out([name])[name].selecting_value
    if value is None:
        title = run.builder.data.task.selecting.title
        raise UserError(f"{name} ends without answers, so there is no {title} to search for")
    return value
