"""What is looked at and measured before a run is what the run will train: with the same teachers, assistants too."""

from dataclasses import replace

import pytest
import torch

from tests.conftest import RECIPE
from understudy import recipe as recipes
from understudy.bench import steps
from understudy.cli import bench
from understudy.runs.path import PathRun
from understudy.taps import inner
from understudy.training import preflight

BASE = RECIPE.partition("[methods.fitnets]")[0]
ASSISTANTS = """
assistants = [
    { network = "smallnets:student", settings = { width = 8 } },
    { network = "smallnets:student", settings = { width = 6 } },
]
"""
GIVEN, LARGER, SMALLER = ("Teacher", True), (8, False), (6, False)  # who is there already, and who will have learned


def kind(network, stand_ins):
    own = inner(network)
    return (own.conv1.out_channels if hasattr(own, "conv1") else type(own).__name__, stand_ins.has_learned(network))


def kinds(networks, stand_ins):
    return [kind(network, stand_ins) for network in networks]


@pytest.mark.parametrize(
    ("method", "teachers"),
    [
        ("takd", [[GIVEN], [LARGER], [SMALLER]]),
        ("dgkd", [[GIVEN], [GIVEN, LARGER], [GIVEN, LARGER, SMALLER]]),
        ("several-teachers", [[GIVEN], [GIVEN, LARGER], [GIVEN, LARGER, SMALLER]]),
    ],
)
def test_everybody_is_rehearsed_with_the_teachers_of_the_run(make_run, monkeypatch, method, teachers):
    run = make_run(text=f"{BASE}[methods.{method}]{ASSISTANTS}")
    preview = run.preview()
    rehearsed = [preview.training(node) for node in run.plan]
    assert [kinds(one.teachers, one.stand_ins) for one in rehearsed] == teachers
    checked, timed = [], []
    check_stage = preflight.check_stage

    def check(stage, student, teachers, *args, **kwargs):
        checked.append(kinds(teachers, kwargs["stand_ins"]))
        return check_stage(stage, student, teachers, *args, **kwargs)

    monkeypatch.setattr(preflight, "check_stage", check)
    monkeypatch.setattr(
        steps, "step_cost", lambda training, *_, **__: timed.append(kinds(training.teachers, training.stand_ins))
    )
    assert {finding.level for finding in run.check()} == {"ok"}
    list(bench._costs(run, method, None, 0.0))
    assert checked == teachers
    assert timed == [teachers[-1]]


def test_the_check_says_of_each_assistants_training_too_how_long_it_takes(make_run):
    run = make_run(text=f"{BASE}[methods.takd]{ASSISTANTS}[methods.alone]")
    told = [finding.subject.split(", stage")[0] for finding in run.check() if "roughly" in finding.text]
    assert told == ["takd, assistant smallnets:student"] * 2 + ["takd", "alone", "all"]


def test_the_check_says_how_long_all_takes_on_every_seed_its_teacher_included(make_run):
    text = BASE.replace('weights = "teacher.safetensors"', "train = { epochs = 2 }").replace(
        "seeds = [0]", "seeds = [0, 1]"
    )
    findings = list(make_run(text=f"{text}[methods.kd]").check())
    *stages, whole = [finding for finding in findings if "roughly" in finding.text]
    assert [finding.subject for finding in stages] == ["teacher, stage 'labels'", "kd, stage 'soft targets'"]
    assert whole.text.startswith("4 trainings, roughly")
    assert whole.seconds == pytest.approx(2 * sum(finding.seconds for finding in stages))


def test_of_assistants_that_are_yet_to_be_chosen_no_whole_is_told(make_run):
    run = make_run(
        text='seeds = [0, 1]\ndata = { name = "demo" }\nteacher = { network = "plain4", train = { epochs = 1 } }\n'
        'student = { network = "plain2" }\n[methods.takd]\nassistants = "auto"\n'
    )
    assert "all" not in {finding.subject for finding in run.check()}


def test_a_mistake_in_how_an_assistant_learns_is_found_by_the_check(make_run):
    learns = 'learns = { method = "fitnets", pair = "conv -> nowhere" }'
    assistants = f'assistants = [{{ network = "smallnets:student", {learns} }}]'
    wrong = [
        finding for finding in make_run(text=f"{BASE}[methods.takd]\n{assistants}").check() if finding.level != "ok"
    ]
    assert wrong
    assert all(finding.subject.startswith("takd, assistant") for finding in wrong)
    assert "nowhere" in wrong[0].text


def test_the_disk_that_stored_answers_take_is_that_of_all_teachers(make_run, monkeypatch):
    sizes = {}
    forecast = preflight.stage.forecast

    def foreseen(stored, trained, answers, *args):
        sizes.setdefault(len(answers), []).append(forecast(stored, trained, answers, *args).size)
        return forecast(stored, trained, answers, *args)

    monkeypatch.setattr(preflight.stage, "forecast", foreseen)
    assert {f.level for f in make_run("answers.views=2", text=f"{BASE}[methods.dgkd]{ASSISTANTS}").check()} == {"ok"}
    (one,), (two,), (three,) = sizes[1], sizes[2], sizes[3]
    assert three - two == two - one > 0


def test_an_ensemble_with_weights_for_teacher_and_assistants_is_checked_and_runs(make_run):
    text = f"{BASE}[methods.several-teachers]{ASSISTANTS}weights = [3, 2, 1]\n"
    run = make_run("train.epochs=1", "teacher.accept_weak=true", text=text)
    assert {finding.level for finding in run.check()} == {"ok"}
    assert run.execute().methods["several-teachers"]
    assert [node.settings.get("weights") for node in run.plan] == [None, None, [3, 2, 1]]


def test_a_method_that_wants_a_teacher_by_a_setting_alone_has_it_in_the_check_and_in_the_run(make_run):
    run = make_run("train.epochs=1", text=f'{BASE}[methods.dml]\narchitecture = "teacher"\n')
    assert {finding.level for finding in run.check()} == {"ok"}
    assert run.execute().methods["dml"].taught is True
    assert make_run(text=f"{BASE}[methods.dml]\n").plan["dml-0"].teachers == ()


def test_who_is_decided_later_is_rehearsed_with_the_recipes_teacher(make_run, tmp_path):
    family = BASE.replace('"smallnets:student"', '"plain2"')
    undecided = make_run(text=f"{family}[methods.takd]")
    student = undecided.preview().student("takd")
    assert kinds(student.teachers, student.stand_ins) == [GIVEN]
    search = f"{BASE}[path]\nsizes = [4, 6]\nby = 'width'\n[methods.takd]{ASSISTANTS}"
    path = PathRun(recipes.parse(search), tmp_path / "path", trusted=["smallnets"])
    student = path.preview().student("takd")
    assert kinds(student.teachers, student.stand_ins) == [GIVEN]


@pytest.mark.parametrize(("named", "given"), [(2, None), (None, 2)])
def test_the_check_has_the_threads_of_a_training_by_which_its_estimates_are_made(make_run, monkeypatch, named, given):
    torch.set_num_threads(3)
    run = make_run(text=f"{BASE}[methods.kd]", threads=given)
    run.recipe = run.recipe.model_copy(update={"settings": replace(run.recipe.settings, threads=named)})
    seen, check_stage = [], preflight.check_stage

    def check(*args, **kwargs):
        seen.append(torch.get_num_threads())
        return check_stage(*args, **kwargs)

    monkeypatch.setattr(preflight, "check_stage", check)
    list(run.check())
    assert seen == [2]
    assert torch.get_num_threads() == 3
