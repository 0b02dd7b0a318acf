"""How many trainings go on at once where no number is given: a rule on the plan, the cores and the networks."""

import pytest

from tests.conftest import RECIPE
from understudy.config import hardware
from understudy.plans import Plan
from understudy.runs import Run
from understudy.runs import workers as module
from understudy.runs.workers import workers_by_rule

TEXT = RECIPE.partition("[methods.fitnets]")[0] + "[methods.alone]\n[methods.kd]\n"
TRAINED = TEXT.replace('weights = "teacher.safetensors"', "train = { epochs = 2 }")
CHAIN = """
[methods.takd]
assistants = [{ network = "smallnets:student", settings = { width = 6 } }]
"""


@pytest.fixture
def machine(monkeypatch):
    """So many cores, and no run is too short for workers."""
    monkeypatch.setattr(module, "SHORT", 0.0)
    return lambda cores: monkeypatch.setattr(hardware, "cores", lambda: cores)


def chosen(run, threads=None):
    return workers_by_rule(Run.first(run.recipe, run.builder), run.builder, threads)


@pytest.mark.parametrize(
    ("cores", "threads", "seeds", "wanted"),
    [(8, None, 1, 2), (8, None, 3, 6), (4, None, 3, 4), (4, 2, 3, 2), (4, 8, 3, 1), (1, None, 3, 1), (2, 1, 1, 2)],
)
def test_as_many_as_there_are_trainings_and_cores_for_them(make_run, machine, cores, threads, seeds, wanted):
    machine(cores)
    assert chosen(make_run(f"seeds={list(range(seeds))}", text=TEXT), threads) == wanted


@pytest.mark.parametrize(
    ("copies", "ranks", "wanted"), [(20, 1, 6), (8, 1, 3), (8, 2, 1), (4, 1, 1), (1, 1, 1), (0, 1, 6)]
)
def test_no_more_than_there_is_memory_for_copies_of_the_samples(make_run, machine, monkeypatch, copies, ranks, wanted):
    machine(8)
    run = make_run(f"settings.ranks={ranks}", "seeds=[0, 1, 2]", text=TEXT)
    size = run.builder.data.train.source.samples.nbytes
    monkeypatch.setattr(module, "usable_memory", lambda: copies * size)  # 0: the system does not say
    assert chosen(run) == wanted


def test_trainings_that_wait_for_one_another_stay_in_one_process(make_run, machine):
    machine(4)
    assert chosen(make_run(text=TEXT.partition("[methods.alone]")[0] + CHAIN)) == 1


def test_cores_that_would_be_idle_while_a_teacher_is_trained_are_its_own(make_run, machine):
    machine(4)
    assert chosen(make_run("train.epochs=4", text=TRAINED)) == 2
    assert chosen(make_run("teacher.train.epochs=400", text=TRAINED)) == 1
    assert chosen(make_run("teacher.train.epochs=400", "seeds=[0, 1]", text=TRAINED)) == 2


def test_a_short_run_and_a_network_that_cannot_be_run_stay_in_one_process(make_run, machine, monkeypatch):
    machine(4)
    run = make_run(text=TEXT)
    assert chosen(run) == 2
    monkeypatch.setattr(module, "SHORT", 1e12)
    assert chosen(run) == 1
    assert chosen(make_run("data.size=1", text=TEXT)) == 1  # the check says what is wrong


def test_a_containers_share_of_the_machine_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(hardware, "_QUOTA", tmp_path / "cpu.max")
    assert hardware.cores() == 8
    for told, wanted in (("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)):
        (tmp_path / "cpu.max").write_text(f"{told}\n")
        assert hardware.cores() == wanted


def test_the_levels_of_a_plan_wait_for_none_of_their_own(make_run):
    plan = make_run("seeds=[0, 1]", text=TRAINED + CHAIN).plan
    assert [[node.name for node in level] for level in plan.levels] == [
        ["teacher-0", "alone-0", "teacher-1", "alone-1"],
        ["kd-0", "takd-by-1-smallnets-student-0", "kd-1", "takd-by-1-smallnets-student-1"],
        ["takd-0", "takd-1"],
    ]
    assert Plan().levels == []
