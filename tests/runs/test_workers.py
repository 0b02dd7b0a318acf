"""How many trainings go on at once where nobody says it."""

import pytest
import torch

from tests.conftest import RECIPE
from understudy.plans import Plan
from understudy.runs import at_once as module
from understudy.runs.at_once import at_once, cores
from understudy.settings import Settings

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
    return lambda cores: monkeypatch.setattr(module, "cores", lambda: cores)


@pytest.mark.parametrize(
    ("cores", "threads", "seeds", "wanted"),
    [(8, None, 1, 2), (8, None, 3, 6), (4, None, 3, 4), (4, 2, 3, 2), (4, 8, 3, 1), (1, None, 3, 1), (2, 1, 1, 2)],
)
def test_as_many_as_there_are_trainings_and_cores_for_them(make_run, machine, cores, threads, seeds, wanted):
    machine(cores)
    assert at_once(make_run(f"seeds={list(range(seeds))}", text=TEXT), threads) == wanted


def test_trainings_that_wait_for_one_another_stay_in_one_process(make_run, machine):
    machine(4)
    assert at_once(make_run(text=TEXT.partition("[methods.alone]")[0] + CHAIN), None) == 1


def test_cores_that_would_be_idle_while_a_teacher_is_trained_are_its_own(make_run, machine):
    machine(4)
    assert at_once(make_run("train.epochs=4", text=TRAINED), None) == 2
    assert at_once(make_run("teacher.train.epochs=400", text=TRAINED), None) == 1
    assert at_once(make_run("teacher.train.epochs=400", "seeds=[0, 1]", text=TRAINED), None) == 2


def test_a_short_run_an_accelerator_and_a_mistake_stay_in_one_process(make_run, machine, monkeypatch):
    machine(4)
    wrong = make_run(text=TEXT + '[methods.fitnets]\npair = "nowhere -> conv1"\n')
    assert at_once(wrong, None) in (1, 3)  # whichever stage is measured; the check says what is wrong
    run = make_run(text=TEXT)
    with monkeypatch.context() as patch:
        patch.setattr(Settings, "torch_device", property(lambda _: torch.device("cuda")))
        assert at_once(run, None) == 1
    monkeypatch.setattr(module, "SHORT", 120.0)
    assert at_once(run, None) == 1


def test_a_containers_share_of_the_machine_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(module, "QUOTA", tmp_path / "cpu.max")
    assert cores() == 8
    for told, wanted in (("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)):
        (tmp_path / "cpu.max").write_text(f"{told}\n")
        assert cores() == wanted


def test_the_levels_of_a_plan_wait_for_nobody_of_their_own(make_run):
    plan = make_run("seeds=[0, 1]", text=TRAINED + CHAIN).plan
    assert [[node.name for node in level] for level in plan.levels] == [
        ["teacher-0", "alone-0", "teacher-1", "alone-1"],
        ["kd-0", "takd-by-1-smallnets-student-0", "kd-1", "takd-by-1-smallnets-student-1"],
        ["takd-0", "takd-1"],
    ]
    assert Plan().levels == []
