"""Stored answers are the live ones: same students bit for bit, whatever is killed, damaged or shared."""

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import understudy
from tests.conftest import Stopper
from tests.stored.conftest import CONFIG, FITNETS, equal, files
from understudy import StoredAnswers
from understudy.answers.source import AnswerSource
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.data import Augmentation
from understudy.data.augmentation import Crop
from understudy.data.colour import Blur, Erase, Jitter
from understudy.data.policies import RandAugment
from understudy.errors import UserError
from understudy.terms import CE, KD, SeveralTeachers


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("method", ["kd", "fitnets"])
def test_with_as_many_views_as_epochs_the_student_is_that_of_the_live_teacher(
    train, at, asked, method, precision, channels_last
):
    own = FITNETS if method == "fitnets" else {}
    settings = Settings(device="cpu", precision=precision, channels_last=channels_last)
    live, _ = train(method=method, settings=settings, **own)
    first, notes = train(at(taps="exact"), method=method, settings=settings, **own)
    asked.clear()
    second, more = train(at(taps="exact"), method=method, settings=settings, **own)
    assert notes == more == []
    assert equal(live, first)
    assert equal(live, second)
    assert asked == []  # not once


def test_several_views_of_a_sample_in_one_batch_are_stored_each(train, at, asked, tmp_path):
    config = replace(CONFIG, repeats=2)
    live, _ = train(config=config)
    assert not equal(live, train()[0])
    first, notes = train(at(), config=config)
    asked.clear()
    assert train(at(), after=5, out=tmp_path / "run", config=config)[0] is None
    second, more = train(at(), out=tmp_path / "run", config=config)
    assert notes == more == []
    assert equal(live, first)
    assert equal(live, second)
    assert asked == []
    again, _ = train(at(views=2, folder="again"), config=config)
    assert len(asked) == 2 * 4 + 2  # two epochs of four steps, and one batch of each view with what they leave out
    assert not equal(live, again)
    with pytest.raises(UserError, match=r"answers.views = 3 is no multiple of repeats = 2"):
        train(at(views=3, folder="third"), config=config)


class SwayedALittle(nn.Module):
    """Right, but for what the size and the content of its batch add: less than may be between two answers."""

    def forward(self, x):
        return 30 * x.mean((2, 3)) * (1 + 3e-5 * len(x) * x.mean())


def test_a_teacher_swayed_by_its_batch_within_the_tolerance_makes_nearly_the_student_of_the_live_one(train, at, asked):
    config = replace(CONFIG, augmentation=Augmentation(), epochs=8)  # from the second on, other samples share the batch
    live, _ = train(teacher=SwayedALittle(), config=config)
    asked.clear()
    stored, notes = train(at(), teacher=SwayedALittle(), config=config)
    assert notes == []
    assert len(asked) == 4 + 1  # of the first epoch, and one batch with what it left out
    assert not equal(live, stored)
    for name, value in live.items():  # what docs/stored-answers.md promises
        assert (stored[name] - value).abs().max() <= 1e-4 * value.abs().max(), name


def test_a_run_that_sees_its_views_again_reads_what_the_teacher_would_answer(train, at, asked, monkeypatch):
    stored, notes = train(at(views=2, taps="exact"), method="fitnets-joint", pair="conv -> conv2")
    assert notes == []
    assert len(asked) == 2 * (4 + 1)  # two views: four steps, and one batch with what they leave out
    monkeypatch.setattr(AnswerSource, "answers", lambda self, batch, inputs: self.objective.ask(inputs))
    live, _ = train(at(views=2, taps="exact", folder="unused"), method="fitnets-joint", pair="conv -> conv2")
    assert equal(stored, live)


OTHER = {
    "flip": True,
    "crop": Crop(),
    "policy": RandAugment(),
    "jitter": Jitter(),
    "blur": Blur(),
    "erase": Erase(),
    "grey": 0.5,
}


@pytest.mark.parametrize("name", [each.name for each in fields(Augmentation) if each.name not in ("turn", "tokens")])
def test_answers_to_views_of_any_augmentation_are_found_again(train, at, asked, name):
    """Their folder says in JSON what they belong to, in which there are no tuples."""
    value = OTHER.get(name, 1)
    config = replace(CONFIG, augmentation=replace(Augmentation(), **{name: value}))
    first, notes = train(at(), config=config)
    asked.clear()
    again, more = train(at(), config=config)
    assert notes == more == []
    assert equal(first, again)
    assert asked == []


def test_without_views_one_answer_serves_all_epochs_and_seeds(train, at, asked):
    config = replace(CONFIG, augmentation=Augmentation())
    live = [train(config=config, seed=seed)[0] for seed in (1, 2)]
    asked.clear()
    stored = [train(at(), config=config, seed=seed)[0] for seed in (1, 2)]
    assert len(asked) == 5
    assert all(map(equal, live, stored))


def test_the_teacher_may_answer_for_samples_as_they_are(train, at, asked, monkeypatch):
    config = replace(CONFIG, augmentation=Augmentation(shift=1, flip=True))
    stored, notes = train(at(clean=True), config=config)
    assert notes == []
    assert len(asked) == 4 + 1  # each sample once
    asked.clear()
    assert equal(stored, train(at(clean=True, views=1), config=config)[0])
    assert asked == []
    assert not equal(stored, train(at(folder="views"), config=config)[0])
    as_they_are = lambda self, batch, inputs: self.objective.ask(self._as_they_are(batch.ids, batch.ids.device))  # noqa: E731
    monkeypatch.setattr(AnswerSource, "answers", as_they_are)
    assert equal(stored, train(at(clean=True, folder="unused"), config=config)[0])
    with pytest.raises(UserError, match="a mixture of two samples has none"):
        train(at(clean=True))


def test_a_seed_of_the_views_lets_seeds_and_methods_share_their_answers(train, at, asked):
    train(at(views=2, seed=7), seed=1)
    asked.clear()
    assert train(at(views=2, seed=7), seed=2)[1] == []
    assert train(at(views=2, seed=7), method="dkd", seed=5)[1] == []
    assert asked == []
    train(at(views=2), seed=2)
    assert asked  # views of its own


@pytest.mark.parametrize("kept", ["bfloat16", "float16"])
def test_hidden_values_may_be_rounded_and_then_always_are(train, at, kept, tmp_path):
    own = {"method": "fitnets-joint", "pair": "conv -> conv2", "config": replace(CONFIG, epochs=2)}
    first, _ = train(at(taps=kept), **own)
    again, _ = train(at(taps=kept), **own)
    assert equal(first, again)
    exact, _ = train(at(taps="exact", folder="other"), **own)
    assert not equal(first, exact)
    for name, value in exact.items():
        torch.testing.assert_close(first[name].float(), value.float(), rtol=0.2, atol=0.05)


def test_a_training_that_is_stopped_anywhere_goes_on_bit_for_bit(train, at, tmp_path):
    live, _ = train(method="fitnets", **FITNETS)
    stored = at(taps="exact")
    for after in (3, 5, 6, 1):
        assert train(stored, method="fitnets", after=after, out=tmp_path / "run", **FITNETS)[0] is None
    found, _ = train(stored, method="fitnets", out=tmp_path / "run", **FITNETS)
    assert equal(live, found)


@pytest.mark.parametrize("how", ["flipped", "cut short", "of another view", "empty"])
def test_damaged_records_are_named_and_asked_for_again(train, at, asked, tmp_path, how):
    live, _ = train(at())
    one, other = files(tmp_path)[:2]
    data = bytearray(one.read_bytes())
    data[len(data) // 2] ^= 4
    written = {
        "flipped": bytes(data),
        "cut short": bytes(data[: len(data) // 3]),
        "of another view": other.read_bytes(),
        "empty": b"",
    }
    one.write_bytes(written[how])
    asked.clear()
    found, notes = train(at())
    assert equal(live, found)
    assert asked
    if how in ("flipped", "of another view"):
        assert str(one) in notes[0]
        assert "damaged" in notes[0]
    asked.clear()
    assert train(at())[1] == []  # mended
    assert asked == []


def test_a_damaged_description_of_a_value_is_none_and_written_anew(train, at, tmp_path):
    live, _ = train(at())
    (described,) = tmp_path.rglob("logits.json")
    for damaged in ("{}", '{"kept": 3}', "[", '{"kept": "exact", "else": 1}'):
        described.write_text(damaged)
        assert equal(live, train(at())[0])
        assert json.loads(described.read_text())["given"] == "float32"


class CalledLogits(nn.Module):
    """Its output is not that of its module of this name."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return 7 * self.logits(x).mean((2, 3))


def test_a_module_called_logits_has_files_of_its_own(train, at, small, asked, tmp_path):
    teacher = CalledLogits()
    stages = [Stage("only", CE() + KD() + 0.01 * understudy.terms.Hint("logits -> conv2"), CONFIG)]
    live, _ = train(method=stages, teacher=teacher)
    asked.clear()
    first, _ = train(at(taps="exact"), method=stages, teacher=teacher)
    times = len(asked)
    second, _ = train(at(taps="exact"), method=stages, teacher=teacher)
    assert equal(live, first)
    assert equal(live, second)
    assert len(asked) == times  # all of it is read


def test_a_full_disk_ends_the_storing_and_not_the_run(train, at, monkeypatch):
    live, _ = train()
    real = os.write

    def write(file, data):
        if memoryview(data).nbytes < 100:  # a record, and no file that describes them
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", write)
    found, notes = train(at())
    assert equal(live, found)
    assert len(notes) == 1
    assert "No space left" in notes[0]


def test_several_teachers_each_have_a_store(train, at, small, asked, tmp_path):
    stages = [Stage("only", CE() + SeveralTeachers(), CONFIG)]
    teachers = [small.Teacher(scale) for scale in (10.0, 20.0)]
    torch.manual_seed(0)
    live, _ = train(method=stages, teachers=teachers)
    first, _ = train(at(), method=stages, teachers=teachers)
    asked.clear()
    second, _ = train(at(), method=stages, teachers=teachers)
    assert equal(live, first)
    assert equal(live, second)
    assert asked == []
    assert len(list(tmp_path.rglob("store.json"))) == 2
    asked.clear()
    train(at(), teacher=teachers[1])  # one of them alone
    assert asked == []


def test_distill_keeps_answers_in_the_run_folder_and_wants_one(small, tmp_path):
    teacher, student = small.networks()
    config = replace(CONFIG, epochs=1)
    with pytest.raises(UserError, match="need a folder"):
        understudy.distill(teacher, student, small.data(), config=config, answers=StoredAnswers())
    told = Stopper()
    call = {"config": config, "answers": StoredAnswers(), "callback": told}
    understudy.distill(teacher, student, small.data(), out=tmp_path / "run", **call)
    assert len(files(tmp_path / "run/stored")) == 1
    (line,) = told.notes
    assert line.startswith("stage 'soft targets', stored answers: the teacher is ")


def test_who_asks_distill_for_stored_answers_is_told_what_they_cost_and_why_none_of_those_there_serve(small, at):
    def notes(stored, scale=30.0, **own):
        told, config = Stopper(), replace(CONFIG, epochs=2)
        student = small.networks()[1]
        understudy.distill(
            small.Teacher(scale), student, small.data(), config=config, answers=stored, callback=told, **own
        )
        return told.notes

    assert notes(None) == []
    (line,) = notes(at(1))
    assert "; 1 view needs 2.16 kB and saves " in line
    cost, new = notes(at(1), scale=20.0)
    assert cost.startswith("stage 'soft targets', stored answers: the teacher is ")
    assert new.endswith("which differ in the teacher's weights or layers")
    (line,) = notes(at(1), method="fitnets-joint", pair="conv -> conv2")
    assert line.startswith("stage 'labels and hint' asks the teacher at every step")  # said once


def test_a_recipe_says_that_answers_are_stored_and_its_runs_may_share_them(make_run, tmp_path):
    own = ["answers.views=4", "answers.taps=exact"]
    results = [
        make_run(*changes, out=tmp_path / name).execute().methods["fitnets"].trainings[0].model_dump()
        for name, changes in (
            ("live", []),
            ("own", own),
            ("first", [*own, f"answers.folder={tmp_path}/shared"]),
            ("second", [*own, f"answers.folder={tmp_path}/shared", "answers.fill=false"]),
        )
    ]
    assert all(result | {"seconds": 0} == results[0] | {"seconds": 0} for result in results)
    assert files(tmp_path / "own/stored")
    assert not (tmp_path / "first/stored").exists()


def test_kd_terms_alone_run_without_student_taps(train, at):
    stages = [Stage("only", KD(temperature=2), CONFIG)]
    assert equal(train(method=stages)[0], train(at(), method=stages)[0])


@pytest.mark.parametrize("kept", [{"top": 1}, {"top": 2, "packed": True}, {"logits": "bfloat16"}])
def test_a_training_on_shortened_answers_is_the_same_from_teacher_and_file(train, at, asked, kept):
    first, notes = train(at(**kept))
    asked.clear()
    again, more = train(at(**kept))
    assert asked == []
    assert notes == more
    assert len(notes) == (kept.get("top") == 1)  # two of three classes are left out
    assert equal(first, again)
    assert not equal(first, train(at())[0])


@pytest.mark.parametrize(
    ("top", "method", "own", "said"),
    [
        (1, "kd", {}, True),
        (1, "kd", {"temperature": 0.01}, False),
        (2, "divergence", {"form": "forward", "top": 2}, False),
        (1, "divergence", {"form": "forward", "top": 2}, True),
        (1, "mlkd", {}, True),
        (1, "logit-regression", {}, True),
        (1, "outputs", {}, True),
        (1, "alone", {}, False),
    ],
)
def test_it_is_said_where_classes_that_are_left_out_have_much_of_the_answer(train, at, top, method, own, said):
    notes = train(at(top=top), method=method, **own)[1]
    assert len(notes) == said
    for note in notes:
        assert re.match(
            r"term '[\w-]+'(: at temperature \d+, \d+% of the teacher's prob| reads the teacher's log)", note
        )
        assert f"classes which answers.top = {top} leaves out" in note


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.conftest import make_data, make_networks
from tests.conftest import Stopper
from tests.stored.conftest import CONFIG, FITNETS
from understudy import Settings, StoredAnswers
from understudy.models import student
from understudy.methods import find
from understudy.training.loop import Training
from understudy.training.callbacks import Callback

class Steps(Callback):
    def step(self, done, loss):
        print(done, flush=True)

stored, out = Path(sys.argv[1]), Path(sys.argv[2])
teacher, network = make_networks()
Training(
    network, [teacher], find("fitnets")(CONFIG, **FITNETS), make_data(), seed=3, settings=Settings(device="cpu"),
    checkpoint_folder=out / "checkpoints", every=0.0, stored=StoredAnswers(views=4, taps="exact", folder=str(stored)),
    callback=Steps(),
).run()
student.save_weights(out / "student.safetensors", network.state_dict())
"""


def start(stored, out):
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", SCRIPT, str(stored), str(out)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


def test_killed_while_writing_and_run_beside_another_the_students_are_those_of_the_live_teacher(train, tmp_path):
    live, _ = train(method="fitnets", **FITNETS)
    killed, beside = (start(tmp_path / "stored", tmp_path / name) for name in ("killed", "beside"))
    for line in killed.stdout:
        if int(line) == 6:  # of 16: in the stage of hints, its second view half written
            killed.kill()
    killed.wait()
    killed.stdout.close()
    again = start(tmp_path / "stored", tmp_path / "killed")
    for process, name in ((again, "killed"), (beside, "beside")):
        process.communicate()
        assert process.returncode == 0
        assert equal(live, load_file(tmp_path / name / "student.safetensors"))
