"""``understudy path``: what it prints, seen before it is run, killed in the middle."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from tests.running.test_path import SEARCH
from understudy import recipe as recipes
from understudy.cli import main
from understudy.cli._graph import GraphLive
from understudy.running.path import PathRun


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


def test_a_users_mistake_is_a_line(path, tmp_path):
    for words, told in [(["--budget", "soon"], "--budget 'soon'"), (["--set", "path.sizes=[8]"], "each size once")]:
        code, _, err = path("--out", tmp_path / "run", *words)
        assert code == 2
        assert told in err


def test_the_graph_says_what_is_done_what_runs_and_what_is_left(workplace, quick, tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    live = GraphLive(console)
    seen: list[str] = []

    def observe(search):
        live.observe(search)
        with console.capture() as captured:
            console.print(*live.bars.get_renderables())
        seen.append(captured.get())

    recipe = recipes.parse(SEARCH, "search.toml", ["seeds=[0]"])
    PathRun(recipe, tmp_path / "run", trusted=["smallnets"], watcher=live, observer=observe).execute()
    assert "waiting" in seen[0]
    assert any("up to" in text and "left" in text for text in seen)
    assert "8 done, 0 running, 0 waiting" in seen[-1]
    assert seen[-1].count("%") == 8


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
