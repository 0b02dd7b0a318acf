"""Which settings are chosen, what is remembered of it, and that a measurement leaves no trace in the networks."""

import copy
import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from understudy.bench import choose as fastest
from understudy.bench.choose import best_of, fastest_settings
from understudy.data import Views
from understudy.errors import UserError
from understudy.methods import find
from understudy.settings import CHOOSABLE, Settings
from understudy.stored import Stored
from understudy.teacher import stand_in as teaching
from understudy.teacher.stand_in import StandIns
from understudy.training.course import Course
from understudy.training.loop import Training

OPEN = Settings(device="cpu", auto=CHOOSABLE)


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch, tmp_path):
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path))
    monkeypatch.setattr(fastest, "COMPARISON", 0.0)


@pytest.fixture
def look(small, monkeypatch):
    """Chooses for the small networks and a run that is long enough to be worth it."""
    monkeypatch.setattr(fastest, "SHORT", 0.0)
    teacher, student = small.networks()

    def run(settings=OPEN, *, batch=16, teacher=teacher, **how):
        stage = find("kd")(Course(epochs=2, batch=batch, views=Views(flip=True)))[0]
        return fastest_settings(settings, [teacher], student, stage, small.data(), **({"steps": 1} | how))

    run.networks = teacher, student
    return run


def speeds(**factors):
    """A machine on which a setting makes that many times the speed."""

    def speed(settings):
        value = 1.0
        for name, factor in factors.items():
            field, _, wanted = name.partition("__")
            value *= factor if str(getattr(settings, field)) == wanted else 1.0
        return value

    return lambda one, other: speed(one) / speed(other)


def test_the_fastest_of_each_kind_is_taken_and_threads_are_written_down():
    torch.set_num_threads(2)
    found, gain = best_of(OPEN, speeds(precision__bfloat16=2.0, channels_last__False=1.5, threads__1=1.25))
    assert found == Settings(device="cpu", precision="bfloat16", channels_last=False, threads=1)
    assert gain == pytest.approx(2.0 * 1.5 * 1.25)
    assert best_of(OPEN, speeds())[0] == Settings(device="cpu", threads=2)


def test_what_gains_next_to_nothing_changes_nothing():
    torch.set_num_threads(2)
    everything = speeds(precision__bfloat16=1.04, channels_last__False=1.04, threads__1=1.04)
    assert best_of(OPEN, everything) == (Settings(device="cpu", threads=2), 1.0)
    teacher = speeds(teacher_precision__bfloat16=1.5, precision__bfloat16=1.55)
    assert best_of(OPEN, teacher)[0] == Settings(device="cpu", teacher_precision="bfloat16", threads=2)


def test_a_teacher_is_asked_about_as_many_batches_at_once_as_gain_something():
    ahead = speeds(teacher_batches__2=1.2, teacher_batches__4=1.22)
    assert best_of(OPEN, ahead)[0].teacher_batches == 2
    assert best_of(OPEN, speeds(teacher_batches__2=1.02))[0].teacher_batches == 1
    assert best_of(OPEN, speeds(teacher_batches__2=1.2, teacher_batches__4=1.5))[0].teacher_batches == 4


@pytest.mark.parametrize(("step", "wanted"), [(1e9, {16, 32}), (1e-9, {16})], ids=["whole", "in-part"])
def test_only_of_whole_batches_is_it_measured_how_many_a_teacher_is_asked_about_at_once(
    look, monkeypatch, asked, step, wanted
):
    monkeypatch.setattr(fastest, "STEP", step)
    found = look(Settings(device="cpu", auto=("teacher_batches",)))
    assert {size for size in asked if size > 8} - {64} == wanted  # four batches are looked at where two gain something
    assert ("nothing to compare" in found.reason) == (wanted == {16})


@pytest.mark.parametrize("stored", [Stored(views=1), Stored()])
def test_where_answers_are_stored_nobody_asks_ahead(look, monkeypatch, tmp_path, stored):
    monkeypatch.setattr(fastest, "STEP", 1e9)
    stored = replace(stored, folder=str(tmp_path / "own"))
    found = look(Settings(device="cpu", auto=("teacher_batches",)), stored=stored)
    assert "nothing to compare" in found.reason


def test_what_a_recipe_says_is_kept():
    torch.set_num_threads(2)
    everything = speeds(precision__bfloat16=2.0, teacher_precision__bfloat16=2.0, channels_last__False=2.0)
    for name, value in (("precision", "float32"), ("channels_last", True), ("teacher_precision", None)):
        left = replace(OPEN, auto=tuple(other for other in CHOOSABLE if other != name))
        assert getattr(best_of(left, everything)[0], name) == value
    assert best_of(Settings(precision="bfloat16"), everything) == (Settings(precision="bfloat16"), 1.0)


@pytest.mark.parametrize(
    ("device", "settings", "bfloat16", "compiled"),
    [
        ("cpu", {"precision": "float32"}, 2.0, True),
        ("cpu", {"precision": "bfloat16"}, 2.0, False),
        ("cpu", {}, 2.0, False),
        ("cpu", {}, 0.5, True),
        ("meta", {}, 2.0, True),
    ],
    ids=["float32-is-said", "bfloat16-is-said", "bfloat16-is-faster", "bfloat16-is-slower", "accelerator"],
)
def test_on_a_cpu_compilation_is_tried_in_float32_alone(device, settings, bfloat16, compiled):
    left = Settings(device=device, auto=tuple(name for name in CHOOSABLE if name not in settings), **settings)
    tried = []

    def times(one, other):
        tried.append(one.compile)
        return speeds(precision__bfloat16=bfloat16, compile__True=1.35)(one, other)

    assert best_of(left, times)[0].compile == compiled
    assert any(tried) == compiled


def test_what_cannot_be_done_here_is_passed_over():
    found, gain = best_of(OPEN, lambda one, other: None if one.precision == "bfloat16" else 1.0)
    assert found.precision == "float32"
    assert gain == 1.0


def test_a_measurement_leaves_networks_and_random_numbers_as_they_are(look):
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in look.networks]
    drawn = torch.get_rng_state()
    found = look()
    assert found.settings.auto == ()
    assert "measured in" in found.reason
    assert torch.equal(torch.get_rng_state(), drawn)
    for network, state in zip(look.networks, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_a_teacher_is_judged_once_for_each_precision_and_by_a_training_anew(look, small, monkeypatch):
    judged = []
    judge = teaching._judged
    monkeypatch.setattr(
        teaching, "_judged", lambda *about: (judged.append(about[2].of_teacher.precision), judge(*about))[1]
    )
    look(Settings(device="cpu", auto=("teacher_precision", "precision", "channels_last")))
    assert judged == ["float32", "bfloat16"]
    teacher, student = look.networks
    for settings in (Settings(device="cpu"), Settings(device="cpu", channels_last=False)):
        training = Training(student, [teacher], find("kd")(Course(epochs=1)), small.data(), settings=settings)
        training.open(training.stages[0])
    assert judged == ["float32", "bfloat16", "float32", "float32"]


def test_what_was_measured_is_remembered_for_this_question_alone(look, small, monkeypatch, tmp_path):
    first = look()
    (kept,) = tmp_path.rglob("*.json")

    def refused(*_, **__):
        raise AssertionError("measured again")

    monkeypatch.setattr(fastest, "best_of", refused)
    again = look()
    assert again.settings == first.settings
    assert "measured before" in again.reason
    with pytest.raises(AssertionError, match="measured again"):
        look(replace(OPEN, precision="bfloat16", auto=("threads",)))
    with pytest.raises(AssertionError, match="measured again"):
        look(batch=8)
    with pytest.raises(AssertionError, match="measured again"):
        look(stored=Stored(views=1))
    stand_ins = StandIns()
    with pytest.raises(AssertionError, match="measured again"):
        look(teacher=stand_ins.untrained(copy.deepcopy(look.networks[0])), stand_ins=stand_ins)
    with pytest.raises(AssertionError, match="measured again"):  # perhaps not to be asked in low precision
        look(teacher=small.Teacher(scale=1.0))
    for damaged in ("{", "[]", json.dumps({"found": {"precision": "int3"}, "gain": 1}), json.dumps({"gain": 2})):
        kept.write_text(damaged)
        with pytest.raises(AssertionError, match="measured again"):
            look()


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_memory(look, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "file"))
    assert look().settings.auto == ()


def test_a_short_run_and_one_that_cannot_be_measured_are_plain(look, monkeypatch, tmp_path):
    monkeypatch.setattr(fastest, "SHORT", 1e9)
    assert "so short a run" in look().reason
    assert look().settings == OPEN.plain

    def broken(*_, **__):
        raise UserError("a tap that does not exist")

    monkeypatch.setattr(fastest, "Training", broken)
    assert look().settings == OPEN.plain
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(("stored", "read"), [(Stored(views=1), True), (Stored(seed=0), True), (Stored(), False)])
def test_where_most_answers_are_stored_it_is_steps_that_read_them(look, monkeypatch, asked, tmp_path, stored, read):
    monkeypatch.setattr(fastest, "STEP", 1e9)  # on whole batches, however slow
    own = replace(stored, folder=str(tmp_path / "own"), fill=False)
    assert "measured in" in look(Settings(device="cpu", auto=("channels_last",)), stored=own).reason
    assert (asked.count(16) == 2) == read  # each of two settings asks once
    assert not (tmp_path / "own").exists()


def test_the_heaviest_networks_get_a_comparison_and_what_was_not_compared_is_not_told_as_found(
    look, monkeypatch, tmp_path
):
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now, monotonic=time.monotonic)

    def takes(seconds, found):
        def measured(*_, **__):
            clock.now += seconds
            return found

        return measured

    monkeypatch.setattr(fastest, "time", clock)
    monkeypatch.setattr(fastest, "timed", takes(100.0, 100.0))
    monkeypatch.setattr(fastest, "interleaved", takes(20.0, {"this": [1.0], "other": [2.0]}))
    found = look()
    assert found.settings.teacher_precision == "bfloat16"
    assert "2.00 times the speed of plain settings (measured in 120 s, which was not enough" in found.reason
    monkeypatch.setattr(fastest, "MOST", -1.0)
    assert "the time was over before anything was compared" in look().reason
    assert "nothing to compare" in look(Settings(device="cpu", auto=("compile",))).reason
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_whether_compilation_is_worth_trying_belongs_to_the_question(look, monkeypatch, device):
    class Trials:
        compared, left_out = 1, False

        def __init__(self, *_):
            self.plain_step = lambda settings: 1.0
            self.times = lambda one, other: 2.0 if one.compile else 1.0

    monkeypatch.setattr(fastest, "_Trials", Trials)
    settings = Settings(device=device, auto=("channels_last", "compile"))
    for how in ("measured in", "measured before"):
        for steps, compiled in ((10, False), (100_000, True)):
            found = look(settings, steps=steps)
            assert found.settings.compile == compiled
            assert how in found.reason
