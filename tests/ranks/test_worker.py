"""A training of a plan that several processes share: its result, a stop, and a mistake."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.conftest import PICTURES
from tests.ranks.group import Group
from tests.runs.plans import students
from understudy.errors import UserError
from understudy.plans import group_worker
from understudy.plans.engines import Here
from understudy.plans.engines.messages import Order
from understudy.plans.group import Group as Ranks
from understudy.plans.training import Builders, Job
from understudy.runs import Run
from understudy.training.callbacks import Callback
from understudy.training.interrupt import StopRequest

RECIPE = (
    PICTURES
    + """[student]
network = "resnet8"
settings = { widths = [4, 4, 4] }
[train]
epochs = 3
batch = 10
optimizer = { name = "sgd", lr = 0.05 }
[settings]
ranks = 2
threads = 1
device = "cpu"
[methods.alone]
"""
)


def test_a_worker_of_two_processes_trains_stops_goes_on_and_reports_mistakes(
    both: Group, make_run: Callable[..., Run], workplace: Path, tmp_path: Path
):
    def order(out: str, *changes: str) -> str:
        run = make_run(f"data.root={workplace / 'pictures'}", *changes, text=RECIPE, out=tmp_path / out)
        run.folder.training("alone-0").mkdir(parents=True)
        return Order(job=run.execution._job(run.execution.plan["alone-0"])).line()

    ((whole,), _) = both("served", [order("whole")])
    assert whole.record is not None
    again = order("run")
    ((stopped,), _) = both("served", [again], True)
    assert stopped.stopped == signal.SIGTERM
    mistake, gone_on = both("served", [order("wrong", "train.batch=15"), again])[0]
    assert "a batch of 15 samples has no equal share for each of 2 processes" in mistake.mistake
    assert gone_on.record is not None
    assert students(tmp_path / "run") == students(tmp_path / "whole")


class Lost(Ranks):
    """A group one of whose processes was killed between two trainings."""

    def __init__(self) -> None:
        pass

    def tell(self, message: object) -> None:
        raise RuntimeError("Connection closed by peer")


def test_a_worker_ends_where_one_of_its_processes_was_lost_between_two_trainings(monkeypatch: pytest.MonkeyPatch):
    def end(code: int) -> NoReturn:
        raise SystemExit(code)

    monkeypatch.setattr(group_worker.os, "_exit", end)
    with pytest.raises(SystemExit, match="1"):
        group_worker.lead(Lost(), Job.model_construct(), Builders(), Callback(), StopRequest())


def test_an_engine_of_one_process_says_what_to_do(make_run: Callable[..., Run]):
    with pytest.raises(UserError, match=r"asks for 2 processes .* take worker processes"):
        make_run(text=RECIPE, engine=Here).execute()
