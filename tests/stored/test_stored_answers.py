"""Stored answers are the live ones: same students bit for bit, whatever is killed, damaged, shared or refused."""

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import understudy
from understudy import Stored
from understudy.data import Views
from understudy.data.parts import Data
from understudy.data.sources import Streamed
from understudy.errors import UserError
from understudy.methods import find
from understudy.objective import Objective
from understudy.stage import Stage
from understudy.stored import fingerprints
from understudy.stored.answers import StoredAnswers
from understudy.terms import CE, KD, Confidence, GradientAT, SeveralTeachers
from understudy.training import preflight
from understudy.training.course import Course
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.loop import Training
from understudy.training.optimizers import SGD
from understudy.training.rates import Cosine
from understudy.training.settings import Settings
from understudy.training.watch import Watcher

EVERY = Views(shift=1, flip=True, cutout=2, mixup=1.0)
COURSE = Course(epochs=4, batch=16, optimizer=SGD(lr=0.05), rate=Cosine(), views=EVERY, keep="last")
FITNETS = {"pair": "conv -> conv2", "hint_epochs": 2}


class Notes(Watcher):
    def __init__(self, stop=None, after=0):
        self.stop, self.left, self.lines = stop, after, []

    def note(self, text):
        self.lines.append(text)

    def step(self, done, loss):
        self.left -= 1
        if self.left == 0:
            self.stop.signal_number = 15


@pytest.fixture
def asked(monkeypatch):
    """How often the teachers were asked with a whole batch, to train on or to validate."""
    counted = []
    ask = Objective.ask

    def counting(self, inputs):
        if len(inputs) == COURSE.batch:
            counted.append(len(inputs))
        return ask(self, inputs)

    monkeypatch.setattr(Objective, "ask", counting)
    return counted


@pytest.fixture
def train(small):
    """One training; answers with its student's weights and what was noted, or with no weights where it was stopped."""

    def session(
        stored=None,
        *,
        method="kd",
        course=COURSE,
        settings=None,
        after=0,
        out=None,
        seed=3,
        teacher=None,
        teachers=None,
        data=None,
        **own,
    ):
        usual, student = small.networks()
        stop = StopRequest()
        notes = Notes(stop, after)
        stages = method if isinstance(method, list) else find(method)(course, **own)
        training = Training(
            student,
            teachers or [teacher or usual],
            stages,
            data or small.data(),
            seed=seed,
            settings=settings or Settings(device="cpu"),
            checkpoint_folder=out and out / "checkpoints",
            stored=stored,
            watcher=notes,
            stop=stop,
            every=1e9,
        )
        try:
            training.run()
        except Stopped:
            return None, notes.lines
        return {name: value.clone() for name, value in training.student.state_dict().items()}, notes.lines

    return session


@pytest.fixture
def at(tmp_path):
    """Stored answers in a folder of this test's."""

    def options(views=COURSE.epochs, folder="stored", **others):
        return Stored(views=views, folder=str(tmp_path / folder), **others)

    return options


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


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


def test_a_run_that_sees_its_views_again_reads_what_the_teacher_would_answer(train, at, asked, monkeypatch):
    stored, notes = train(at(views=2, taps="exact"), method="fitnets-joint", pair="conv -> conv2")
    assert notes == []
    assert len(asked) == 2 * (4 + 1)  # two views: four steps, and one batch with what they leave out
    monkeypatch.setattr(StoredAnswers, "answers", lambda self, batch, inputs: self.objective.ask(inputs))
    live, _ = train(at(views=2, taps="exact", folder="unused"), method="fitnets-joint", pair="conv -> conv2")
    assert equal(stored, live)


def test_without_views_one_answer_serves_all_epochs_and_seeds(train, at, asked):
    course = replace(COURSE, views=Views())
    live = [train(course=course, seed=seed)[0] for seed in (1, 2)]
    asked.clear()
    stored = [train(at(), course=course, seed=seed)[0] for seed in (1, 2)]
    assert len(asked) == 5
    assert all(map(equal, live, stored))


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
    own = {"method": "fitnets-joint", "pair": "conv -> conv2", "course": replace(COURSE, epochs=2)}
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


def files(folder):
    return sorted(folder.rglob("*.answers"))


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
    stages = [Stage("only", CE() + KD() + 0.01 * understudy.Hint("logits -> conv2"), COURSE)]
    live, _ = train(method=stages, teacher=teacher)
    asked.clear()
    first, _ = train(at(taps="exact"), method=stages, teacher=teacher)
    times = len(asked)
    second, _ = train(at(taps="exact"), method=stages, teacher=teacher)
    assert equal(live, first)
    assert equal(live, second)
    assert len(asked) == times  # all of it is read


def test_who_may_add_nothing_is_told_what_is_missing(train, at):
    live, _ = train()
    short = replace(COURSE, epochs=2)
    train(at(), course=short)  # two of four views
    found, notes = train(at(fill=False))
    assert equal(live, found)
    assert len(notes) == 1
    assert "view 2" in notes[0]
    with pytest.raises(UserError, match="holds no 'logits@top-2'"):
        train(at(fill=False, top=2))


def test_a_full_disk_ends_the_storing_and_not_the_run(train, at, monkeypatch):
    live, _ = train()
    real = os.write

    def write(file, data):
        raise OSError(errno.ENOSPC, "No space left on device") if len(data) < 100 else real(file, data)

    monkeypatch.setattr(os, "write", write)
    found, notes = train(at())
    assert equal(live, found)
    assert len(notes) == 1
    assert "No space left" in notes[0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("teacher", "the teacher's weights or layers"),
        ("data", "the data"),
        ("views", "the views"),
        ("seed", "the seed of the views"),
        ("precision", "the precision (there: float32, here: bfloat16)"),
    ],
)
def test_answers_that_do_not_belong_are_refused_with_the_reason(train, at, small, change, reason):
    train(at())
    others = {
        "teacher": {"teacher": small.Teacher(scale=20.0)},
        "data": {"data": small.data(count=93)},
        "views": {"course": replace(COURSE, views=Views(shift=1))},
        "seed": {"seed": 4},
        "precision": {"settings": Settings(device="cpu", teacher_precision="bfloat16")},
    }
    with pytest.raises(UserError) as caught:
        train(at(fill=False), **others[change])
    assert reason in str(caught.value)
    assert train(at(fill=False))[1] == []


def test_a_folder_that_says_something_else_or_holds_another_teachers_answers_is_refused(train, at, tmp_path, small):
    train(at())
    (description,) = tmp_path.rglob("store.json")
    whole = description.read_text()
    description.write_text(json.dumps(json.loads(whole) | {"data": "others"}))
    with pytest.raises(UserError, match=r"differ in the data.*Remove that folder"):
        train(at())
    description.write_text(whole)

    class Deceiving(small.Teacher):
        __qualname__ = "Teacher"

        def forward(self, x):
            return super().forward(x) + 1

    Deceiving.__name__ = "Teacher"
    teacher, _ = small.networks()
    deceiving = Deceiving()
    deceiving.load_state_dict(teacher.state_dict())
    with pytest.raises(UserError, match="does not belong to this teacher"):
        train(at(), teacher=deceiving)


def test_stages_that_need_the_teacher_itself_ask_it_and_say_why(train, at, tmp_path, small):
    course = replace(COURSE, epochs=1)
    for term, reason in (
        (GradientAT("conv2 -> conv2"), "gradients through the teacher"),
        (Confidence(samples=2), "under dropout"),
        (understudy.Hint("conv2 -> conv2"), 'stored.taps = "exact"'),
    ):
        stages = [Stage("only", CE() + term, course)]
        teacher = small.Student(width=6)
        live, _ = train(method=stages, teacher=teacher)
        found, notes = train(at(), method=stages, teacher=teacher)
        assert equal(live, found)
        assert len(notes) == 1
        assert notes[0].startswith("stage 'only' asks the teacher at every step")
        assert reason in notes[0]
    assert not files(tmp_path)


class OfTheFirst(nn.Module):
    def forward(self, x):
        x = x.mean((2, 3))
        return 30 * (x - x[:1])


class OfTheMean(nn.Module):
    """Whatever the order of its batch is."""

    def forward(self, x):
        x = x.mean((2, 3))
        return 30 * (x - x.mean(0))


@pytest.mark.parametrize("dependent", [OfTheFirst, OfTheMean])
def test_a_teacher_whose_answer_depends_on_its_batch_is_asked_live(train, at, tmp_path, dependent):
    live, _ = train(teacher=dependent())
    found, notes = train(at(), teacher=dependent())
    assert equal(live, found)
    assert "depend on who shares the batch" in notes[0]
    assert not files(tmp_path)


def test_data_that_change_by_themselves_are_refused(train, at):
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 30

        def __getitem__(self, index):
            return torch.rand(3, 8, 8), index % 3

    whole = understudy.data.from_tensors((torch.rand(30, 3, 8, 8), torch.arange(30) % 3), validation=0)
    source = Streamed(Noisy(), torch.arange(30) % 3, workers=0)
    data: Data = replace(whole, train=replace(whole.train, source=source))
    with pytest.raises(UserError, match="changes its samples"):
        train(at(), data=data, course=replace(COURSE, views=Views()))


def test_every_sample_of_a_streamed_set_counts():
    images, labels = torch.rand(200, 3, 8, 8), torch.arange(200) % 3

    def fingerprint(images, labels):
        dataset = torch.utils.data.TensorDataset(images, labels)
        return fingerprints.of_samples(Streamed(dataset, labels, workers=0))

    changed = images.clone()
    changed[199] += 0.5
    assert fingerprint(images, labels) == fingerprint(images.clone(), labels.clone())
    assert fingerprint(images, labels) != fingerprint(changed, labels)
    assert fingerprint(images, labels) != fingerprint(images, labels.flip(0))


def test_several_teachers_each_have_a_store(train, at, small, asked, tmp_path):
    stages = [Stage("only", CE() + SeveralTeachers(), COURSE)]
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
    course = replace(COURSE, epochs=1)
    with pytest.raises(UserError, match="need a folder"):
        understudy.distill(teacher, student, small.data(), course=course, stored=Stored())
    understudy.distill(teacher, student, small.data(), course=course, stored=Stored(), out=tmp_path / "run")
    assert len(files(tmp_path / "run/stored")) == 1


def test_a_recipe_says_that_answers_are_stored_and_its_runs_may_share_them(make_run, tmp_path):
    own = ["stored.views=4", "stored.taps=exact"]
    results = [
        make_run(*changes, out=tmp_path / name).execute()["methods"]["fitnets"]["trainings"][0]
        for name, changes in (
            ("live", []),
            ("own", own),
            ("first", [*own, f"stored.folder={tmp_path}/shared"]),
            ("second", [*own, f"stored.folder={tmp_path}/shared", "stored.fill=false"]),
        )
    ]
    assert all(result | {"seconds": 0} == results[0] | {"seconds": 0} for result in results)
    assert files(tmp_path / "own/stored")
    assert not (tmp_path / "first/stored").exists()


def test_kd_terms_alone_run_without_student_taps(train, at):
    stages = [Stage("only", KD(temperature=2), COURSE)]
    assert equal(train(method=stages)[0], train(at(), method=stages)[0])


def forecasts(stored, small, course=COURSE, **own):
    teacher, student = small.networks()
    stages = find("fitnets-joint" if own else "kd")(course, **own)
    settings = Settings(device="cpu")
    found = preflight.check_stage(stages[0], student, [teacher], small.data(), settings, stored=stored)
    (text,) = [finding.text for finding in found if finding.subject.endswith("stored answers")]
    return text


def test_the_check_tells_cost_gain_and_break_even_before_anything_is_stored(at, small, tmp_path):
    text = forecasts(at(views=2), small)
    assert re.match(r"the teacher is \d+% of a step; 2 views need 3\.46 kB and save \d\.\dx after epoch 2", text)
    assert "1 view needs" in forecasts(at(views=2), small, replace(COURSE, views=Views()))
    assert "only in further trainings" in forecasts(at(), small)
    assert "none: it reads hidden values" in forecasts(at(), small, pair="conv -> conv2")
    exact = forecasts(at(views=2, taps="exact"), small, pair="conv -> conv2")
    assert "2 views need 222 kB" in exact  # 72 samples, 6 maps of 8 x 8 in float32, twice
    assert not tmp_path.exists() or not list(tmp_path.iterdir())


def test_a_training_on_the_largest_logits_is_the_same_from_teacher_and_file(train, at, asked):
    first, notes = train(at(top=1))
    asked.clear()
    again, more = train(at(top=1))
    assert notes == more == asked == []
    assert equal(first, again)
    assert not equal(first, train(at())[0])


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.conftest import make_data, make_networks
from tests.stored.test_stored_answers import COURSE, FITNETS
from understudy import Settings, Stored, student
from understudy.methods import find
from understudy.training.loop import Training
from understudy.training.watch import Watcher

class Steps(Watcher):
    def step(self, done, loss):
        print(done, flush=True)

stored, out = Path(sys.argv[1]), Path(sys.argv[2])
teacher, network = make_networks()
Training(
    network, [teacher], find("fitnets")(COURSE, **FITNETS), make_data(), seed=3, settings=Settings(device="cpu"),
    checkpoint_folder=out / "checkpoints", every=0.0, stored=Stored(views=4, taps="exact", folder=str(stored)),
    watcher=Steps(),
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
