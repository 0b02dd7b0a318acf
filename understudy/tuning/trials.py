"""The trials of a search in an SQLite database of Optuna: the next settings, and whether to stop a trial.

Optuna's samplers draw from a generator with a state, which a kill would lose. So each trial has its own sampler,
seeded by its number and fitted to the finished trials: its proposal is a function of these alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.errors import OptionalPackageError, UserError
from understudy.measure import Spread
from understudy.randomness import derived_seed
from understudy.recipe import Searched
from understudy.recipe.space import Choice, Number, Space
from understudy.tasks import Figure

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial, TrialState

STUDY = "understudy"
DRAWS = 100  # proposals until one is new
PRUNE_FROM = 5  # complete trials that a trial is compared with, at least

_STATES = {"COMPLETE": "complete", "PRUNED": "stopped", "RUNNING": "running"}


@dataclass(frozen=True)
class Trial:
    """One point of the search."""

    number: int
    values: Mapping[str, Number]
    state: str = "running"  # then "complete", "stopped" (worse than others) or "failed"
    validation: tuple[float, ...] = ()  # the first figure, of each seed
    curve: Mapping[int, float] | None = None  # the same by epoch, on the first seed
    reason: str = ""  # why it failed

    @property
    def score(self) -> float | None:
        """The value that is compared: the mean over the seeds."""
        return Spread(self.validation).mean if self.state == "complete" else None


def best(trials: Iterable[Trial], figure: Figure) -> Trial | None:
    """The best trial by the figure on validation; of equal ones the earliest."""
    complete = [(figure.quality(score), trial) for trial in trials if (score := trial.score) is not None]
    return max(complete, key=lambda one: (one[0], -one[1].number), default=(0.0, None))[1]


class Trials:
    """All trials of a search, in the order in which they began.

    Args:
        figure: the task's first figure, by which trials are compared.
    """

    def __init__(self, path: Path, searched: Searched, figure: Figure):
        self._optuna = _imported()
        if "?" in str(path):  # it begins another part of an address: all such folders would share one database
            raise UserError(f"{path}: the address of a database has no '?' in its path: choose another --out")
        self.searched, self._path = searched, path
        self._direction = "minimize" if figure.better == "lower" else "maximize"
        self._spaces = {key: self._distribution(space) for key, space in searched.spaces.items()}
        try:
            self._database = self._optuna.storages.RDBStorage(f"sqlite:///{path}")
            self._storage = self._optuna.storages.get_storage(self._database)  # keeps ended trials in memory
            self._study = self._optuna.create_study(
                study_name=STUDY,
                storage=self._storage,
                direction=self._direction,
                load_if_exists=True,
            )
        except Exception as error:  # a broken file can raise errors of every layer below
            raise UserError(
                f"{path} cannot be used ({str(error).splitlines()[0]}): if it is damaged, choose another --out, "
                f"or remove it with {path.parent / 'trials'} to search anew"
            ) from error
        few = min(PRUNE_FROM, searched.tune.random)
        self._pruner = self._optuna.pruners.MedianPruner(few, n_warmup_steps=searched.tune.grace + 1)

    def close(self) -> None:
        self._database.remove_session()
        self._database.engine.dispose()

    def __len__(self) -> int:
        return len(self._frozen())

    def all(self) -> list[Trial]:
        return [_trial(frozen) for frozen in self._frozen()]

    def unfinished(self) -> list[Trial]:
        """The trials that are running, or were running when a worker was stopped."""
        return [_trial(frozen) for frozen in self._frozen(self._optuna.trial.TrialState.RUNNING)]

    def begin(self) -> Trial | None:
        """A new trial, or None where no new settings were found."""
        values = self._proposed()
        if values is None:
            return None
        trial = self._optuna.trial.create_trial(
            state=self._optuna.trial.TrialState.RUNNING, params=dict(values), distributions=self._spaces
        )
        with self._writing():  # one transaction: after a kill it exists with all its values, or not at all
            self._study.add_trial(trial)
        return _trial(self._frozen()[-1])

    def report(self, trial: Trial, epoch: int, value: float) -> bool:
        """Record the figure of an epoch. Returns whether to stop the trial."""
        identity = self._identity(trial)
        with self._writing():
            self._storage.set_trial_intermediate_value(identity, epoch, value)
        return self.searched.tune.prune and self._pruner.prune(self._study, self._storage.get_trial(identity))

    def end(self, trial: Trial, state: str, validation: tuple[float, ...] = (), reason: str = "") -> Trial:
        """Record the end of a trial. From then on it counts."""
        identity, pruned = self._identity(trial), self._optuna.trial.TrialState.PRUNED
        with self._writing():
            self._storage.set_trial_user_attr(identity, "validation", list(validation))
            self._storage.set_trial_user_attr(identity, "reason", reason)
            if state == "complete":
                self._study.tell(trial.number, Spread(validation).mean)
            else:  # the sampler treats a failed trial as a stopped one and avoids its settings
                self._study.tell(trial.number, state=pruned)
        return _trial(self._storage.get_trial(identity))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn errors of the database, such as a full disk, into a message of one line."""
        try:
            yield
        except self._optuna.exceptions.StorageInternalError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            raise UserError(
                f"cannot write {self._path} ({reason}). What was saved before is untouched: make room and run the same "
                "command again"
            ) from error

    def _proposed(self) -> dict[str, Number] | None:
        done, samplers = self._frozen(), self._optuna.samplers
        tried = [_plain(frozen.params) for frozen in done]
        for draw in range(DRAWS):
            seed = derived_seed(self.searched.tune.sampler_seed, "trial", len(done), draw) % 2**32
            sampler = samplers.RandomSampler(seed=seed)
            if draw == 0:
                sampler = samplers.TPESampler(n_startup_trials=self.searched.tune.random, seed=seed)
            values = self._drawn(sampler)
            if values not in tried:  # equal settings would give an equal result
                return values
        return None

    def _drawn(self, sampler: "BaseSampler") -> dict[str, Number]:
        """The proposal of a new sampler after all trials, as ``Study.ask`` makes it for a trial that it begins."""
        study = self._optuna.load_study(study_name=STUDY, storage=_Unwritten(self._storage), sampler=sampler)
        trial = self._optuna.trial.create_trial(state=self._optuna.trial.TrialState.RUNNING)
        sampler.before_trial(study, trial)
        together = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
        alone = {
            key: sampler.sample_independent(study, trial, key, space)
            for key, space in self._spaces.items()
            if key not in together
        }
        params = {**alone, **together}
        return {key: space.tidy(params[key]) for key, space in self.searched.spaces.items()}

    def _distribution(self, space: Space) -> Any:
        distributions = self._optuna.distributions
        if isinstance(space, Choice):
            return distributions.CategoricalDistribution(space.values)
        if space.whole:
            return distributions.IntDistribution(space.low, space.high, log=space.log, step=space.step or 1)
        return distributions.FloatDistribution(space.low, space.high, log=space.log, step=space.step)

    def _identity(self, trial: Trial) -> int:
        study = self._storage.get_study_id_from_name(STUDY)
        return int(self._storage.get_trial_id_from_study_id_trial_number(study, trial.number))

    def _frozen(self, *states: "TrialState") -> "list[FrozenTrial]":
        """The trials in these states; by default all."""
        return list(self._study.get_trials(deepcopy=False, states=states or None))


class _Unwritten:
    """The storage of a search as a sampler reads it, which writes down what it draws for a trial that has begun."""

    def __init__(self, storage: Any):
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_system_attr(self, *drawn: object) -> None:
        """Nothing: the trial begins with all its settings at once."""


def _imported() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise OptionalPackageError("optuna", "tune", "the search for settings") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _trial(frozen: "FrozenTrial") -> Trial:
    reason = frozen.user_attrs.get("reason", "")
    return Trial(
        frozen.number,
        _plain(frozen.params),
        "failed" if reason else _STATES[frozen.state.name],
        tuple(frozen.user_attrs.get("validation", ())),
        dict(frozen.intermediate_values),
        reason,
    )


def _plain(params: Mapping[str, Number]) -> dict[str, Number]:
    return dict(sorted(params.items()))
