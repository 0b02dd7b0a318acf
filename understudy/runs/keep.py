"""The student that a run keeps, and the folders of all others."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from understudy.errors import UserError, did_you_mean
from understudy.plans.folders import TRAININGS
from understudy.runs.folder import RunFolder
from understudy.runs.records import Method, Row
from understudy.tasks import Figure

FEW = 3  # trainings that are named one by one


def kept(methods: Mapping[str, Method], figure: Figure, named: str | None = None) -> tuple[str, str]:
    """The training whose student is kept, and the reason: the best on validation, never on test.

    Of equals, a distilled one comes before the student alone, then the last method, then the smallest seed; without a
    validation part, that decides.

    Args:
        methods: the methods of the run with their trainings, in the order of the recipe.
        figure: the figure that is compared.
        named: the method that the recipe's ``keep`` names.
    """
    if named is not None:
        row = best(methods[named].trainings, figure)
        return row.training, f"the recipe keeps {named}" + _of_seeds(methods[named].trainings, figure)
    order = {name: (not method.is_baseline, place) for place, (name, method) in enumerate(methods.items())}
    firsts = {name: best(method.trainings, figure) for name, method in methods.items()}
    name = max(firsts, key=lambda name: (_quality(firsts[name], figure), order[name]))
    rows = [row for method in methods.values() for row in method.trainings]
    if figure.name not in firsts[name].validation:
        return firsts[name].training, "there is no validation part to select by" if len(rows) > 1 else ""
    if len(rows) == 1:
        return firsts[name].training, ""
    equals = [row.training for row in rows if _quality(row, figure) == _quality(firsts[name], figure)]
    return firsts[name].training, "the best on validation" + _as_good([e for e in equals if e != firsts[name].training])


def _as_good(equals: list[str]) -> str:
    """That others have the same figure, so that their order decided.

    >>> _as_good(["alone-0", "kd-0", "kd-1", "kd-2"])
    ', where alone-0, kd-0, kd-1 and 1 more are as good'
    """
    if not equals:
        return ""
    more = [f"{len(equals) - FEW} more"] if len(equals) > FEW else []
    *others, last = [*equals[:FEW], *more]
    listed = f"{', '.join(others)} and {last}" if others else last
    return f", where {listed} {'are' if others else 'is'} as good"


def best(rows: Iterable[Row], figure: Figure) -> Row:
    """The training of one method with the best figure on validation; of equal ones the smallest seed."""
    return max(rows, key=lambda row: (_quality(row, figure), -row.seed))


def student_in(path: Path, method: str | None = None, training: str | None = None) -> tuple[Path, str]:
    """The folder and the name of a student: the kept one of a run, or the requested one.

    Args:
        path: a run folder; a student's own folder or an exported file is returned as it is.
        method: a method of the run, of which the best seed on validation is taken.
        training: a training of the run, such as ``"kd-2"``.
    """
    result = RunFolder(path).result() if path.is_dir() and (path / TRAININGS).is_dir() else None
    if result is None:
        if method is not None or training is not None:
            raise UserError(f"{path} is no finished run: --method and --training choose a student of a run")
        return path, ""
    if method is not None and method not in result.methods:
        raise UserError(f"{path} has no method {method!r}{did_you_mean(method, result.methods)}")
    rows = {
        row.training: row
        for name, record in result.methods.items()
        if method in (None, name)
        for row in record.trainings
    }
    if training is not None and training not in rows:
        where = f"the method {method!r} of {path}" if method is not None else str(path)
        raise UserError(f"{where} has no training {training!r}{did_you_mean(training, rows)}")
    if training is None and method is None:
        return path, f"{result.kept}{f', {result.kept_because}' if result.kept_because else ''}"
    chosen = training or best(rows.values(), result.first).training
    return path / TRAININGS / chosen, chosen


def _quality(row: Row, figure: Figure) -> float:
    return figure.quality(row.validation.get(figure.name, math.nan))


def _of_seeds(rows: list[Row], figure: Figure) -> str:
    if len(rows) == 1:
        return ""
    return ", of its seeds the best on validation" if figure.name in rows[0].validation else ", its first seed"
