"""Which student a run leaves: the best on validation, or the recipe's word; and how the others are found."""

import pytest

from understudy import UserError
from understudy.runs import keep
from understudy.runs.records import Measures, Method, Row
from understudy.tasks import Figure

ACCURACY = Figure("accuracy", "accuracy", unit="share", chance=0.1)
LOSS = Figure("loss", "loss", better="lower")


def methods(figure=ACCURACY, **values):
    def rows(name, found):
        return [
            Row(seed=seed, training=f"{name}-{seed}", figures={}, validation={} if v is None else {figure.name: v})
            for seed, v in enumerate(found)
        ]

    return {
        name: Method.of(name, rows(name, found), taught=name != "alone", objectives={}, measures=Measures())
        for name, found in values.items()
    }


@pytest.mark.parametrize(
    ("values", "named", "expected"),
    [
        ({"alone": [0.5], "kd": [0.6, 0.7], "dkd": [0.6, 0.5]}, None, "kd-1"),
        ({"alone": [0.9], "kd": [0.6]}, None, "alone-0"),
        ({"alone": [0.6, 0.6], "kd": [0.6, 0.6]}, None, "kd-0"),
        ({"kd": [0.6], "dkd": [0.6]}, None, "dkd-0"),
        ({"kd": [float("nan"), 0.1]}, None, "kd-1"),
        ({"alone": [None], "kd": [None, None]}, None, "kd-0"),
        ({"alone": [0.9], "kd": [0.6, 0.7]}, "kd", "kd-1"),
    ],
)
def test_the_best_on_validation_is_kept(values, named, expected):
    assert keep.kept(methods(**values), ACCURACY, named)[0] == expected


def test_less_of_a_figure_may_be_better():
    assert keep.kept(methods(LOSS, kd=[0.5], dkd=[0.2], sp=[0.7]), LOSS)[0] == "dkd-0"


@pytest.mark.parametrize(
    ("values", "named", "reason"),
    [
        ({"kd": [0.6], "dkd": [0.7]}, None, "the best on validation"),
        ({"alone": [0.7], "kd": [0.6, 0.7]}, None, "the best on validation, where alone-0 is as good"),
        (
            {"alone": [0.7] * 4, "kd": [0.6, 0.7]},
            None,
            "the best on validation, where alone-0, alone-1, alone-2 and 1 more are as good",
        ),
        ({"kd": [0.6]}, None, ""),
        ({"kd": [None], "dkd": [None]}, None, "there is no validation part to select by"),
        ({"kd": [0.6, 0.2], "dkd": [0.7]}, "kd", "the recipe keeps kd, of its seeds the best on validation"),
        ({"kd": [None, None]}, "kd", "the recipe keeps kd, its first seed"),
    ],
)
def test_it_is_said_why(values, named, reason):
    assert keep.kept(methods(**values), ACCURACY, named)[1] == reason


BOTH = """
seeds = [0]
keep = "alone"
[data]
name = "folder"
root = "pictures"
size = 8
validation = 15
[student]
network = "smallnets:student"
[train]
epochs = 1
[settings]
threads = 1
[methods.alone]
[methods.smoothed]
method = "alone"
label_smoothing = 0.1
"""


def test_the_run_leaves_it_and_the_others_are_found_by_name(make_run, tmp_path):
    result, folder = make_run(text=BOTH).execute(), tmp_path / "run"
    assert (result.kept, result.foremost) == ("alone-0", "alone")
    weights = (folder / "student.safetensors").read_bytes()
    assert weights == (folder / "trainings" / "alone-0" / "student.safetensors").read_bytes()
    assert keep.student_in(folder) == (folder, "alone-0, the recipe keeps alone")
    assert keep.student_in(folder, method="smoothed") == (folder / "trainings" / "smoothed-0", "smoothed-0")
    assert keep.student_in(folder, training="alone-0") == (folder / "trainings" / "alone-0", "alone-0")
    assert keep.student_in(folder / "trainings" / "alone-0") == (folder / "trainings" / "alone-0", "")
    with pytest.raises(UserError, match=r"has no method 'smooth'; did you mean 'smoothed'"):
        keep.student_in(folder, method="smooth")
    with pytest.raises(UserError, match=r"the method 'alone' of .* has no training 'smoothed-0'"):
        keep.student_in(folder, method="alone", training="smoothed-0")
    with pytest.raises(UserError, match="is no finished run: --method and --training choose a student of a run"):
        keep.student_in(folder / "trainings" / "alone-0", method="alone")


def test_a_recipe_keeps_a_method_that_it_has(make_run):
    with pytest.raises(UserError, match=r"keep: it is no method of the recipe; did you mean 'alone'"):
        make_run('keep="alon"', text=BOTH)
