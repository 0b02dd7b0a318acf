"""Which settings are chosen by measuring, and that a measurement leaves no trace in the networks."""

import tomllib
from types import SimpleNamespace

import pytest
import torch

from understudy.answers import StoredAnswers
from understudy.bench.choose import CHOOSABLE, Trials, fastest
from understudy.config import hardware
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.data import Augmentation
from understudy.methods import find
from understudy.teacher import stand_in
from understudy.teacher.stand_in import StandIns
from understudy.training.loop import Training

PLAIN = Settings(device="cpu")


def speeds(**factors):
    """A machine on which a setting makes that many times the speed."""

    def speed(settings):
        value = 1.0
        for name, factor in factors.items():
            field, _, wanted = name.partition("__")
            value *= factor if str(getattr(settings, field)) == wanted else 1.0
        return value

    return lambda one, other: speed(one) / speed(other)


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch):
    monkeypatch.setattr(hardware, "threads_each", lambda workers=1: 2)


@pytest.mark.parametrize(
    ("machine", "settings"),
    [
        ({}, {}),
        ({"precision__bfloat16": 2.0, "channels_last__False": 1.5, "threads__1": 1.25},
         {"precision": "bfloat16", "channels_last": False, "threads": 1}),
        ({"precision__bfloat16": 1.04, "channels_last__False": 1.04, "threads__1": 1.04}, {}),
        ({"teacher_precision__bfloat16": 1.5, "precision__bfloat16": 1.55}, {"teacher_precision": "bfloat16"}),
        ({"teacher_batches__2": 1.2, "teacher_batches__4": 1.22}, {"teacher_batches": 2}),
        ({"teacher_batches__2": 1.02}, {}),
        ({"teacher_batches__2": 1.2, "teacher_batches__4": 1.5}, {"teacher_batches": 4}),
        ({"compile__True": 1.3}, {"compile": True}),
        ({"precision__bfloat16": 2.0, "compile__True": 1.3}, {"precision": "bfloat16"}),
    ],
    ids=str,
)  # fmt: skip
def test_of_each_kind_the_fastest_is_taken_that_gains_enough(machine, settings):
    choice = fastest(PLAIN, speeds(**machine))
    assert choice.settings == Settings(**{"device": "cpu", "threads": 2} | settings)
    assert sum(one.taken for one in choice.candidates) == len(settings) + (settings.get("teacher_batches") == 4)


def test_what_is_named_stays_and_what_cannot_be_done_here_is_passed_over():
    everything = speeds(precision__bfloat16=2.0, teacher_precision__bfloat16=2.0, channels_last__False=2.0)
    for name in ("precision", "channels_last", "teacher_precision"):
        open_ = tuple(other for other in CHOOSABLE if other != name)
        assert getattr(fastest(PLAIN, everything, open_).settings, name) == getattr(PLAIN, name)
    assert fastest(PLAIN, everything, ()).settings == PLAIN
    choice = fastest(PLAIN, lambda one, other: None if one.precision == "bfloat16" else 1.0)
    assert (choice.settings.precision, choice.gain) == ("float32", 1.0)
    assert [one.gain for one in choice.candidates if one.change == "precision = 'bfloat16'"] == [None]


@pytest.fixture
def trials(small):
    """Trials of a stage of soft targets, which measure for no longer than they must."""
    teacher, student = small.networks()

    def make(**how):
        stages = find("kd")(TrainConfig(epochs=2, batch=16, augmentation=Augmentation(flip=True)))
        training = Training(student, [teacher], stages, small.data(), settings=PLAIN, **how)
        return Trials(training, 0, 0.0)

    make.networks = teacher, student
    return make


def test_a_measurement_leaves_networks_and_random_numbers_as_they_are(trials):
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in trials.networks]
    drawn = torch.get_rng_state()
    with trials() as here:
        choice = fastest(PLAIN, here.times, ("precision", "channels_last"))
    assert all(one.gain for one in choice.candidates)
    assert torch.equal(torch.get_rng_state(), drawn)
    for network, state in zip(trials.networks, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_a_teacher_is_compared_once_for_each_precision(trials, monkeypatch):
    judged, judge = [], stand_in._judged
    monkeypatch.setattr(
        stand_in, "_judged", lambda *about: (judged.append(about[2].of_teacher.precision), judge(*about))[1]
    )
    with trials() as here:
        fastest(PLAIN, here.times, ("teacher_precision", "precision", "channels_last"))
    assert judged == ["float32", "bfloat16"]


def test_a_teacher_that_is_yet_to_be_trained_is_so_in_copies_too(trials):
    stand_ins = StandIns()
    stand_ins.untrained(trials.networks[0])
    with trials(stand_ins=stand_ins) as here:
        assert not here.stand_ins.has_learned(here._copied(trials.networks[0]))


@pytest.mark.parametrize(
    ("stored", "read"), [(StoredAnswers(views=1), True), (StoredAnswers(seed=0), True), (StoredAnswers(), False)]
)
def test_where_most_answers_are_stored_it_is_steps_that_read_them(trials, asked, tmp_path, stored, read):
    stored = stored.within(tmp_path / "own")
    with trials(stored=stored) as here:
        assert ("teacher_batches" in here.open()) != read
        fastest(PLAIN, here.times, ("channels_last",))
    assert (asked.count(16) == 2) == read  # each of two settings asks once
    assert not (tmp_path / "own").exists()


def test_bench_prints_a_table_of_settings_or_writes_it(workplace, tmp_path, monkeypatch, capsys):
    from understudy.cli import main

    def measured(recipe, preview, named, *, seconds):
        return fastest(recipe.settings, speeds(precision__bfloat16=2.0), [n for n in CHOOSABLE if n not in named])

    monkeypatch.setattr("understudy.bench.choose.choose", measured)
    text = (workplace / "recipe.toml").read_text()
    path = tmp_path / "open.toml"
    path.write_text(text.replace("[settings]\nthreads = 1\n", ""))

    def run(*words):
        monkeypatch.setattr("sys.argv", ["understudy", "bench", str(path), "--trust", "smallnets", *words])
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        return SimpleNamespace(code=caught.value.code or 0, out=shown.out, err=shown.err)

    printed = run("--choose")
    assert printed.code == 0, printed.err
    table = tomllib.loads(printed.out)["settings"]
    assert table == {
        "precision": "bfloat16",
        "teacher_batches": 1,
        "channels_last": True,
        "threads": 2,
        "compile": False,
    }
    assert "precision = 'bfloat16': 2.00 times the speed, taken" in printed.err
    assert (
        tomllib.loads(run("--choose", "--set", "settings.precision=float32").out)["settings"]["precision"] == "float32"
    )
    assert run("--choose", "--write").code == 0
    assert tomllib.loads(path.read_text())["settings"] == table
    again = run("--choose", "--write")
    assert (again.code, "has settings already" in again.err) == (2, True)
    assert run("--write").code == 2
    plain = run("--choose", "--settings", "plain")
    assert (plain.code, "leave --settings out" in plain.err) == (2, True)
