"""Methods are compared with the student alone; where one of the two is trained for less, check and result say so."""

import pytest

from tests.conftest import RECIPE

BASE = RECIPE.partition("[methods.fitnets]")[0]
NAMES = ("alone", "kd", "rkd")


def said(run):
    """The warnings of the check about budgets, by method."""
    return {one.subject: one.text for one in run.check() if "makes them equal" in one.text}


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        ((2, 2, 2), {}),
        ((20, 21, 22), {}),
        ((2, 4, 2), {"alone": "on 80 samples, and kd on 160: methods.alone.train.epochs = 4 makes"}),
        ((2, 4, 3), {"alone": "on 80 samples, and kd, rkd on up to 160: methods.alone.train.epochs = 4 makes"}),
        ((2, 4, 4), {"alone": "on 80 samples, and kd, rkd on 160: methods.alone.train.epochs = 4 makes"}),
        ((4, 2, 4), {"kd": "on 80 samples, and the student alone on 160: methods.kd.train.epochs = 4 makes"}),
        ((4, 1, 9), {"alone": "and rkd on", "kd": "and the student alone on"}),
    ],
)
def test_the_check_says_who_is_trained_for_less(make_run, epochs, expected):
    tables = "".join(
        f"[methods.{name}]\ntrain = {{ epochs = {count} }}\n" for name, count in zip(NAMES, epochs, strict=True)
    )
    found = said(make_run(text=f"{BASE}{tables}"))
    assert found.keys() == expected.keys()
    for method, text in expected.items():
        assert text in found[method]


def test_without_the_student_alone_nothing_is_compared(make_run):
    assert not said(make_run(text=f"{BASE}[methods.kd]\n[methods.rkd]\ntrain = {{ epochs = 9 }}"))


def test_the_result_says_that_a_verdict_is_no_comparison_at_equal_budget(make_run):
    notes = make_run(text=f"{BASE}[methods.alone]\n[methods.kd]\ntrain = {{ epochs = 9 }}").execute().notes
    (note,) = [note for note in notes if "equal budget" in note]
    assert note.startswith("alone: it is trained on ")
    assert note.endswith("this is no comparison at equal budget")


def test_larger_batches_are_no_larger_budget(make_run):
    assert not said(make_run(text=f"{BASE}[methods.alone]\n[methods.kd]\ntrain = {{ batch = 12 }}"))
