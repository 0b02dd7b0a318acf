"""``understudy path``: what it prints, seen before it is run, killed in the middle."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from tests.runs.test_path import SEARCH
from understudy import recipe as recipes
from understudy.cli import main
from understudy.cli._graph import GraphLive
from understudy.plans.engines import Processes
from understudy.runs.path import PathRun
from understudy.training.callbacks import Callback, Callbacks


@pytest.fixture
def path(workplace, quick, tmp_path, monkeypatch, capsys):
    """Runs the command on the small search; answers with exit code, stdout and stderr."""
    (tmp_path / "search.toml").write_text(SEARCH)

    def run(*words: object) -> tuple[int, str, str]:
        command = ["understudy", "path", tmp_path / "search.toml", "--trust", "smallnets", "--set", "seeds=[0]", *words]
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return caught.value.code or 0, shown.out, shown.err

    return run


def test_it_is_seen_before_it_is_run_and_counted_after(path, tmp_path):
    code, before, _ = path("--out", tmp_path / "run", "--strategy", "best-first", "--dry-run")
    assert code == 0
    assert "4 trainings: 0 there already, 4 to train" in before
    assert "up to 3 more, depending on what comes out" in before
    assert not (tmp_path / "run").exists()
    code, out, err = path("--out", tmp_path / "run", "--strategy", "best-first")
    assert code == 0
    assert "Best path: 8 → " in out
    assert "Searched: " in out
    assert "7 trainings, each once: 7 trained now, 0 there already" in out
    saved = "6 student trainings and the teacher; 4 separate paths would need 8 and 4."
    assert saved in out
    assert saved in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "7 done, 0 running, 0 waiting" in err
    assert "Searched by best-first" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    _, after, _ = path("--out", tmp_path / "run", "--strategy", "best-first", "--dry-run")
    assert "7 there already, 0 to train" in after


def test_a_budget_and_a_limit_are_told_in_the_json(path, tmp_path):
    code, out, _ = path("--out", tmp_path / "run", "--budget", "3", "--max-assistants", "1", "--json")
    assert code == 0
    found = json.loads(out)["path"]
    assert (found["strategy"], found["trainings"]) == ("limited", 3)
    assert found["left"]


def test_a_dry_run_says_how_far_a_time_goes(path, tmp_path):
    def seen(folder: str, time: str, *words: str) -> str:
        code, out, _ = path(
            "--out", tmp_path / folder, "--cache", tmp_path / "cache", "--budget", time, "--dry-run", *words
        )
        assert code == 0
        return out

    before = seen("run", "3h")
    assert "8 trainings: 0 there already, 8 to train" in before
    line = before.splitlines()[-1]
    assert line.startswith(
        "a time of 3.0 h: no training is done that tells how far it goes; this is all that could run"
    )
    assert "a time of" not in path("--out", tmp_path / "run", "--dry-run")[1]
    assert path("--out", tmp_path / "run", "--cache", tmp_path / "cache", "--budget", "3")[0] == 0
    line = seen("run", "3h").splitlines()[-1]
    assert re.fullmatch(
        r"a time of 3\.0 h, \d+ s of it spent: all of it takes about \d+ s one after another, as what is done tells: "
        "there is time for all of it",
        line,
    )
    assert seen("run", "0.001s").splitlines()[-1].startswith("the time of 0 s is over")
    assert seen("other", "0.001s").splitlines()[-1].endswith("as what is done tells: more than there is time for")
    time = json.loads(seen("other", "3h", "--json"))["seconds"]
    assert (time["budget"], time["spent"]) == (10_800, 0)
    assert time["needed"] > 0
    assert path("--out", tmp_path / "run", "--cache", tmp_path / "cache")[0] == 0
    assert "a time of" not in seen("run", "3h")


def test_a_users_mistake_is_a_line(path, tmp_path):
    for words, told in [(["--budget", "soon"], "--budget 'soon'"), (["--set", "path.sizes=[8]"], "each size once")]:
        code, _, err = path("--out", tmp_path / "run", *words)
        assert code == 2
        assert told in err


class Looking(Callback):
    """Looks at the display whenever a training tells something."""

    def __init__(self, live, training=""):
        self.live, self.training, self.looks = live, training, []

    def of(self, training):
        callback = Looking(self.live, training)
        callback.looks = self.looks
        return callback

    def stage_begins(self, name, objective, epochs, epoch):
        self.look()

    def step(self, done, loss):
        self.look()

    def look(self):
        with self.live.console.capture() as captured:
            self.live.console.print(*self.live.bars.get_renderables())
        self.looks.append((self.training, captured.get(), self.live.seconds_left))


def graph_of(folder, **options):
    """The display of a search, and who looked at it."""
    live = GraphLive(Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None))
    looking = Looking(live)
    recipe = recipes.parse(SEARCH, "search.toml", ["seeds=[0]"])
    callback = Callbacks(live, looking)
    PathRun(recipe, folder, trusted=["smallnets"], callback=callback, observer=live.observe, **options).execute()
    looking.look()
    return looking.looks


def running(text):
    """The sizes that are said to run."""
    return [re.search(r"(\d+)  running", line)[1] for line in text.splitlines() if "  running, 0 of 1 seed" in line]


def test_the_graph_says_what_is_done_what_runs_and_what_is_left(workplace, quick, tmp_path):
    *looks, (_, last, left) = graph_of(tmp_path / "run")
    assert len({training for training, _, _ in looks}) == 8
    for training, text, _ in looks:
        size = "8" if training == "teacher-0" else training.split("-")[-2]
        assert running(text) == [size]
        assert ", 1 running, " in text
    assert "waiting" in looks[0][1]
    assert any("up to" in text and "left" in text for _, text, _ in looks)
    assert "8 done, 0 running, 0 waiting" in last
    assert last.count("%") == 8
    assert left == 0


def test_the_time_left_goes_down_while_a_training_runs(workplace, quick, tmp_path):
    looks = graph_of(tmp_path / "run")[:-1]
    assert {left for training, _, left in looks if training == "teacher-0"} == {0}  # nothing tells yet
    for (before, _, more), (training, _, left) in pairwise(looks):
        if training == before != "teacher-0":
            assert 0 <= left < more or left == more == 0


def test_what_worker_processes_train_is_said_to_run(workplace, quick, tmp_path):
    *looks, _ = graph_of(tmp_path / "run", engine=lambda builders, callback, stop: Processes(2, callback, stop))
    assert len({training for training, _, _ in looks}) == 8
    for training, text, _ in looks:
        assert ("8" if training == "teacher-0" else training.split("-")[-2]) in running(text)


def test_killed_in_the_middle_it_goes_on_and_answers_the_same(path, tmp_path, workplace):
    code, out, _ = path("--out", tmp_path / "whole", "--json")
    assert code == 0
    command = [sys.executable, "-m", "understudy", "path", tmp_path / "search.toml", "--trust", "smallnets"]
    command += ["--set", "seeds=[0]", "--out", tmp_path / "run", "--checkpoint-seconds", "0"]
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, str(workplace)]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=workplace, env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list((tmp_path / "run" / "trainings").glob("*/result.json"))) < 3:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "result.json").exists()
    code, again, _ = path("--out", tmp_path / "run", "--json")
    assert code == 0
    assert json.loads(again)["path"] == json.loads(out)["path"]
    weights = [(tmp_path / run / "student.safetensors").read_bytes() for run in ("whole", "run")]
    assert weights[0] == weights[1]
