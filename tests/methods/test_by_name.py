"""``understudy distill --method NAME``: every method trains the demo's student for an epoch by nothing but its name."""

import json

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

import understudy
import understudy.report as report
from tests.methods.test_methods import OF_UNLABELLED
from understudy import recipe as recipes
from understudy import taps
from understudy.cli._app import app
from understudy.config.settings import Settings
from understudy.data.dataset import Contents
from understudy.data.sets import demo
from understudy.data.sources import InMemory
from understudy.methods import METHODS
from understudy.recipe.build import Builder
from understudy.runs import result
from understudy.tasks import Classification
from understudy.training.evaluate import answers

FEW = (
    "train.epochs=1",
    "train.batch=16",
    "data.validation=16",
    "data.student_samples=48",
    "seeds=[0]",
    "teacher.accept_weak=true",
)
QUICK = (*FEW, "settings.threads=1")
OF_SGD = {"dot", "deepkd"}  # the demo's recipe has AdamW, which they refuse
OF_TRANSFORMERS = {"patient-kd", "tinybert", "minilm"}  # the demo's networks have no attention
FITTING = (name for name, method in METHODS.items() if method.unfit(Classification()) is None)
BY_NAME = sorted({name for name in FITTING if METHODS[name].family != "own"} - OF_TRANSFORMERS - OF_UNLABELLED)


@pytest.fixture(scope="module")
def found():
    """A few of the embedded images, of every class."""
    whole = demo.read()

    def few(part):
        chosen = torch.cat([(part.targets == label).nonzero().flatten()[:16] for label in range(10)])
        return InMemory(part.samples[chosen], part.targets[chosen])

    train, test = few(whole.train), few(whole.open_test())
    return Contents(train, lambda: test, whole.classes)


@pytest.fixture
def distill(found, quick, monkeypatch, tmp_path):
    """The command; answers with the run's folder and its result."""
    monkeypatch.setattr(demo, "read", lambda: found)
    monkeypatch.setattr(result, "THROUGHPUT_BATCH", 2)
    monkeypatch.setattr(report, "write_report", lambda folder: folder)

    def run(name, *more):
        words = ["distill", "--method", name, "--out", str(tmp_path / "run"), "--json"]
        called = CliRunner().invoke(app, [*words, *(word for change in QUICK for word in ("--set", change)), *more])
        assert called.exception is None, called.exception
        assert "error" not in called.stderr
        return tmp_path / "run", json.loads(called.stdout), called.stderr

    return run


@pytest.mark.parametrize("name", BY_NAME)
def test_every_method_moves_the_student_in_an_epoch(distill, name):
    folder, measured, _ = distill(name, *(["--set", "train.optimizer={name='sgd', lr=0.05}"] if name in OF_SGD else []))
    recipe = recipes.read(folder / "recipe.toml")
    before = dict(Builder.of(recipe.data).network(recipe.student, 0, "student").named_parameters())
    after = safetensors.torch.load_file(folder / "student.safetensors")
    assert all(torch.isfinite(value).all() for value in after.values())
    kept = [key for key in before if key in after]  # a student that was grafted has some under other names
    assert kept
    assert not all(torch.equal(before[key], after[key]) for key in kept)
    assert 0 <= measured["methods"][name]["figures"]["accuracy"]["mean"] <= 1


@pytest.mark.parametrize(("name", "epochs"), [("fsp", 2), ("kd", 1)])
def test_a_method_that_takes_more_epochs_than_its_course_says_so(distill, name, epochs):
    _, measured, said = distill(name)
    assert (f"they take {epochs} epochs and the recipe gives them 1" in " ".join(said.split())) == (epochs > 1)
    assert any("no comparison at equal budget" in note for note in measured["notes"]) == (epochs > 1)


@pytest.mark.parametrize(("name", "head"), [("simkd", "linear"), ("class-distance", "linear.classifier")])
def test_a_student_with_its_teachers_classifier_leaves_alone(distill, name, head):
    folder, measured, _ = distill(name)
    recipe = recipes.read(folder / "recipe.toml")
    builder = Builder.of(recipe.data)
    student, teacher = understudy.load(folder), builder.teacher(recipe.teacher)
    classifier = taps.find(student, taps.Tap(head))
    assert torch.equal(classifier.weight, taps.find(teacher, taps.Tap("linear")).weight)
    logits, labels = answers(student, builder.data.test, Settings(device="cpu"))
    assert (
        measured["methods"][name]["figures"]["accuracy"]["mean"] == (logits.argmax(1) == labels).double().mean().item()
    )
    (stage,) = json.loads((folder / f"trainings/{name}-0/result.json").read_text())["stages"]
    assert "accuracy" in stage["validation"]
    sizes = {role: network["parameters"] for role, network in measured["networks"].items()}
    assert sizes[f"student, {name}"] == sum(p.numel() for p in student.parameters()) > sizes["student"]
