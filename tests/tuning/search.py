"""What the tests of searches share: a small recipe and its space, and what two equal searches have in common."""

import sqlite3

from understudy.tasks import Figure

COUNT = 5
SPACE = ["methods.kd.temperature=1..20", "train.optimizer.lr=1e-6..0.2 log"]
SMALL = ["train.epochs=3", "tune.random=2", "tune.grace=1"]
KD = "[methods.alone]\n[methods.kd]\n"
ACCURACY = Figure("accuracy", "accuracy", unit="share")


def text(recipe="", methods=KD):
    from tests.conftest import RECIPE

    return RECIPE.split("[methods.fitnets]")[0] + recipe + methods


def students(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("student.safetensors")}


def curves(folder):
    with sqlite3.connect(folder / "trials.sqlite") as base:
        found = base.execute("select trial_id, step, intermediate_value from trial_intermediate_values").fetchall()
    base.close()
    return sorted(found)


def same(folder, outcome, unbroken):
    """Trials, curves, students and the recipe of the best: all of it, byte by byte where it is bytes."""
    path, expected = unbroken
    return (
        outcome.trials == expected.trials
        and outcome.best == expected.best
        and outcome.figures == expected.figures
        and curves(folder) == curves(path)
        and students(folder) == students(path)
        and (folder / "tuned.toml").read_bytes() == (path / "tuned.toml").read_bytes()
        and not list(folder.rglob("*.checkpoint"))
    )
