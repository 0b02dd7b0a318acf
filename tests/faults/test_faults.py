"""A sample of ``make faults``: errors, full disks and SIGKILLs at single operations, and the same command again."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.injector import Place

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="the reaper of orphans is Linux's")
def test_a_sample_of_faults_loses_nothing():
    sample = ["--faults", "8", "--only", "two workers", "--only", "stored answers", "--check"]
    command = [sys.executable, "-W", "ignore", str(ROOT / "scripts/faults.py"), *sample]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "0 failed" in done.stdout


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("run/trainings/kd-0/.student.json.part", "run/trainings/NAME/.student.json"),
        ("run/checkpoints/kd-0/000000000400.checkpoint", "run/checkpoints/NAME/N.checkpoint"),
        ("run/stored/Teacher-1f/logits-0000001.answers", "run/stored/TEACHER/logitsN.answers"),
        ("run/samples/17.png", "run/samples/N.png"),
        ("cache/nodes/1f2e/result.json", "cache/nodes/KEY/result.json"),
    ],
)
def test_places_of_one_kind_have_one_name(path, kind):
    assert Place("main", "write", path, 0).kind_of_file == kind
