"""``understudy.distill`` on two real processes: one run, one log, the student of one process; stopped, it goes on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.ranks import cases
from tests.ranks.group import Group
from understudy.config.settings import Settings
from understudy.data import from_tensors
from understudy.models import load_weights
from understudy.training.evaluate import figures


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def log(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


@pytest.mark.parametrize("method", ["kd", "crd"])
def test_two_processes_train_one_student(both: Group, tmp_path: Path, method: str):
    alone = cases.distilled(0, str(tmp_path / "alone"), method)
    first, second = both("distilled", str(tmp_path / "both"), method)
    assert isinstance(alone, dict)
    assert equal(first, second)
    assert distance(alone, first) < 1e-4
    wanted, found = log(tmp_path / "alone"), log(tmp_path / "both")
    for line, other in zip(wanted, found, strict=True):
        assert other["loss"] == pytest.approx(line["loss"], rel=1e-4)
        assert other["validation"]["accuracy"] == line["validation"]["accuracy"]


def test_a_stopped_run_goes_on_on_any_number_of_processes(both: Group, tmp_path: Path):
    whole, _ = both("distilled", str(tmp_path / "whole"))
    for name in ("same", "one"):
        said = both("distilled", str(tmp_path / name), "kd", 3)
        assert "stopped by SIGINT" in said[0]
        assert "the first process, which says why" in said[1]
    first, second = both("distilled", str(tmp_path / "same"))
    assert equal(first, whole)
    assert equal(first, second)
    assert log(tmp_path / "same") == log(tmp_path / "whole")
    with pytest.warns(UserWarning, match="other code, data, threads or settings"):
        gone_on = cases.distilled(0, str(tmp_path / "one"))
    assert isinstance(gone_on, dict)
    assert distance(gone_on, whole) < 1e-4


def test_all_processes_measure_the_final_figures_which_are_those_of_one(both: Group, tmp_path: Path):
    assert both("measured_together", str(tmp_path / "both")) == [0, 3]  # teacher, student, and the student that is kept
    result = json.loads((tmp_path / "both" / "result.json").read_text())
    student = cases.plain_student()
    load_weights(student, tmp_path / "both" / "student.safetensors")
    data = from_tensors(cases.samples(), validation=20)
    assert data.validation is not None
    alone = figures(student, data.validation, data.task, Settings(device="cpu"))
    (method,) = result["methods"].values()
    assert {name: method["trainings"][0]["figures"][name] for name in alone} == alone


def test_a_call_without_a_folder_gives_all_processes_the_student(both: Group):
    first, second = both("distilled", None)
    assert equal(first, second)


def test_batches_without_an_equal_share_are_refused(both: Group):
    assert "has no equal share for each of 2 processes" in both("refused_batch")[0]


def test_students_that_do_not_begin_alike_are_refused(both: Group):
    said = both("other_begins")
    assert all("'stem.weight' does not begin with the same values on all processes" in text for text in said), said


@pytest.mark.parametrize(("after", "what"), [(0, "the parameter 'block1.blocks.0.0.weight'"), (2, "in the last step")])
def test_processes_that_train_different_parts_of_a_student_are_refused(both: Group, after: int, what: str):
    said = both("uneven", after)
    assert all(text.startswith(what) and "on some processes only" in text for text in said), said


def test_statistics_that_each_process_takes_by_itself_are_noted_and_become_those_of_the_first(both: Group):
    (notes, first), (none, second) = both("own_statistics")
    assert [text.partition(",")[0] for text in notes] == [
        "the student's buffer 'block1.1.running_mean' differs between the processes"
    ]
    assert none == []
    assert equal(first, second)


def test_each_process_may_have_statistics_of_its_own(both: Group, tmp_path: Path):
    options = {"batch_norm": "process"}
    whole, _ = both("distilled_with", str(tmp_path / "whole"), 0, options)
    both("distilled_with", str(tmp_path / "stopped"), 3, options)
    first, second = both("distilled_with", str(tmp_path / "stopped"), 0, options)
    assert equal(first, whole)
    assert equal(first, second)
    microbatches, _ = both("distilled_with", str(tmp_path / "small"), 0, options | {"microbatch": 4})
    assert torch.isfinite(microbatches["fc.weight"]).all()


THREADS = """
import sys
from pathlib import Path
import torch.distributed as dist
from understudy.plans import group

def threads():
    return sum(one.read_text().startswith("pt_gloo") for one in Path("/proc/self/task").glob("*/comm"))

dist.init_process_group("gloo", init_method="file://" + sys.argv[1], rank=0, world_size=1)
group.Group._of_process = group.Group()
group.Group._of_process.tell(None)
before = threads()
group._leave()
print(before > 0, threads())
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_no_thread_of_gloo_outlives_the_groups(tmp_path: Path):
    """One that does may abort the process when the interpreter is taken down."""
    command = [sys.executable, "-c", THREADS, str(tmp_path / "store")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert said.split() == ["True", "0"]
