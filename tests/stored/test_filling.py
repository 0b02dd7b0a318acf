"""Filling a store without training; reading it without this package."""

import json

import numpy as np
import pytest
import torch

from tests.conftest import Stopper
from tests.docs.pages import ROOT, blocks
from tests.stored.conftest import CONFIG, FITNETS, equal, files
from understudy.answers.column import Value
from understudy.answers.encoding import read_form
from understudy.answers.file import Shelf
from understudy.config.settings import Settings
from understudy.errors import UserError
from understudy.files import DIGEST
from understudy.methods import find
from understudy.training.filling import fill
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.loop import Training


@pytest.fixture
def training(small):
    """A training by FitNets that was not begun."""

    def make(stored, callback=None, stop=None):
        teacher, student = small.networks()
        stages, own = find("fitnets")(CONFIG, **FITNETS), {"callback": callback, "stop": stop, "stored": stored}
        return Training(student, [teacher], stages, small.data(), seed=3, settings=Settings(device="cpu"), **own)

    return make


def test_a_training_on_a_filled_store_is_that_of_the_live_teacher_and_never_asks(training, train, at, asked, tmp_path):
    live, _ = train(method="fitnets", **FITNETS)
    stored = at(taps="exact")
    assert [filled.views for filled in fill(training(stored))] == [2, 2]
    asked.clear()
    found, notes = train(at(taps="exact", fill=False), method="fitnets", **FITNETS)
    assert asked == notes == []
    assert equal(live, found)


def test_filling_that_was_stopped_goes_on(training, at, asked):
    stored, stop = at(taps="exact"), StopRequest()
    with pytest.raises(Stopped):
        fill(training(stored, Stopper(stop, 3), stop))
    first, second = fill(training(stored))
    assert (first.added, second.added) == (2 * 72 + 18 - 3 * CONFIG.batch, 2 * 72)
    assert [filled.added for filled in fill(training(stored))] == [0, 0]


def test_stages_that_ask_the_teacher_anyway_are_passed_over(training, at):
    notes = Stopper()
    (filled,) = fill(training(at(), notes))
    assert filled.stage == "soft targets"
    assert "asks the teacher at every step" in notes.notes[0]


def test_a_store_that_cannot_be_written_is_an_error(training, at, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Value, "write", full)
    with pytest.raises(UserError, match="cannot be stored"):
        fill(training(at()))


def test_the_page_has_a_reader_in_numpy(training, at, tmp_path):
    """The page's reader gives the values and the damage that this package sees."""
    fill(training(at(taps="exact")))
    code = next(code for _, code in blocks(ROOT / "docs" / "stored-answers.md", "python") if "read_answers" in code)
    namespace: dict[str, object] = {}
    exec(code[: code.index("(store,)")], namespace)
    read = namespace["read_answers"]
    path = files(tmp_path)[-1]
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)
    seen = set()
    for file in files(tmp_path):
        value, view = file.stem.rsplit("-", 1)
        seen.add(value)
        samples = torch.arange(20)
        numbers, whole = read(file.parent, value, int(view), samples.numpy())
        described = json.loads((file.parent / f"{value}.json").read_text())
        form = read_form({name: item for name, item in described.items() if name != DIGEST})
        words, there, _ = Shelf(file, 90, form.words).read(samples)
        assert whole.tolist() == there.tolist()
        expected = form.decode(words).numpy()
        assert np.array_equal(numbers[whole], expected[whole])
        assert whole.any()
        assert file != path or not whole.all()
    assert seen == {"logits", "tap-conv"}
