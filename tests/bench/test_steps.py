"""What a step costs: the parts are the step's own, the floors compute no more than the stage does."""

import itertools
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from understudy.answers import StoredAnswers
from understudy.bench import parts as parts_module
from understudy.bench import steps
from understudy.bench.answers import answer_times
from understudy.bench.floors import Floor
from understudy.bench.parts import Parts
from understudy.bench.steps import step_cost
from understudy.config.hardware import keep_freed_memory
from understudy.config.optimizers import SGD
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.data import Augmentation
from understudy.measure.machine import peak_memory, reset_peak_memory
from understudy.methods import find
from understudy.objective import Objective
from understudy.training.loop import Training

CONFIG = TrainConfig(epochs=2, batch=16, optimizer=SGD(lr=0.01), augmentation=Augmentation(flip=True))


@pytest.fixture
def training(small):
    def make(method="kd", **settings):
        teacher, student = small.networks()
        stages = find(method)(CONFIG, **settings)
        return Training(student, [teacher] if method != "alone" else [], stages, small.data())

    return make


@pytest.mark.parametrize(
    ("method", "settings", "floors"),
    [
        ("alone", {}, {"F1"}),
        ("kd", {}, {"F1", "F2"}),
        ("fitnets", {"pair": "conv -> conv2"}, {"F1", "F2"}),
        ("can", {}, {"F1", "F2"}),
    ],
)
def test_a_step_is_split_and_set_against_its_floors(training, method, settings, floors):
    cost = step_cost(training(method, **settings), 0, seconds=0)
    assert set(cost.floors_ms) == set(cost.of_floor) == floors
    assert {"data", "student", "losses", "backward", "optimizer", "loop"} <= set(cost.parts_ms)
    assert ("adversaries" in cost.parts_ms) == (method == "can")
    assert all(value >= 0 for value in cost.parts_ms.values())
    assert min(cost.step_ms, cost.samples_per_second, cost.loader_samples_per_second, cost.peak_memory_mb) > 0
    assert cost.batch == 16


def test_student_and_teacher_answer_one_image_and_a_batch(training):
    times = answer_times(training(), seconds=0)
    assert list(times) == ["student", "teacher"]
    assert [(each.one.batch, each.batch.batch) for each in times.values()] == [(1, 72), (1, 72)]  # as many as there are
    assert list(answer_times(training("alone"), seconds=0)) == ["student"]


def test_a_step_with_stored_answers_is_measured_with_answers_that_are_there(small, tmp_path, asked):
    teacher, student = small.networks()
    stored = StoredAnswers(views=2, folder=str(tmp_path))
    cost = step_cost(Training(student, [teacher], find("kd")(CONFIG), small.data(), stored=stored), 0, seconds=0)
    assert asked.count(16) == steps.WARM_UP  # whole batches, in the warm-up alone
    assert "teacher" in cost.parts_ms  # what reading its answers takes


@pytest.mark.parametrize(("together", "sizes", "each"), [(2, {32}, 10.0), (9, {64}, 5.0)])
def test_a_step_has_its_part_of_a_question_about_several_batches(small, monkeypatch, together, sizes, each):
    asked, ask, clock = set(), Objective.ask, SimpleNamespace(now=0.0)

    def tick():
        clock.now += 1e-9
        return clock.now

    def slow(self, inputs):
        if len(inputs) >= CONFIG.batch:
            asked.add(len(inputs))
            clock.now += 0.02
        return ask(self, inputs)

    monkeypatch.setattr(steps, "ROUND", 0.0)  # as few calls as can be: floors take no time by this clock
    monkeypatch.setattr(time, "perf_counter", tick)
    monkeypatch.setattr(Objective, "ask", slow)
    teacher, student = small.networks()
    settings = Settings(teacher_batches=together)
    cost = step_cost(Training(student, [teacher], find("kd")(CONFIG), small.data(), settings=settings), 0, seconds=0)
    assert asked == sizes
    assert cost.step_ms == pytest.approx(each, abs=0.01)
    assert cost.parts_ms["teacher"] == pytest.approx(each, abs=0.01)


def test_the_floor_of_a_hint_stage_is_cut_at_its_taps(training):
    hinted = training("fitnets", pair="conv -> conv1")
    stage = hinted.stages[0]
    floor = Floor(hinted, stage, next(hinted.data.train.epoch(0, seed=0, batch=16, **_how(hinted))))
    called = []
    for network in (floor.student.network, floor.teachers[0].network):
        for name, module in network.named_modules():
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    floor.steps()["F2"]()
    assert called == ["conv", "conv1"]
    moved = {name for name, parameter in floor.student.network.named_parameters() if parameter.grad is not None}
    assert moved == {"conv1.weight"}


def test_a_floor_runs_its_networks_compiled_where_the_training_does(training, monkeypatch):
    compiled = []
    monkeypatch.setattr(Settings, "compiled", lambda self, network: compiled.append(network) or network)
    ours = training()
    floor = Floor(ours, ours.stages[0], next(ours.data.train.epoch(0, seed=0, batch=16, **_how(ours))))
    assert compiled == [floor.student.network, ours.teachers[0]]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks begin anew on Linux alone")
def test_the_peak_of_a_stage_is_not_that_of_what_was_before(training):
    keep_freed_memory()
    torch.ones(2**26)  # 256 MB, and gone
    before = peak_memory(torch.device("cpu"))["process"]
    cost = step_cost(training(), 0, seconds=0)
    assert cost.memory_of == "process"
    assert 0 < 1e6 * cost.peak_memory_mb < before


def test_the_peak_of_an_accelerator_begins_anew_too(monkeypatch):
    anew = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", anew.append)
    reset_peak_memory(torch.device("cuda"))
    assert anew == [torch.device("cuda")]


def test_floors_leave_the_training_as_it_is(training):
    ours = training()
    before = {name: value.clone() for name, value in ours.student.state_dict().items()}
    floor = Floor(ours, ours.stages[0], next(ours.data.train.epoch(0, seed=0, batch=16, **_how(ours))))
    for run in floor.steps().values():
        run()
    assert all(torch.equal(value, before[name]) for name, value in ours.student.state_dict().items())


def test_a_step_under_watch_does_what_it_does_without(training):
    ends = []
    for watched in (False, True):
        ours = training("fitnets", pair="conv -> conv2")
        with torch.random.fork_rng():
            ours.open(ours.stages[0])
            if watched:
                Parts(torch.device("cpu")).watch(ours.stage_state)
            for batch in itertools.islice(ours.batches(ours.stages[0]), 3):
                ours.advance(ours.stages[0], batch, time.monotonic())
        ends.append(ours.student.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_what_runs_within_a_part_counts_for_itself_alone(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 7.0, 8.0, 16.0])
    monkeypatch.setattr(parts_module.time, "perf_counter", lambda: next(now))
    parts = Parts(torch.device("cpu"))
    with parts.part("loop"), parts.part("teacher"), parts.part("student"):
        pass
    assert parts.seconds["loop"] == 1 + 8
    assert parts.seconds["teacher"] == 2 + 1
    assert parts.seconds["student"] == 4


def test_variants_take_turns_in_an_order_that_changes(monkeypatch):
    monkeypatch.setattr(steps, "ROUND", 0.0)  # one call in each round
    calls: list[str] = []
    variants = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = steps.interleaved(variants, torch.device("cpu"), seconds=0, least=8)
    assert {len(values) for values in times.values()} == {8}
    rounds = list(zip(*[iter(calls[6:])] * 3, strict=True))  # before them, each was called twice to warm up
    assert all(set(taken) == set("abc") for taken in rounds)
    assert len(set(rounds)) > 1


def _how(training):
    return {"augmentation": CONFIG.augmentation, "task": training.data.task, "device": torch.device("cpu")}
