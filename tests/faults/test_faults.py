"""A sample of ``make faults``: errors, full disks and SIGKILLs at single operations, and the same command again."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.injector import Place
from tests.faults.scenarios import ANSWERS
from tests.faults.server import _differing, _lost

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


def test_what_is_lost_left_over_or_different_is_seen():
    again = [Place("main", "rename", f"run/checkpoints/kd-0/{number:012d}.checkpoint", 0) for number in (300, 400)]
    assert _lost({}, [], again) == []
    assert _lost({"run/checkpoints/kd-0": 200}, [], again) == []
    assert "went on from before 300" in _lost({"run/checkpoints/kd-0": 300}, [], again)[0]
    assert "was finished and is trained again" in _lost({}, ["run/checkpoints/kd-0"], again)[0]
    assert _differing({"a": "1", "b": "2"}, {"b": "2", "a": "1"}) == []
    assert _differing({"a": "1", "b": "2"}, {"b": "3", "c": "4"}) == ["a missing, b differs, c left over"]


def test_answers_that_could_not_be_stored_may_be_missing_and_never_others():
    file, whole = "run/stored/Teacher/logits-0000000.answers", f"{ANSWERS}0a0b"
    assert _differing({file: whole}, {file: f"{ANSWERS}0a00"}) == [f"{file} differs"]
    assert _differing({file: whole}, {file: f"{ANSWERS}0a00"}, unstored=True) == []
    assert _differing({file: whole}, {file: ANSWERS}, unstored=True) == []
    assert _differing({file: whole}, {}, unstored=True) == []
    assert _differing({file: whole}, {file: f"{ANSWERS}0a0c"}, unstored=True) == [f"{file} differs"]
