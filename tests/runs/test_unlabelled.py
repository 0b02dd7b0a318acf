"""Runs with samples without labels: who learns from them, for how long, and how they are named."""

import json
import shutil
import tomllib

import pytest
import torch
from torch import nn

import understudy
from tests.conftest import RECIPE
from understudy import TrainConfig, recipe
from understudy.data import from_tensors
from understudy.data.unlabelled import with_unlabelled
from understudy.errors import UserError
from understudy.recipe.schema import DataTable
from understudy.report.text import as_markdown
from understudy.runs import Run
from understudy.runs.compile import compiled
from understudy.training.loop import Training

X, Y = torch.rand(48, 6, generator=torch.Generator().manual_seed(0)), torch.arange(48) % 3
MORE = torch.rand(32, 6, generator=torch.Generator().manual_seed(1))
CONFIG = TrainConfig(epochs=2, batch=8)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def distilled(unlabelled, **given):
    options = {"method": "kd", "config": CONFIG, "baseline": True, "accept_weak": True, "progress": False, **given}
    return understudy.distill(network(1), network(), (X, Y), unlabelled=unlabelled, **options)


def test_a_student_with_a_teacher_sees_them_and_the_student_alone_trains_for_as_many_steps(tmp_path):
    run = distilled(MORE, out=tmp_path / "run")
    assert (run.result.data.train, run.result.data.unlabelled) == (43, 32)
    steps = [run._run.record(name).steps for name in ("kd-0", "alone-0")]
    assert steps == [2 * (75 // 8), 4 * (43 // 8)]
    page = run.report().read_text()
    assert "train, without labels" in page
    assert "43 trained and 32 without labels, 5 selected" in as_markdown(tmp_path / "run")
    plain = distilled(None, out=tmp_path / "plain")
    assert plain.result.data.unlabelled == 0
    assert "without labels" not in plain.report().read_text() + as_markdown(tmp_path / "plain")


def test_the_student_alone_is_the_same_without_them():
    config = TrainConfig(epochs=4, batch=8)
    alone = [
        run._run.trained("alone-0").state_dict()
        for run in (distilled(MORE), understudy.distill(None, network(), (X, Y), method="alone", config=config))
    ]
    for name, value in alone[0].items():
        assert torch.equal(value, alone[1][name])


def test_trainings_are_reused_where_these_samples_are_the_same(tmp_path, monkeypatch):
    trained, run = [], Training.run
    monkeypatch.setattr(Training, "run", lambda self: trained.append(self.name) or run(self))
    first, again, _ = (
        distilled(more, out=tmp_path / name, cache=tmp_path / "cache")
        for name, more in (("one", MORE), ("two", MORE.clone()), ("three", MORE + 1))
    )
    assert trained == ["alone-0", "kd-0", "kd-0"]
    assert torch.equal(first.student[0].weight, again.student[0].weight)


def test_workers_train_the_same_student():
    runs = [distilled(MORE, workers=workers, seeds=2) for workers in (1, 2)]
    for one, other in zip(*(run.student.state_dict().values() for run in runs), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"method": "alone", "baseline": False},
            "no method has a teacher, so nothing is learned from samples",
        ),
        ({"unlabelled": torch.rand(4, 5)}, r"an input is \(5,\) of float32, and of the samples with labels \(6,\)"),
        ({"unlabelled": "nowhere"}, r"the inputs of tensors are no images and no texts: give an \.npy file"),
        ({"method": "crd-batch"}, "some samples have no label, and term 'crdbatch' reads the label of each sample"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_trains(given, said):
    with pytest.raises(UserError, match=said):
        distilled(**{"unlabelled": MORE, **given})


def test_samples_of_the_measured_parts_among_them_are_named():
    data = from_tensors((X, Y), (MORE, Y[:32]), validation=8)
    given = {"method": "kd", "config": CONFIG, "accept_weak": True, "progress": False}
    with pytest.warns(UserWarning, match="8 of the 8 samples of the validation part are among them: take them out"):
        understudy.distill(network(1), network(), data, unlabelled=X, **given)
    run = understudy.distill(network(1), network(), data, unlabelled=MORE[:5], **given)
    assert run.result.notes[0].startswith("5 of the 32 samples that are measured on are among the training samples")
    apart = understudy.distill(network(1), network(), data, unlabelled=MORE + 1, **given)
    assert not any("training samples" in note for note in apart.result.notes)


def test_pseudo_labels_without_such_samples():
    with pytest.raises(UserError, match="all samples have one: give such samples"):
        distilled(None, method="pseudo-labels")


def test_data_that_have_such_samples_already():
    with pytest.raises(UserError, match="give these as unlabelled= beside the others"):
        understudy.distill(network(), network(), with_unlabelled(from_tensors((X, Y)), MORE))


def test_only_trainings_with_a_teacher_have_them_in_a_plan():
    text = """
    data = { name = "demo", unlabelled = true, student_samples = 500 }
    teacher = { network = "resnet8", train = { epochs = 1 } }
    student = { network = "resnet8" }
    methods = { alone = {}, kd = {}, takd = { assistants = [{ network = "resnet14" }] } }
    """
    plan = compiled(recipe.parse(text, "text"))
    with_them = {node.name for node in plan if node.data.unlabelled}
    assert with_them == {"kd-0", "takd-by-1-resnet14-0", "takd-0"}
    assert {node.data.student_samples for node in plan if node.name != "teacher-0"} == {500}


def test_the_rest_needs_a_number_of_samples_with_labels():
    with pytest.raises(ValueError, match="'student_samples' leaves out: give it, too"):
        DataTable(name="demo", unlabelled=True)


@pytest.fixture
def photos(make_run, workplace, tmp_path):
    """The photos of the workplace without their classes."""
    for number, file in enumerate(sorted((workplace / "pictures/test").rglob("*.png"))[:18]):
        (tmp_path / "loose").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "loose" / f"{number}.png")
    return tmp_path / "loose"


def test_a_recipe_names_a_folder(make_run, photos, tmp_path):
    run = make_run(f"data.unlabelled={json.dumps(str(photos))}")
    findings = {finding.subject: finding for finding in run.check()}
    assert "see 18 samples without labels beside" in findings["unlabelled"].text
    assert run.execute().data.unlabelled == 18
    written = tomllib.loads((tmp_path / "run/recipe.toml").read_text())
    assert written["data"]["unlabelled"] == str(photos)


def test_the_check_says_that_the_student_alone_trains_for_less(make_run, photos):
    run = make_run(f"data.unlabelled={json.dumps(str(photos))}", "methods={alone={},kd={}}")
    (said,) = [finding for finding in run.check() if finding.level == "warning" and finding.subject == "alone"]
    assert "makes them equal" in said.text
    assert "methods.alone.train.epochs = " in said.text


def test_a_function_of_a_module_gives_inputs(make_run, workplace, tmp_path, monkeypatch):
    (workplace / "moreinputs.py").write_text(
        "import torch\n\n\ndef make():\n    return torch.zeros(7, 3, 8, 8, dtype=torch.uint8)\n"
    )
    monkeypatch.syspath_prepend(workplace)
    change = 'data.unlabelled="moreinputs:make"'
    with pytest.raises(UserError, match="moreinputs"):
        list(make_run(change).check())
    read = recipe.parse(RECIPE, "recipe.toml", [change])
    assert Run(read, tmp_path / "run", trusted=["smallnets", "moreinputs"]).execute().data.unlabelled == 7
