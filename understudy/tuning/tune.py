"""A search carried out in a folder: trial after trial, each a recipe with other settings, judged on validation."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from understudy import recipe as recipes
from understudy.errors import UserError
from understudy.recipe import Recipe, Searched
from understudy.running import Run, Task
from understudy.running.run import TEACHER
from understudy.stored import Stored
from understudy.training import checkpoints
from understudy.training.interrupt import StopRequest
from understudy.training.loop import DivergedError
from understudy.training.watch import Watcher
from understudy.tuning.trials import Trial, Trials

DATABASE = "trials.sqlite"


class TuneWatcher(Watcher):
    """Also told of trials."""

    def search_begins(self, trials: int, before: list[Trial]) -> None:
        """A search for so many trials in all, of which some may be there."""

    def trial_begins(self, trial: Trial) -> None:
        """A trial begins, or goes on."""

    def trial_ends(self, trial: Trial) -> None:
        """A trial ended just now."""


class Tuning:
    """The search for a method's settings, in a run folder."""

    def __init__(
        self,
        searched: Searched,
        out: Path,
        *,
        trusted: Collection[str] = (),
        watcher: TuneWatcher | None = None,
        stop: StopRequest | None = None,
        checkpoint_seconds: float = 20.0,
    ):
        self.searched, self.watcher = searched, watcher or TuneWatcher()
        self.run = Run(
            self.narrowed(searched.recipe),
            out,
            trusted=trusted,
            watcher=self.watcher,
            stop=stop,
            checkpoint_seconds=checkpoint_seconds,
        )
        self.folder = self.run.folder

    def narrowed(self, recipe: Recipe) -> Recipe:
        """The recipe with the method that is tuned alone, and the seeds of a trial."""
        table = recipe.methods[self.searched.method].model_copy(update={"seeds": None})
        methods = {self.searched.method: table}
        return recipe.model_copy(update={"methods": methods, "seeds": self.searched.seeds})

    def written(self) -> str:
        """What makes this search the one it is: the recipe, the method, the seeds, the spaces; not how many trials."""
        tune = self.searched.tune.model_copy(update={"method": self.searched.method, "seeds": self.searched.seeds})
        return recipes.write(self.searched.recipe.model_copy(update={"tune": tune}))

    def look(self) -> None:
        """See that the folder is free or this search's."""
        self.folder.look(self.written())

    def search(self, count: int) -> list[Trial]:
        """Train trials until there are ``count``, beginning with the one that was stopped; all that there are.

        Nothing here opens the test part.
        """
        self.folder.claim(self.written())
        trials = Trials(self.folder.path / DATABASE, self.searched)
        try:
            self.watcher.search_begins(count, trials.all())
            for task in self.run.tasks():
                if task.method == TEACHER:
                    self.run.carry_out(task)
            while (trial := trials.unfinished() or self._next(trials, count)) is not None:
                self.watcher.trial_begins(trial)
                ended = self._carry_out(trial, trials)
                self._clear(ended)
                self.watcher.trial_ends(ended)
            found = trials.all()
        finally:
            trials.close()
        for trial in found:
            self._clear(trial)  # what a kill between two steps above may have left
        return found

    def run_of(self, trial: Trial, judge: Watcher | None = None) -> Run:
        """The run that trains, or has trained, a trial's students."""
        return _TrialRun(self.run, self.narrowed(self.searched.at(trial.values)), self.place(trial), judge)

    def place(self, trial: Trial) -> Path:
        return self.folder.path / "trials" / f"{trial.number:04d}"

    @property
    def _first_training(self) -> str:
        return Task(self.searched.method, self.searched.seeds[0]).name

    def _next(self, trials: Trials, count: int) -> Trial | None:
        before = len(trials.all())
        if before >= count:
            return None
        trial = trials.begin()
        if trial is None:
            self.watcher.note(f"after {before} trials, no settings were found that are not among them: the search ends")
        return trial

    def _carry_out(self, trial: Trial, trials: Trials) -> Trial:
        """Train a trial on all seeds, unless it turns out hopeless on the first."""
        try:
            run = self.run_of(trial, _Judge(self.watcher, trials, trial, self._first_training))
        except UserError as error:  # each setting is possible, and these are not together
            return trials.end(trial, "failed", reason=str(error))
        run.folder.claim(recipes.write(run.recipe))  # what lies there from other settings is not taken for this trial's
        try:
            accuracies = [_accuracy(run.carry_out(task)) for task in students_of(run)]
        except _HopelessError:
            return trials.end(trial, "stopped")
        except DivergedError:
            return trials.end(trial, "failed", reason="its loss is no longer a number")
        return trials.end(trial, "complete", tuple(accuracies))

    def _clear(self, trial: Trial) -> None:
        home = self.place(trial) / "checkpoints"
        for folder in (*home.glob("*"), home):
            checkpoints.clear(folder)


class _TrialRun(Run):
    """A run of a trial's recipe: on the data, with the teachers and under the eyes of the whole search."""

    def __init__(self, base: Run, recipe: Recipe, out: Path, judge: Watcher | None):
        super().__init__(
            recipe,
            out,
            watcher=judge,
            stop=base.stop,
            checkpoint_seconds=base.checkpoint_seconds,
            cast=replace(base.cast, recipe=recipe),
        )
        self.base = base

    @property
    def stored(self) -> Stored | None:
        return self.base.stored  # a teacher's answers are the same for all trials

    def teacher(self, seed: int) -> nn.Module | None:
        return self.base.teacher(seed)


class _HopelessError(Exception):
    """A trial that fell behind."""


class _Judge(Watcher):
    """Passes on what it is told, and ends a trial that falls behind in its first training.

    The other seeds are not judged: a trial that gets so far is worth an honest mean.
    """

    def __init__(self, shown: Watcher, trials: Trials, trial: Trial, first: str):
        self.shown, self.trials, self.trial, self.first = shown, trials, trial, first
        self.before: dict[str, int] = {}  # epochs of the stages before each

    def training_begins(self, name: str, stages: Mapping[str, int], steps: int) -> None:
        epochs = 0
        for stage, own in stages.items():
            self.before[stage], epochs = epochs, epochs + own
        self.shown.training_begins(name, stages, steps)

    def stage_begins(self, name: str, objective: str, epochs: int, epoch: int) -> None:
        self.shown.stage_begins(name, objective, epochs, epoch)

    def step(self, done: int, loss: float | None) -> None:
        self.shown.step(done, loss)

    def epoch_ends(self, record: Mapping[str, Any]) -> None:
        self.shown.epoch_ends(record)
        accuracy = record["validation"].get("accuracy")  # a stage of hints has none
        if record["training"] != self.first or accuracy is None:
            return
        if self.trials.report(self.trial, self.before[record["stage"]] + record["epoch"], accuracy):
            raise _HopelessError

    def training_ends(self, name: str, record: Mapping[str, Any]) -> None:
        self.shown.training_ends(name, record)

    def note(self, text: str) -> None:
        self.shown.note(text)


def students_of(run: Run) -> list[Task]:
    return [task for task in run.tasks() if task.method != TEACHER]


def _accuracy(record: Mapping[str, Any]) -> float:
    """On validation, of the weights that are kept."""
    validation = record["stages"][-1]["validation"]
    if "accuracy" not in validation:
        raise UserError(f"{record['method']} ends without a classifier, so there is no accuracy to search for")
    return float(validation["accuracy"])
