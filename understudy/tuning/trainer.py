"""All that a search asks of the machinery of runs: data, teachers, and the students of one recipe after another."""

from collections.abc import Collection, Iterator
from pathlib import Path

from torch import nn

from understudy import recipe as recipes
from understudy.data import Data
from understudy.errors import UserError
from understudy.recipe import Recipe
from understudy.running import Run
from understudy.running.folder import RunFolder
from understudy.training import checkpoints
from understudy.training.interrupt import StopRequest
from understudy.training.preflight import Finding
from understudy.training.watch import Watcher


class Trainer:
    """Trains the students of recipes that differ from one another in a method's settings and its course alone."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        *,
        trusted: Collection[str],
        watcher: Watcher,
        stop: StopRequest | None,
        checkpoint_seconds: float,
    ):
        self._run = Run(recipe, out, trusted=trusted, watcher=watcher, stop=stop, checkpoint_seconds=checkpoint_seconds)

    @property
    def folder(self) -> RunFolder:
        return self._run.folder

    @property
    def data(self) -> Data:
        return self._run.cast.data

    @property
    def training_samples(self) -> int:
        return len(self._run.student_data.train)

    def check(self) -> Iterator[Finding]:
        """The pre-flight of the recipe that the others differ from."""
        return self._run.check()

    def train_teachers(self) -> None:
        """Those that the recipe has trained; they are the same for all that follow."""
        self._run.carry_out(_of_role(self._run, "teacher"))

    def train(self, recipe: Recipe, out: Path, watcher: Watcher) -> list[float]:
        """Train a recipe's students in a folder of their own, or go on; each one's accuracy on validation."""
        run = self._sibling(recipe, out, watcher)
        run.folder.claim(recipes.write(recipe))  # what lies there from other settings is not taken for these
        return [_accuracy(run, name) for name in _of_role(run, "student")]

    def students(self, recipe: Recipe, out: Path) -> Iterator[nn.Module]:
        """The students that were trained there, in the order of the seeds."""
        run = self._sibling(recipe, out, None)
        return (run.trained(name) for name in _of_role(run, "student"))

    def clear(self, out: Path) -> None:
        """Remove the checkpoints of trainings that nobody will go on with."""
        home = out / "checkpoints"
        for folder in (*home.glob("*"), home):
            checkpoints.clear(folder)

    def _sibling(self, recipe: Recipe, out: Path, watcher: Watcher | None) -> Run:
        """A run of another recipe on the same data, with the same teachers and their stored answers."""
        base = self._run
        return Run(
            recipe.model_copy(update={"stored": base.stored}),
            out,
            watcher=watcher,
            stop=base.stop,
            checkpoint_seconds=base.checkpoint_seconds,
            casts=base.casts,
            borrowed={name: base.folder.training(name) for name in _of_role(base, "teacher")},
        )


def _of_role(run: Run, role: str) -> list[str]:
    return [node.name for node in run.plan if node.role == role]


def _accuracy(run: Run, name: str) -> float:
    """On validation, of the weights that are kept."""
    validation = run.carry_out([name])[name]["stages"][-1]["validation"]
    if "accuracy" not in validation:
        raise UserError(f"{name} ends without a classifier, so there is no accuracy to search for")
    return float(validation["accuracy"])
