"""A whole run that SIGKILL ends, with answers stored and hints at targets, ends with the same student after all.

Trainings of every task are killed in ``test_tasks.py``.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.tasks.test_segmentation import write_penn_fudan

ROOT = Path(__file__).parents[2]
HINTED = (
    "Labels() + KD(temperature=1) + Localisation() + 0.1 * Hint('neck.0 -> neck.0', reduce='relative', where='targets')"
)
RECIPE = f"""
title = "killed"
seeds = [0]
[data]
root = "data"
name = "pennfudan"
size = 32
validation = 2
targets = "boxes"
[teacher]
accept_weak = true
network = "fcos"
settings = {{ width = 6, finest = 8, tower = 1 }}
train = {{ epochs = 1, batch = 8 }}
[student]
network = "fcos"
settings = {{ width = 2, finest = 8, tower = 1 }}
[train]
epochs = 6
batch = 4
augmentation = {{ shift = 2, flip = true }}
[answers]
views = 2
taps = "exact"
[methods.tried]
method = "terms"
terms = "{HINTED}"
"""
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


def test_a_run_that_is_killed_ends_with_the_same_student(tmp_path):
    write_penn_fudan(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(RECIPE)
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
    assert list((tmp_path / "killed").glob("stored/*/*"))
    result = json.loads((tmp_path / "killed" / "result.json").read_text())
    assert {"ap", "ap50", "overlap"} <= set(result["methods"]["tried"]["figures"])
