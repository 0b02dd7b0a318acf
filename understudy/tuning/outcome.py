"""The outcome of a search: the best settings by validation, their figures on the test part, and their recipe."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from understudy import recipe as recipes
from understudy.data.parts import Part
from understudy.errors import UserError
from understudy.files import remove_leftovers, write_atomically
from understudy.measure.machine import command, machine, versions
from understudy.plans.engines.ray import Ray
from understudy.recipe import Searched
from understudy.recipe.space import Number
from understudy.runs.records import BestTrial, DataRecord, SearchRecord, TaskRecord, TestFigure, TrialRecord, Values
from understudy.tasks import Figure
from understudy.training.evaluate import figures
from understudy.tuning.trials import Trial, best
from understudy.tuning.tune import DATABASE, Tuning

OUTCOME, TUNED = "tune.json", "tuned.toml"
BY_VALIDATION = "best by validation, on test"
OPTIMISTIC = "best of all on test (optimistic, as the paper reports)"


def execute(
    tuning: Tuning, count: int, *, also_optimistic: bool = False, workers: int = 1, engine: Ray | None = None
) -> SearchRecord:
    """Search, choose by validation, and then measure the choice on the test part."""
    path = tuning.folder.path / OUTCOME
    with tuning.folder.locked():
        remove_leftovers(tuning.folder.path)
        trials = tuning.search(count, workers, engine)
        before = SearchRecord.read(path, way_out=f"remove {path}") if path.exists() else None
        if before is not None:
            _check_same(tuning, trials, before)
        told = before is not None and _tells(before, trials, also_optimistic)
        outcome = before if before is not None and told else _outcome(tuning, trials, before, also_optimistic)
        tuned = tuning.folder.path / TUNED
        if not told or not tuned.exists():
            write_atomically(tuned, recipes.write(tuning.tuned(chosen_of(trials, tuning.figure))).encode())
        if not told:
            write_atomically(path, outcome.text().encode())
    return outcome


def _check_same(tuning: Tuning, trials: Sequence[Trial], before: SearchRecord) -> None:
    """Check that finished trials are those of the database. Only a damaged database has others."""
    for known, trial in zip(before.trials, trials, strict=False):
        if known != _record(trial):
            database = tuning.folder.path / DATABASE
            raise UserError(
                f"{database} is damaged: trial {trial.number} is not as {OUTCOME} has it. Choose another --out, or "
                f"remove {database} with {tuning.folder.path / 'trials'} to search anew"
            )


def chosen_of(trials: Sequence[Trial], figure: Figure) -> Trial:
    chosen = best(trials, figure)
    if chosen is None:
        reasons = dict.fromkeys(trial.reason for trial in trials if trial.reason)
        raise UserError("no trial was completed: " + ("; ".join(reasons) or "give more of them"))
    return chosen


def lines_to_paste(searched: Searched, values: Mapping[str, Number]) -> str:
    """The settings as lines of the recipe, under their tables."""
    raw, tables = searched.written(values), dict[tuple[str, ...], list[str]]()
    for key in values:
        parts = key.split(".")
        depth = 2 if parts[0] == "methods" else 1
        table: Any = raw
        for part in parts[:depth]:
            table = table[part]
        line = f"{parts[depth]} = {_inline(table[parts[depth]])}"
        lines = tables.setdefault(tuple(parts[:depth]), [])
        if line not in lines:
            lines.append(line)
    return "\n\n".join("\n".join([f"[{'.'.join(table)}]", *lines]) for table, lines in tables.items())


def _tells(outcome: SearchRecord, trials: Sequence[Trial], also_optimistic: bool) -> bool:
    """Whether this outcome is that of these trials."""
    return len(outcome.trials) == len(trials) and (OPTIMISTIC in outcome.figures or not also_optimistic)


def _outcome(
    tuning: Tuning, trials: Sequence[Trial], before: SearchRecord | None, also_optimistic: bool
) -> SearchRecord:
    searched, chosen, data = tuning.searched, chosen_of(trials, tuning.figure), tuning.trainer.data
    measured: dict[str, TestFigure] = {}
    if (test := data.test) is not None:  # the search is over
        measured[BY_VALIDATION] = TestFigure(trial=chosen.number, values=_values(tuning, chosen, test))
        if also_optimistic:
            measured[OPTIMISTIC] = _highest_on_test(tuning, trials, test)
    looks = [*(before.test_read_after_trials if before else []), *([len(trials)] if test is not None else [])]
    return SearchRecord(
        title=searched.recipe.title,
        command=command(),
        versions=versions(),
        machine=machine(),
        method=searched.method,
        seeds=list(searched.seeds),
        task=TaskRecord.of(data.task),
        data=DataRecord(
            name=searched.recipe.data.name,
            train=tuning.trainer.training_samples,
            validation=len(data.validation) if data.validation else 0,
            measured=len(test) if test is not None else 0,
        ),
        search=dict(searched.tune.search),
        sampler_seed=searched.tune.sampler_seed,
        best=BestTrial(
            trial=chosen.number,
            settings=dict(chosen.values),
            validation=Values(values=list(chosen.validation)),
            lines=lines_to_paste(searched, chosen.values),
        ),
        figures=measured,
        test_read_after_trials=list(dict.fromkeys(looks)),
        trials=[_record(trial) for trial in trials],
    )


def _record(trial: Trial) -> TrialRecord:
    return TrialRecord(
        trial=trial.number,
        state=trial.state,  # type: ignore[arg-type]  # a word in the database, checked by the record
        settings=dict(trial.values),
        validation=Values(values=list(trial.validation)) if trial.validation else None,
        epochs=len(trial.curve or {}),  # with a validation figure, on the first seed
        reason=trial.reason,
    )


def _highest_on_test(tuning: Tuning, trials: Sequence[Trial], test: Part) -> TestFigure:
    """The trial that is best on the test part, which is an optimistic choice and shown only as such."""
    complete = [trial for trial in trials if trial.state == "complete"]
    measured = {trial.number: _values(tuning, trial, test) for trial in complete}
    number = max(measured, key=lambda number: (tuning.figure.quality(measured[number].mean), -number))
    return TestFigure(trial=number, values=measured[number], of=len(measured))


def _values(tuning: Tuning, trial: Trial, part: Part) -> Values:
    recipe, settings = tuning.recipe_of(trial), tuning.searched.recipe.settings
    task = tuning.trainer.data.task
    with settings.in_force():
        students = tuning.trainer.students(recipe, tuning.trial_folder(trial))
        return Values(values=[figures(student, part, task, settings)[task.selecting.name] for student in students])


def _inline(value: Any) -> str:
    """A value in TOML, on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return key if key.replace("-", "").replace("_", "").isalnum() else json.dumps(key, ensure_ascii=False)
