"""A search goes on after any kill, also of one of several workers, and ends the same."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tuning.search import COUNT, SMALL, SPACE, same, students, text
from understudy.errors import UserError
from understudy.runs.folder import without_seal
from understudy.training.loop import Training
from understudy.tuning.outcome import execute
from understudy.tuning.trainer import Trainer
from understudy.tuning.trials import Trials

ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """The end of a process, as the rest of it sees it."""


def dies(monkeypatch, owner, name, call, *, after):
    """The process ends at the so-manieth call, before it or just after it."""
    real, calls = getattr(owner, name), []

    def instead(*args, **kwargs):
        calls.append(name)
        if len(calls) == call and not after:
            raise Killed
        answer = real(*args, **kwargs)
        if len(calls) == call and after:
            raise Killed
        return answer

    monkeypatch.setattr(owner, name, instead)


MOMENTS = [  # one after the other in the same search: which call ends the process, and whether before or after it
    (Trials, "begin", 1, False),
    (Trials, "begin", 1, True),
    (Trials, "report", 2, False),
    (Trials, "report", 1, True),
    (Training, "save", 3, True),
    (Trials, "end", 1, False),
    (Trials, "end", 1, True),
    (Trainer, "clear", 1, False),
    (Trials, "begin", 1, True),
    (Trials, "end", 2, False),
]


def test_a_search_that_ended_at_any_moment_goes_on_and_ends_the_same(make, monkeypatch, unbroken):
    for owner, name, call, after in MOMENTS:
        with monkeypatch.context() as patch:
            dies(patch, owner, name, call, after=after)
            with pytest.raises(Killed):
                execute(make(seconds=0.0), COUNT)
    tuning = make()
    assert same(tuning.folder.path, execute(tuning, COUNT), unbroken)


def test_what_lies_in_a_trials_folder_from_other_settings_is_not_taken_for_it(make):
    tuning = make("train.epochs=1", search=["methods.kd.temperature=1..3"])
    tuning.search(1)
    (tuning.folder.path / "trials.sqlite").unlink()
    path = tuning.folder.path / "trials/0000/recipe.toml"
    path.write_text(re.sub(r"temperature = .*", "temperature = 2.99", without_seal(path.read_text())[0]))
    with pytest.raises(UserError, match=r"another recipe .*temperature"):
        make("train.epochs=1", search=["methods.kd.temperature=1..3"]).search(1)


def test_trials_side_by_side_are_each_trained_once(make):
    tuning = make()
    outcome = execute(tuning, COUNT, workers=2)
    assert [trial.trial for trial in outcome.trials] == list(range(COUNT))
    assert {trial.state for trial in outcome.trials} <= {"complete", "stopped", "failed"}
    assert len({json.dumps(trial.settings, sort_keys=True) for trial in outcome.trials}) == COUNT
    assert outcome == execute(make(), COUNT, workers=2)  # there is nothing left to do


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["a worker", "the command"])
def test_a_search_whose_worker_is_killed_ends_as_any_other_and_leaves_no_process(workplace, tmp_path, make, killed):
    """By SIGKILL, in the middle of a trial: the command itself ends the search, or the same command again."""
    (tmp_path / "search.toml").write_text(text())
    folder = tmp_path / "tune"
    changes = ["train.epochs=30", "tune.random=9", "tune.prune=false"]  # long trials, whose settings depend on no other
    words = ["--out", folder, "--trust", "smallnets", "--checkpoint-seconds", 0, "--trials", 4, "--workers", 2]
    words += [word for change in [*SMALL, *changes] for word in ("--set", change)]
    words += [word for space in SPACE for word in ("--search", space)]
    command = subprocess.Popen(
        [sys.executable, "-m", "understudy", "tune", tmp_path / "search.toml", "--no-check", *map(str, words)],
        cwd=workplace,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "UNDERSTUDY_CACHE": str(tmp_path / "c")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while command.poll() is None and not list(folder.glob("trials/*/checkpoints/*/*.checkpoint")):
            time.sleep(0.001)
        command.send_signal(signal.SIGSTOP)  # in the middle of a trial: the others are left to the worker
        worker = None
        while command.poll() is None and not (worker and held_by(worker, folder)):
            worker = next((child for child in children(command.pid) if "spawn_main" in command_of(child)), None)
            time.sleep(0.001)
        assert worker is not None, command.communicate()
        os.kill(worker if killed == "a worker" else command.pid, signal.SIGKILL)
        command.send_signal(signal.SIGCONT)
        _, shown = command.communicate(timeout=120)
    finally:
        command.kill()
        command.communicate()
    if killed == "a worker":
        assert command.returncode == 0
        assert "a worker ended early (exit code -9): its trial is trained here" in shown
    ends = time.monotonic() + 30
    while is_alive(worker) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not is_alive(worker)
    outcome, whole = execute(make(*changes), 4), execute(make(*changes, out="unbroken"), 4)
    assert [trial.settings for trial in outcome.trials] == [trial.settings for trial in whole.trials]
    assert (outcome.trials, outcome.best, outcome.figures) == (whole.trials, whole.best, whole.figures)
    assert students(folder) == students(tmp_path / "unbroken")
    assert not list(folder.rglob("*.checkpoint"))


def children(process):
    """The processes that a process started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(") ")[2].split()[1] == str(process):
                found.append(int(stat.parent.name))
    return found


def command_of(process):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text()
    return ""


def is_alive(process):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def held_by(process, folder):
    """Whether a process is in the middle of a trial: it holds the lock of its folder, and has saved something of it."""
    held = set()
    with contextlib.suppress(OSError):
        held = {os.readlink(link) for link in Path(f"/proc/{process}/fd").iterdir()}
    return any(
        f"{trial}/.lock" in held and list(trial.glob("checkpoints/*/*.checkpoint")) for trial in folder.glob("trials/*")
    )


def test_a_trial_of_another_worker_is_left_alone_until_that_worker_ends(make):
    tuning = make()
    tuning.folder.claim(tuning.written())
    trials = Trials(tuning.folder.path / "trials.sqlite", tuning.searched, tuning.figure)
    try:
        with tuning._claimed(trials, 2) as first, tuning._claimed(trials, 2) as second:
            assert (first.number, second.number) == (0, 1)
            with tuning._claimed(trials, 2) as none:
                assert none is None
        with tuning._claimed(trials, 2) as again:  # it was not finished, and its worker is gone
            assert again.number == 0
    finally:
        trials.close()
