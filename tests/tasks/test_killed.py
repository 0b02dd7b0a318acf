"""Runs of other tasks than classification that SIGKILL ends, and that end with the same student after all."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tasks.test_links import write as write_triples
from tests.tasks.test_segmentation import write_penn_fudan

ROOT = Path(__file__).parents[2]
RECIPE = """
title = "killed"
seeds = [0]
[data]
root = "data"
{data}
[teacher]
accept_weak = true
{teacher}
train = {{ epochs = 1, batch = 8 }}
[student]
{student}
[train]
epochs = 6
batch = 4
{train}
[methods.tried]
{method}
"""
PENN = "name = 'pennfudan'\nsize = 32\nvalidation = 2\ntargets = "
VIEWS = "augmentation = { shift = 2, flip = true }\n[answers]\nviews = 2\ntaps = 'exact'"
HINTED = (
    "Labels() + KD(temperature=1) + Localisation() + 0.1 * Hint('neck.0 -> neck.0', reduce='relative', where='targets')"
)
CASES = {
    "links": (
        write_triples,
        {
            "data": "name = 'triples'\nnegatives = 6",
            "teacher": "network = 'complex'\nsettings = { width = 8 }",
            "student": "network = 'complex'\nsettings = { width = 2 }",
            "train": "optimizer = { name = 'adagrad', lr = 0.3 }",
            "method": "method = 'kd'\ntemperature = 1",
        },
        {"mrr", "hits_at_10", "agreement", "overlap"},
    ),
    "segmentation": (
        write_penn_fudan,
        {
            "data": f"{PENN}'masks'",
            "teacher": "network = 'unet'\nsettings = { width = 4, depth = 1 }",
            "student": "network = 'unet'\nsettings = { width = 2, depth = 1, stride = 2 }",
            "train": VIEWS,
            "method": "method = 'terms'\nterms = 'Labels() + KD(temperature=1) + CWD(maps=\"head -> head\")'",
        },
        {"miou", "agreement"},
    ),
    "detection": (
        write_penn_fudan,
        {
            "data": f"{PENN}'boxes'",
            "teacher": "network = 'fcos'\nsettings = { width = 6, finest = 8, tower = 1 }",
            "student": "network = 'fcos'\nsettings = { width = 2, finest = 8, tower = 1 }",
            "train": VIEWS,
            "method": f'method = "terms"\nterms = "{HINTED}"',
        },
        {"ap", "ap50", "overlap"},
    ),
}
# Both in one process, since imports take most of the time.
BOTH = """
import sys
from understudy.cli._app import run
for out in ("killed", "whole"):
    sys.argv = ["understudy", *{command!r}, "--out", out]
    if code := run():
        sys.exit(code)
"""
COMMAND = ["distill", "recipe.toml", "--no-check", "--settings", "plain", "--checkpoint-seconds", "0"]


@pytest.mark.parametrize("task", CASES)
def test_a_run_that_is_killed_ends_with_the_same_student(task, tmp_path):
    write, parts, figures = CASES[task]
    write(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(RECIPE.format(**parts))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    pipes = {"cwd": tmp_path, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    killed = subprocess.Popen([sys.executable, "-m", "understudy", *COMMAND, "--out", "killed"], **pipes)
    while killed.poll() is None and not list((tmp_path / "killed").glob("checkpoints/tried-0/*.checkpoint")):
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    _, problems = killed.communicate()
    assert killed.returncode == -signal.SIGKILL, problems.decode()
    student = "trainings/tried-0/student.safetensors"
    assert not (tmp_path / "killed" / student).exists()
    done = subprocess.run([sys.executable, "-c", BOTH.format(command=COMMAND)], **pipes, check=False)
    assert done.returncode == 0, done.stderr.decode()
    students = [(tmp_path / out / student).read_bytes() for out in ("killed", "whole")]
    assert students[0] == students[1]
    assert (tmp_path / "killed" / "report.html").exists()
    assert ("answers" in parts["train"]) == bool(list((tmp_path / "killed").glob("stored/*/*")))
    result = json.loads((tmp_path / "killed" / "result.json").read_text())
    assert figures <= set(result["methods"]["tried"]["figures"])
