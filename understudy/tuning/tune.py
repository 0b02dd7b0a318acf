"""A search in a run folder: trials with different settings, compared on the validation part."""

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from understudy import recipe as recipes
from understudy.errors import FailedTrainingError, UserError
from understudy.plans import TrainingCache
from understudy.plans.engines.ray import Ray
from understudy.plans.training import Builders
from understudy.recipe import Recipe, Searched
from understudy.runs.folder import RunFolder
from understudy.tasks import Figure
from understudy.training import metrics
from understudy.training.callbacks import Callback
from understudy.training.interrupt import StopRequest
from understudy.training.records import Epoch, TrainingRecord
from understudy.tuning.on_ray import search_on
from understudy.tuning.side_by_side import exclusive, helpers
from understudy.tuning.trainer import Trainer
from understudy.tuning.trials import Trial, Trials

DATABASE = "trials.sqlite"


class TuneCallback(Callback):
    """A callback that also receives the trials of a search."""

    def search_begins(self, trials: int, before: list[Trial], figure: Figure) -> None:
        """A search begins for so many trials in all, of which some may exist; ``figure`` is the one that selects."""

    def trial_begins(self, trial: Trial) -> None:
        """A trial begins, or is continued."""

    def trial_ends(self, trial: Trial) -> None:
        """A trial has ended."""


class Tuning:
    """The search for a method's settings, in a run folder."""

    def __init__(
        self,
        searched: Searched,
        out: Path,
        *,
        builders: Builders | None = None,
        callback: TuneCallback | None = None,
        stop: StopRequest | None = None,
        checkpoint_seconds: float = 20.0,
        cache: TrainingCache | None = None,
    ):
        self.searched, self.callback = searched, callback or TuneCallback()
        self.trusted = tuple(builders.trusted) if builders else ()
        self.checkpoint_seconds, self.cache = checkpoint_seconds, cache
        self.trainer = Trainer(
            self.narrowed(searched.recipe),
            out,
            builders=builders or Builders(),
            callback=self.callback,
            stop=stop,
            checkpoint_seconds=checkpoint_seconds,
            cache=cache,
        )
        self.folder = self.trainer.folder

    @property
    def figure(self) -> Figure:
        """The task's first figure, by which trials are compared."""
        return self.trainer.data.task.selecting

    def narrowed(self, recipe: Recipe) -> Recipe:
        """The recipe with only the method that is tuned, and the seeds of a trial."""
        table = recipe.methods[self.searched.method].model_copy(update={"seeds": None})
        methods = {self.searched.method: table}
        return recipe.model_copy(update={"methods": methods, "seeds": self.searched.seeds})

    def written(self) -> str:
        """The identity of a search: recipe, method, seeds and spaces, without the number of trials."""
        tune = self.searched.tune.model_copy(update={"method": self.searched.method, "seeds": self.searched.seeds})
        return recipes.write(self.searched.recipe.model_copy(update={"tune": tune}))

    def look(self) -> None:
        """Check that the folder is empty or belongs to this search."""
        self.folder.look(self.written())

    def search(self, count: int, workers: int = 1, engine: Ray | None = None) -> list[Trial]:
        """Train trials until there are ``count``, beginning with interrupted ones. Returns all trials.

        The test part is not used.

        Args:
            count: how many trials in all.
            workers: how many processes train trials side by side, this one included.
            engine: a Ray cluster, whose workers train them instead.
        """
        self.folder.claim(self.written())
        trials = Trials(self.folder.path / DATABASE, self.searched, self.figure)
        try:
            self.callback.search_begins(count, trials.all(), self.figure)
            self.trainer.prepare()
            if engine is not None:
                search_on(engine, self, trials, count)
            else:
                with helpers(self, count, workers - 1):
                    self.take_part(trials, count)
            self.take_part(trials, count)  # leftovers of a failed process
            ended = trials.all()
        finally:
            trials.close()
        for trial in ended:
            self.trainer.clear(self.trial_folder(trial))  # leftovers of a kill between two steps above
        return ended

    def take_part(self, trials: Trials, count: int) -> None:
        """Train trials that no other worker trains, one after another, until there are ``count`` in all."""
        while True:
            with self._claimed(trials, count) as trial:
                if trial is None:
                    return
                self.callback.trial_begins(trial)
                ended = self._carry_out(trial, trials)
                self.trainer.clear(self.trial_folder(ended))
                self.callback.trial_ends(ended)

    @contextmanager
    def _claimed(self, trials: Trials, count: int) -> Iterator[Trial | None]:
        """Claim an interrupted trial or a new one for this worker; None where there is none left.

        A claim is a lock on the trial's folder that ends with its process: a trial whose worker was killed is free at
        once, and keeps its number, its folder and its checkpoints.
        """
        # Optuna's heartbeat would fail such a trial after a grace period, and its callback would begin another one with
        # the same settings under a new number: what was trained of it would be trained again, and the seeds of all
        # later trials would be others than in a search that nothing interrupted.
        with ExitStack() as claim:
            with exclusive(self.folder.path / ".trials.lock"):
                trial = next((one for one in trials.unfinished() if self._locked(one, claim)), None)
                if trial is None and (trial := self._next(trials, count)) is not None:
                    self._locked(trial, claim)
            yield trial

    def _locked(self, trial: Trial, claim: ExitStack) -> bool:
        """Whether the trial's folder could be locked, until ``claim`` ends."""
        try:
            claim.enter_context(RunFolder(self.trial_folder(trial)).locked())
        except UserError:
            return False
        return True

    def recipe_of(self, trial: Trial) -> Recipe:
        return self.narrowed(self.searched.at(trial.values))

    def tuned(self, trial: Trial) -> Recipe:
        """The whole recipe with a trial's settings and its assistants."""
        recipe, method = self.searched.at(trial.values).model_copy(update={"tune": None}), self.searched.method
        assistants = self.trainer.decided(self.recipe_of(trial)).methods[method].assistants
        table = recipe.methods[method].model_copy(update={"assistants": assistants})
        return recipe.model_copy(update={"methods": {**recipe.methods, method: table}})

    def trial_folder(self, trial: Trial) -> Path:
        return self.folder.path / "trials" / f"{trial.number:04d}"

    def _next(self, trials: Trials, count: int) -> Trial | None:
        before = len(trials)
        if before >= count:
            return None
        trial = trials.begin()
        if trial is None:
            self.callback.note(
                f"after {before} trials, no settings were found that are not among them: the search ends"
            )
        return trial

    def _carry_out(self, trial: Trial, trials: Trials) -> Trial:
        """Train a trial on all seeds, unless it is stopped on the first."""
        try:
            recipe = self.recipe_of(trial)
        except UserError as error:  # each setting is valid, and the combination is not
            return trials.end(trial, "failed", reason=str(error))
        judge = _Judge(self.callback, trials, trial, self.trainer.log(self.trial_folder(trial), self.searched.seeds[0]))
        try:
            values = self.trainer.train(recipe, self.trial_folder(trial), judge)
        except _HopelessError:
            return trials.end(trial, "stopped")
        except FailedTrainingError as failure:
            return trials.end(trial, "failed", reason=failure.reason)
        if not all(map(math.isfinite, values)):  # as a correlation with answers that are all alike
            return trials.end(trial, "failed", reason=f"its {self.figure.title} on validation is no number")
        return trials.end(trial, "complete", tuple(values))


class _HopelessError(Exception):
    """Raised to stop a trial that is worse than others at the same epoch."""


class _Judge(Callback):
    """Passes on all calls, and stops a trial that is worse than others in its first training.

    The other seeds are not compared: a trial that completes its first seed gets the mean of all.
    """

    def __init__(self, shown: Callback, trials: Trials, trial: Trial, log: Path):
        self.shown, self.trials, self.trial = shown, trials, trial
        self.log = log  # of the training that is compared

    def of(self, training: str) -> Callback:
        return _Judge(self.shown.of(training), self.trials, self.trial, self.log)

    def training_begins(self, name: str, stages: Mapping[str, int], steps: int) -> None:
        self.shown.training_begins(name, stages, steps)

    def stage_begins(self, name: str, objective: str, epochs: int, epoch: int) -> None:
        self.shown.stage_begins(name, objective, epochs, epoch)

    def step(self, done: int, loss: float | None) -> None:
        self.shown.step(done, loss)

    def epoch_ends(self, epoch: Epoch) -> None:
        self.shown.epoch_ends(epoch)
        if self._is_judged(epoch.training):
            epochs = metrics.read(self.log)
            self._judge(len(epochs), epochs[-1])

    def training_ends(self, name: str, record: TrainingRecord) -> None:
        """A training from the cache reported no epochs: its log is compared instead."""
        self.shown.training_ends(name, record)
        if self._is_judged(name):
            for number, epoch in enumerate(metrics.read(self.log), start=1):
                self._judge(number, epoch)

    def note(self, text: str) -> None:
        self.shown.note(text)

    def _is_judged(self, training: str) -> bool:
        return training == self.log.parent.name

    def _judge(self, epochs: int, epoch: Epoch) -> None:
        """``epochs`` counts those of all stages; one of hints has no figure."""
        value = epoch.selecting_value
        if value is not None and self.trials.report(self.trial, epochs, value):
            raise _HopelessError
