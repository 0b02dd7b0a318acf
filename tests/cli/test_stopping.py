"""The real thing: ``python -m understudy distill``, killed, stopped and damaged, ends with the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from understudy import recipe as recipes
from understudy.runs import Run

HINT, WHOLE = 24, 36  # steps of the two stages: 6 and 9 epochs of 4
CHANGES = [
    "train.epochs=15",
    "methods.fitnets.hint_epochs=6",
    "train.ema=0.9",
    "train.augmentation={shift = 1, flip = true, mixup = 0.3}",
]
ROOT = Path(__file__).parents[2]
NEWEST = "trainings/fitnets-0/student.safetensors"


@pytest.fixture(scope="module")
def expected(_workplace, tmp_path_factory):
    """The student of an unbroken run, made in this process."""
    out = tmp_path_factory.mktemp("unbroken")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(_workplace)
        patch.syspath_prepend(_workplace)
        run = Run(recipes.read(Path("recipe.toml"), CHANGES), out, trusted=["smallnets"])
        run.folder.claim(recipes.write(run.recipe))
        run.carry_out(run.plan.names)
    return (out / NEWEST).read_bytes()


@pytest.fixture
def start(workplace, tmp_path):
    """Starts the command; what still runs at the end of the test is killed."""
    started = []

    def begin():
        options = ["--no-check", "--checkpoint-seconds", "0", "--trust", "smallnets"]
        options += [word for change in CHANGES for word in ("--set", change)]
        process = subprocess.Popen(
            [sys.executable, "-m", "understudy", "distill", "recipe.toml", "--out", str(tmp_path / "run"), *options],
            cwd=workplace,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def saved(folder):
    return sorted(int(path.stem) // 100 for path in folder.glob("checkpoints/fitnets-0/*.checkpoint"))


def wait_for(process, folder, step):
    """Until a checkpoint of this step, or of a later one, is there."""
    while process.poll() is None and not (saved(folder) and saved(folder)[-1] >= step):
        time.sleep(0.001)
    assert process.poll() is None, process.communicate()


@pytest.mark.slow
def test_killed_at_random_moments_of_both_stages_a_run_ends_with_the_same_bytes(start, make_run, tmp_path, expected):
    dice, folder = random.Random(2), tmp_path / "run"
    moments = [
        dice.randint(1, 8),
        dice.randint(10, HINT),
        HINT + dice.randint(1, 12),
        HINT + dice.randint(14, WHOLE - 6),
    ]
    for moment in moments:
        process = start()
        wait_for(process, folder, moment)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not (folder / NEWEST).exists()
        assert not (folder / "result.json").exists()
    make_run(*CHANGES, out=folder).execute()  # in this process, which is quicker; the next test ends by the command
    assert (folder / NEWEST).read_bytes() == expected
    assert (folder / "student.safetensors").read_bytes() == expected


@pytest.mark.slow
def test_stopped_by_signals_and_with_a_damaged_checkpoint_a_run_says_so_and_goes_on(start, tmp_path, expected):
    folder = tmp_path / "run"
    for moment, number, code in ((4, signal.SIGTERM, 143), (HINT + 4, signal.SIGINT, 130)):
        process = start()
        wait_for(process, folder, moment)
        process.send_signal(number)
        out, said = process.communicate()
        assert process.returncode == code
        assert out == ""
        last = said.strip().splitlines()[-1]
        assert last == f"understudy: stopped by {number.name}; everything is saved: run the same command again to go on"
        assert "Traceback" not in said
    newest = max(folder.glob("checkpoints/fitnets-0/*.checkpoint"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 8
    newest.write_bytes(content)
    process = start()
    out, said = process.communicate()
    assert process.returncode == 0, said
    assert f"{newest.name} is damaged" in said.replace("\n", "")
    assert "falling back to the one before it" in " ".join(said.split())
    assert "student.safetensors" in out
    assert (folder / NEWEST).read_bytes() == expected
