"""What a run's result says of answers and inner values, and the pictures beside it."""

import io

import pytest
import torch
from PIL import Image

from understudy import measure
from understudy.data.parts import Part
from understudy.data.sources import InMemory
from understudy.errors import UserError
from understudy.runs import measures, samples
from understudy.tasks import Classification
from understudy.training.callbacks import Callback
from understudy.training.evaluate import Measured, answers, measured


@pytest.fixture
def run_and_result(make_run):
    run = make_run("seeds=[0,1]", "train.epochs=2", "methods.fitnets.hint_epochs=1")
    return run, run.execute()


def test_a_result_holds_what_the_measures_say_of_the_kept_student(run_and_result, tmp_path):
    run, result = run_and_result
    part, settings = run.builder.data.test, run.recipe.settings
    seed = int(result.kept.rpartition("-")[2])
    logits, labels = answers(run.trained(f"fitnets-{seed}"), part, settings)
    taught, _ = answers(run.teachers(seed)["teacher"], part, settings)
    row = next(row for row in result.methods["fitnets"].trainings if row.training == result.kept)
    assert row.figures["calibration_error"] == pytest.approx(measure.calibration(logits, labels).error)
    assert row.figures["divergence"] == pytest.approx(measure.agreement(logits, taught).kl)
    assert "top5" not in row.figures  # of three classes
    wrong = measure.errors(logits, taught, labels, part.ids)
    assert (result.errors.student.count, result.errors.student.ids) == (len(wrong.student), list(wrong.student))
    assert result.errors.both == wrong.both
    pooled = result.methods["fitnets"].measures
    assert sum(bin.count for bin in pooled.calibration) == 2 * len(labels)
    assert sum(bin.count for bin in pooled.agreement) == 2 * len(labels)
    each = result.methods["fitnets"].figures["accuracy"].mean
    assert sum(pooled.options) / 3 == pytest.approx(each)  # classes are of one size here
    assert result.teacher.softness.temperature == 3  # the method's own
    alike = result.similarity
    assert "conv" in alike.teacher
    assert "conv1" in alike.student
    assert alike.tapped == {"fitnets": [("conv", "conv1")]}
    assert len(alike.methods["fitnets"]) == len(alike.teacher)
    for told in result.samples:
        assert told.student != told.teacher
        with Image.open(tmp_path / "run" / told.file) as picture:
            assert picture.size == (8, 8)


def test_without_a_teacher_there_is_nothing_beside_it(make_run, workplace):
    text = (workplace / "recipe.toml").read_text().split("[teacher]")[0]
    text += '[student]\nnetwork = "smallnets:student"\n[train]\nepochs = 1\n[settings]\nthreads = 1\n[methods.alone]\n'
    result = make_run(text=text).execute()
    assert result.teacher is None
    assert (result.errors, result.samples, result.similarity) == (None, [], None)
    assert result.methods["alone"].measures.agreement == []
    assert result.methods["alone"].figures["calibration_error"].values


def test_a_given_teacher_is_asked_once_for_all_seeds(make_run, monkeypatch):
    from understudy.runs import networks as measuring

    run = make_run("seeds=[0,1,2]", "train.epochs=2", "methods.fitnets.hint_epochs=1")
    asked = []
    monkeypatch.setattr(measuring, "measured", lambda *args: asked.append(args[0]) or measured(*args))
    run.execute()
    assert len(asked) == 1 + 3 + 1  # the teacher, the students, and the kept one again


@pytest.mark.parametrize(
    ("labels", "student", "teacher", "kinds"),
    [
        ([0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 2, 0], {"student": [0], "teacher": [1], "both": [2]}),
        ([0, 0, 0], [0, 0, 0], [0, 0, 0], {"student": [], "teacher": [], "both": []}),
    ],
)
def test_the_surest_disagreements_come_first(labels, student, teacher, kinds):
    task = Classification(("a", "b", "c"))
    sure = torch.arange(1, len(labels) + 1).unsqueeze(1)
    ours, theirs = ({"logits": torch.eye(3)[torch.tensor(choices)] * sure} for choices in (student, teacher))
    found = task.differing(ours, theirs, torch.tensor(labels))
    assert [(one.kind, one.place) for one in found] == [(kind, place) for kind in kinds for place in kinds[kind]]
    many, scale = torch.zeros(100, dtype=torch.long), torch.linspace(0.1, 1, 100).unsqueeze(1)
    found = task.differing({"logits": scale * torch.eye(3)[many + 1]}, {"logits": scale * torch.eye(3)[many]}, many)
    assert [one.place for one in found] == list(range(99, 83, -1))


def test_pictures_are_small_and_what_is_no_picture_has_none(tmp_path):
    picture = Image.open(io.BytesIO(samples.as_png(torch.rand(3, 300, 200))))
    assert (picture.size, picture.mode) == ((64, 96), "RGB")
    dark = Image.open(io.BytesIO(samples.as_png(torch.tensor([[[-2.0, 0.0], [1.0, 2.0]]]))))
    assert dark.getextrema() == (0, 255)
    assert samples.as_png(torch.rand(7)) is None
    part = Part(InMemory(torch.rand(4, 7), torch.tensor([0, 1, 0, 1])), torch.arange(4))
    ours, theirs = (Measured({}, {"logits": by * torch.eye(2).repeat(2, 1)}, part.targets, 1.0) for by in (1, -1))
    assert samples.disagreements(tmp_path, part, ours, theirs, Classification(("a", "b"))) == []
    assert not list(tmp_path.iterdir())


def test_the_temperature_is_the_highest_of_the_methods(make_run):
    tables = make_run().recipe.methods
    assert measures.temperature(tables) == 3
    assert measures.temperature({}) == 1


def test_latencies_by_onnx_runtime_are_measured_where_they_are_asked_for(make_run, monkeypatch):
    from understudy.runs import result as results

    plain = make_run("train.epochs=2", "methods.fitnets.hint_epochs=1").execute()
    assert plain.networks["student"].onnx_latency_ms is None
    monkeypatch.setattr(results, "onnx_runtime", lambda network, example: lambda inputs: inputs.sum())
    run = make_run("train.epochs=2", "methods.fitnets.hint_epochs=1", onnx=True)
    (run.folder.path / "result.json").unlink()
    for network in run.execute().networks.values():
        assert (network.onnx_latency_ms.batch, network.onnx_throughput_ms.batch) == (1, 45)


def test_a_network_that_cannot_be_exported_costs_no_result(make_run, monkeypatch):
    from understudy.runs import result as results

    class Noting(Callback):
        def note(self, text):
            noted.append(text)

    def refuses(network, example):
        raise UserError("Student cannot be exported to ONNX: no such operator")

    noted = []
    monkeypatch.setattr(results, "onnx_runtime", refuses)
    run = make_run("train.epochs=2", "methods.fitnets.hint_epochs=1", onnx=True, callback=Noting())
    assert run.execute().networks["student"].onnx_latency_ms is None
    assert len(noted) == 2


def test_a_student_that_cannot_be_looked_into_is_left_out_of_the_maps(make_run, small):
    run = make_run()
    teacher, student = small.networks()
    stages = {name: run.stages("fitnets", student, [teacher]) for name in ("whole", "headless")}
    students = {"whole": student, "headless": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))}
    part = run.builder.data.test
    found = measures.of_inner_values(teacher, students, stages, part, run.recipe.settings)
    assert list(found.methods) == list(found.tapped) == ["whole"]
    assert (
        measures.of_inner_values(teacher, {"headless": students["headless"]}, stages, part, run.recipe.settings) is None
    )
