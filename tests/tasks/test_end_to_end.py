"""Every task from a call to a proved file that predicts: trained, printed, reported, exported, asked."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import understudy
from tests.tasks.test_tasks import CLOUDS, IMAGES, NAMES, SENTENCES, made, networks
from understudy.errors import UserError
from understudy.export.open import open_student
from understudy.measure import latencies, onnx_runtime
from understudy.shipping.predict import predict
from understudy.taps import call
from understudy.terms import KD, Labels, Outputs

RECORDED = {
    "classification": "classes",
    "soft-labels": "classes",
    "text": "classes",
    "multilabel": "labels",
    "binary": "labels",
    "regression": "values",
    "landmarks": "values",
    "tags": "words",
    "links": "entities",
    "segmentation": "mask",
    "detection": "boxes",
    "detection-3d": "boxes",
}
WORDS = {"text": SENTENCES[:3], "tags": SENTENCES[:3], "links": ["e3 next", "? third e0", "e5\tnext\t?"]}


class Deep(nn.Module):
    """A tiny network of images, or of texts, with a layer between the first and the last."""

    def __init__(self, outputs: int, tokens: int = 0, width: int = 6):
        super().__init__()
        self.first = nn.Embedding(tokens, width) if tokens else nn.Conv2d(3, width, 3, padding=1)
        self.middle = nn.Sequential(*(layer for _ in range(3) for layer in (nn.Linear(width, width), nn.ReLU())))
        self.last = nn.Linear(width, outputs)

    def forward(self, x):
        return self.last(self.middle(self.first(x).relu().mean((2, 3))))


class DeepText(Deep):
    def forward(self, input_ids, attention_mask):
        x = (self.first(input_ids) * attention_mask.unsqueeze(2)).sum(1)
        return self.last(self.middle(x))


@pytest.fixture(scope="module", params=NAMES)
def trained(request, tmp_path_factory):
    """A task's data, and the run of a call."""
    data = made(request.param)
    kind, tokens = (DeepText, data.shape[0]) if request.param == "text" else (Deep, 0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        teacher, student = (kind(data.task.outputs, tokens) for _ in range(2))
    if request.param in ("tags", "links", "segmentation", "detection", "detection-3d"):
        teacher, student = networks(data)
    terms = Labels() + (KD() if data.task.rows_per_sample else Outputs())
    out = tmp_path_factory.mktemp(request.param) / "run"
    run = understudy.distill(
        teacher, student, data, method=terms, epochs=1, accept_weak=True, out=out, callback=understudy.Callback()
    )
    return data, run


def test_the_run_is_measured_printed_and_reported_in_the_figures_of_its_task(trained):
    data, run = trained
    figures = {figure.name for figure in data.task.figures}
    result = json.loads((run.folder / "result.json").read_text())
    assert result["task"]["name"] == data.task.name
    assert set(run.figures) >= figures
    assert {figure["name"] for figure in result["task"]["figures"]} >= figures
    title = data.task.selecting.title
    assert title in str(run)
    assert title.lower() in run.report().read_text().lower()


def test_onnx_runtime_is_timed_on_the_inputs_of_the_task(trained):
    data, run = trained
    example = data.example(2, torch.device("cpu"))
    (answer,) = call(onnx_runtime(run.student, example), example)
    torch.testing.assert_close(torch.from_numpy(answer), call(run.student, example).detach(), rtol=1e-4, atol=1e-5)
    assert latencies({"student": run.student}, example, seconds=0.0)["student"].batch == 2


def test_data_of_another_task_prove_nothing(trained):
    data, run = trained
    other = made("regression" if data.task.name != "regression" else "binary")
    with pytest.raises(UserError, match=f"the student's task is '{data.task.name}'"):
        run.export("onnx", data=other, seconds=0.0)


@pytest.mark.parametrize("to", ["onnx", "torch", "int8"])
def test_the_student_is_exported_with_proof_and_predicts(trained, to, tmp_path):
    data, run = trained
    loose = {"agreement": 0.0, "loss": 100.0} if to == "int8" else None
    exported = run.export(to, tmp_path, seconds=0.0, tolerance=loose, broken=True)
    assert exported.proof.compared.figure == data.task.selecting
    assert set(exported.proof.latency_ms) == {"before", "after", "teacher"}
    if data.task.takes_words:
        assert exported.record["facts"]["inputs"] == sorted(data.example(1, torch.device("cpu")))
        asked = WORDS[data.task.name]
    elif data.task.name == "detection-3d":
        asked = [tmp_path / f"{number}.npy" for number in range(3)]
        for path, cloud in zip(asked, CLOUDS, strict=False):
            np.save(path, cloud.numpy())
    else:
        asked = [tmp_path / f"{number}.png" for number in range(3)]
        for path, image in zip(asked, IMAGES, strict=False):
            Image.fromarray((255 * image).permute(1, 2, 0).numpy().astype(np.uint8)).save(path)
    trust = [str(exported.path)]
    opened = open_student(exported.path, trust)
    assert opened.description.task == data.task
    found = predict(exported.path, asked, trust=trust)
    assert [one.problem for one in found] == [None] * 3
    assert all(one.text and RECORDED[data.task.name] in one.record for one in found)
    if data.task.takes_words:  # in another order of the names
        inputs = dict(reversed(data.task.encode(asked).items()))
        expected = run.student(**inputs)
        if to != "int8":
            torch.testing.assert_close(opened.network(**inputs), expected.detach(), rtol=1e-4, atol=1e-5)
