"""Assistants in ``understudy.distill``: modules or names, from one to the next, and again from the same folder."""

import pytest
import torch
from torch import nn

import understudy
from understudy import Course, Settings, UserError
from understudy.data import from_tensors
from understudy.models import build

COURSE = Course(epochs=3, batch=16)


@pytest.fixture(autouse=True)
def _quick(quick):
    pass


@pytest.fixture
def data(small):
    return from_tensors(small.pictures(60, 0), small.pictures(18, 1), validation=15)


def networks(*names: str) -> list[nn.Module]:
    torch.manual_seed(0)
    return [build(name, classes=3, channels=3, size=8) for name in names]


def run(data, teacher, student, **options):
    options = {"course": COURSE, "settings": Settings(device="cpu", threads=1), "accept_weak": True} | options
    return understudy.distill(teacher, student, data, **options)


@pytest.mark.parametrize(
    ("method", "seen"), [("takd", [1, 1, 1]), ("dgkd", [1, 2, 3]), ("several-teachers", [1, 2, 3])]
)
def test_each_is_taught_by_the_one_before_it_or_by_all(data, monkeypatch, method, seen):
    from understudy.plans import training as trainings

    asked = []
    training = trainings.Training
    monkeypatch.setattr(
        trainings,
        "Training",
        lambda student, teachers, *a, **k: asked.append((student, teachers)) or training(student, teachers, *a, **k),
    )
    teacher, own, student = networks("plain6", "plain4", "plain2")
    result = run(data, teacher, student, method=method, assistants=[own, "plain3"], course=Course(epochs=1, batch=16))
    assert [len(teachers) for _, teachers in asked] == seen
    assert [student for student, _ in asked][0::2] == [own, student]  # trained in place
    assert asked[0][1] == [teacher]
    if method != "takd":
        assert [teachers[0] for _, teachers in asked] == [teacher] * 3
    assert result.student is student


def test_the_same_call_goes_on_from_its_folder_and_trains_nothing_twice(data, tmp_path):
    def call():
        teacher, student = networks("plain6", "plain2")
        return run(data, teacher, student, method="takd", assistants=["plain4"], out=tmp_path / "run")

    first, second = call(), call()
    assert first.result == second.result
    for name, value in first.student.state_dict().items():
        assert torch.equal(value, second.student.state_dict()[name])
    assert (tmp_path / "run/trainings/takd-by-1-plain4-0/student.safetensors").exists()
    teacher, student = networks("plain6", "plain2")
    with pytest.raises(UserError, match="another recipe"):
        run(data, teacher, student, method="takd", assistants=["plain3"], out=tmp_path / "run")


def test_the_rule_of_thumb_proposes_networks_of_the_students_family(data, tmp_path):
    teacher, student = networks("plain5", "plain2")
    result = run(data, teacher, student, method="takd", out=tmp_path / "run")
    folders = {path.name for path in (tmp_path / "run/trainings").iterdir()}
    assert {"takd-0", "takd-quick-6-0", "takd-quick-4-0", "takd-quick-2-0"} <= folders
    assert folders & {"takd-by-1-plain6-0", "takd-by-1-plain4-0"}
    assert any("by the rule of thumb" in note for note in result.result.notes)


def test_a_quick_training_that_fails_takes_its_size_out_of_the_choice(data, diverging, tmp_path):
    for failed, taken in (("6", "plain4"), ("4", "plain6")):
        diverging.clear()
        diverging.add(f"takd-quick-{failed}-0")
        teacher, student = networks("plain5", "plain2")
        with pytest.warns(UserWarning, match="no longer a number"):
            run(data, teacher, student, method="takd", out=tmp_path / failed)
        assert (tmp_path / failed / f"trainings/takd-by-1-{taken}-0").is_dir()
    diverging.update(f"takd-quick-{size}-0" for size in (6, 4))
    with (
        pytest.warns(UserWarning, match="no longer a number"),
        pytest.raises(UserError, match="no assistant can be chosen"),
    ):
        run(data, *networks("plain5", "plain2"), method="takd")


def test_mistakes_are_one_clear_line(data):
    teacher, student = networks("plain6", "plain2")
    for options, words in [
        ({"method": "alone", "assistants": ["plain4"]}, "a method with a teacher"),
        ({"method": "takd", "assistants": ["plane4"]}, "no network is called 'plane4'"),
        ({"method": understudy.terms.CE(), "assistants": ["plain4"]}, "by its name"),
    ]:
        with pytest.raises(UserError, match=words):
            run(data, teacher, student, **options)
    with pytest.raises(UserError, match="and there is none"):
        run(data, None, student, method="takd", assistants=["plain4"])
    with pytest.raises(UserError, match="is of no family with sizes: name the assistants"):
        run(data, teacher, nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), method="takd")
    with pytest.raises(UserError, match="lies between"):
        run(data, networks("plain4")[0], student, method="takd")
