"""The local engine starts two processes for a training, and starts them again when one of them is killed.

    python -m pytest tests/ranks/killed_worker.py

It belongs to ``make ranks``: starting processes takes longer than all that they train.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from tests.ranks.kills import ranks_of
from tests.ranks.test_worker import RECIPE
from understudy.plans.engines import Processes
from understudy.runs import Run
from understudy.training.callbacks import Callback
from understudy.training.interrupt import StopRequest


class Killing(Callback):
    """Kills the second process of a group after the first epoch."""

    def __init__(self) -> None:
        self.notes, self.engine = list[str](), list[Processes]()

    def make(self, builders: object, callback: Callback, stop: StopRequest) -> Processes:
        self.engine.append(Processes(1, callback, stop))
        return self.engine[0]

    def epoch_ends(self, epoch: object) -> None:
        if not self.notes:
            (worker,) = self.engine[0]._alive
            os.kill(ranks_of(worker.process.pid)[1], signal.SIGKILL)

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_the_local_engine_starts_two_processes_and_starts_them_again(make_run: Callable[..., Run], tmp_path: Path):
    killing = Killing()
    run = make_run("train.epochs=8", text=RECIPE, engine=killing.make, callback=killing, checkpoint_seconds=0.0)
    result = run.execute()
    assert killing.notes == ["alone-0: its worker died (exit code 1); it goes on from its last checkpoint"]
    assert result.methods["alone"].trainings[0].training == "alone-0"
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 8
