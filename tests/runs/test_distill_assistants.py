"""Assistants in ``understudy.distill``: modules or names, from one to the next, and again from the same folder."""

import json

import pytest
import torch
from torch import nn

import understudy
from understudy import Course, Settings, UserError, distilling
from understudy.data import from_tensors
from understudy.errors import FailedTrainingError
from understudy.models import build

COURSE = Course(epochs=3, batch=16)


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
    from understudy import distilling

    asked = []
    training = distilling.Training
    monkeypatch.setattr(
        distilling,
        "Training",
        lambda student, teachers, *a, **k: asked.append((student, teachers)) or training(student, teachers, *a, **k),
    )
    teacher, own, student = networks("plain6", "plain4", "plain2")
    result = run(data, teacher, student, method=method, assistants=[own, "plain3"], course=Course(epochs=1, batch=16))
    assert [len(teachers) for _, teachers in asked] == seen
    assert [told["network"] for told in result.assistants] == ["PlainNet", "plain3"]
    assert asked[0][0] is own
    assert asked[2][1][-1] is asked[1][0]
    if method == "takd":
        assert [teachers for _, teachers in asked[:2]] == [[teacher], [own]]
    assert result.student is student


def test_the_same_call_goes_on_from_its_folder_and_trains_nothing_twice(data, tmp_path):
    def call():
        teacher, student = networks("plain6", "plain2")
        return run(data, teacher, student, method="takd", assistants=["plain4"], out=tmp_path / "run")

    first, second = call(), call()
    assert first.accuracy == second.accuracy
    assert first.assistants == second.assistants
    for name, value in first.student.state_dict().items():
        assert torch.equal(value, second.student.state_dict()[name])
    assert (tmp_path / "run" / "assistants" / "1-plain4" / "student.safetensors").exists()
    assert json.loads((tmp_path / "run" / "result.json").read_text())["assistants"] == first.assistants
    teacher, student = networks("plain6", "plain2")
    with pytest.raises(UserError, match="another recipe"):
        run(data, teacher, student, method="takd", assistants=["plain3"], out=tmp_path / "run")


def test_the_rule_of_thumb_proposes_networks_of_the_students_family(data, tmp_path):
    teacher, student = networks("plain5", "plain2")
    result = run(data, teacher, student, method="takd", out=tmp_path / "run")
    folders = sorted(path.name for path in (tmp_path / "run" / "assistants").iterdir())
    (told,) = result.assistants
    assert folders == sorted(
        [f"1-{told['network']}", *(f"quick-{size}" for size in ("teacher", "plain6", "plain4", "student"))]
    )
    assert told["network"] in ("plain6", "plain4")


def test_a_quick_training_that_fails_takes_its_size_out_of_the_choice(data, monkeypatch):
    def trained(teachers, student, work, method, own, course, out, assistants):
        if method == "alone" and sum(p.numel() for p in student.parameters()) in failing:
            raise FailedTrainingError("student: the loss is no longer a number", training="student", reason="diverged")
        return original(teachers, student, work, method, own, course, out, assistants)

    original = distilling._trained
    monkeypatch.setattr(distilling, "_trained", trained)
    sizes = {name: sum(p.numel() for p in networks(name)[0].parameters()) for name in ("plain6", "plain4")}
    for failed, taken in (("plain6", "plain4"), ("plain4", "plain6")):
        failing = {sizes[failed]}
        teacher, student = networks("plain5", "plain2")
        assert run(data, teacher, student, method="takd").assistants[0]["network"] == taken
    failing = set(sizes.values())
    with pytest.raises(UserError, match=r"no assistant can be chosen .* assistants=\['plain6'\]"):
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
    with pytest.raises(UserError, match="no family that is known here"):
        run(data, teacher, nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), method="takd")
    with pytest.raises(UserError, match="lies between"):
        run(data, networks("plain4")[0], student, method="takd")
