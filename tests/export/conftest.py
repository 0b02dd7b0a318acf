"""A small trained student, exported once in every format that the tests have; and a format that costs nothing."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import understudy
from tests.conftest import make_data
from understudy import export
from understudy.models import build

CLASSES = ("0", "1", "2")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with a student that is almost always right, the run of a call."""
    folder = tmp_path_factory.mktemp("student")
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = build("resnet8", widths=(4, 4, 4), classes=3)
    config = understudy.TrainConfig(epochs=20, batch=12, optimizer=understudy.optimizers.AdamW(lr=0.02))
    understudy.distill(None, student, make_data(), method="alone", config=config, out=folder)
    return folder


@pytest.fixture(scope="session")
def shipped(trained, tmp_path_factory):
    """The same folder, with every file that it exports to, and what was said of each."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("shipped") / "student")
    exported = {
        name: export.export(folder, name, data=make_data(), teacher=build("resnet8", classes=3), seconds=0.0)
        for name in ("onnx", "torch", "int8")
    }
    return SimpleNamespace(folder=folder, exported=exported)


@pytest.fixture
def folder(trained, tmp_path):
    """A copy to be changed."""
    return shutil.copytree(trained, tmp_path / "student")


class Off(nn.Module):
    """Answers as a student does, but for an error."""

    def __init__(self, student, error):
        super().__init__()
        self.student, self.error = student, error

    def forward(self, images):
        return self.student(images) + self.error


@pytest.fixture
def plain_format(monkeypatch):
    """A format ``plain`` that costs nothing to write, and whose answers are off by ``error`` when it is opened."""

    def make(error=0.0):
        kept = {}

        def write(material, path):
            kept["student"], kept["description"] = material.network, material.description
            path.write_text("a student")
            return {"made": "up"}

        def read(path):
            assert path.read_text() == "a student"
            return export.Opened(Off(kept["student"], torch.as_tensor(error)), kept["description"])

        chosen = export.Format("plain", ".plain", "for tests", write, read, export.Tolerance())
        monkeypatch.setitem(export.FORMATS, "plain", chosen)

    return make
