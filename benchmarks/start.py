"""What a user waits for until training is under way: the import, and all from there to the end of the first step.

``python -m benchmarks.start HOW FOLDER`` prints both as JSON, from a process that has imported nothing before. ``call``
is ``understudy.distill`` with default arguments, networks and data included; ``command`` is ``understudy distill`` with
default settings. ``prepared`` writes what both read into the folder: a data set of CIFAR-100's form and size, and a
teacher that knows it.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

CALL = "understudy.distill(...) from Python"
COMMAND = "understudy distill"
STARTS = ("import", "first_step")  # what is measured of each
RECORDS = (50_000, 10_000)  # of training, of test
PICTURES = 2560  # that are different


def variants(pair: str, folder: Path) -> dict[str, Callable[[], dict[str, float] | None]]:
    """The ways to begin, each in a process of its own."""
    prepared(pair, folder)
    return {CALL: partial(in_own_process, "call", folder), COMMAND: partial(in_own_process, "command", folder)}


def in_own_process(how: str, folder: Path) -> dict[str, float] | None:
    """Seconds of the import, and from there to the end of the first step; None where it fails."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.start", how, str(folder)]
    surroundings = {**os.environ, "UNDERSTUDY_DATA": str(folder)}
    run = subprocess.run(command, capture_output=True, text=True, env=surroundings)
    if run.returncode:
        print(f"{how}: {run.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def prepared(pair: str, folder: Path, records: Sequence[int] = RECORDS) -> None:
    """What a user has before anything begins."""
    import torch
    from safetensors.torch import save_file

    from benchmarks.workload import MEAN, PAIRS, STD, Work

    work = Work(PAIRS[pair], PICTURES)
    save_file(work.teacher().state_dict(), folder / "teacher.safetensors")
    pixels, labels = work.pixels
    coarse = torch.zeros(len(labels), 1, dtype=torch.uint8)
    rows = torch.cat([coarse, labels.byte()[:, None], pixels.flatten(1)], 1)
    place = folder / "cifar-100-binary"
    place.mkdir()
    for name, count in zip(("train.bin", "test.bin"), records, strict=True):
        rows[torch.arange(count) % len(rows)].numpy().tofile(place / name)
    said = {"teacher": work.pair.teacher, "student": work.pair.student, "mean": MEAN, "std": STD}
    (folder / "networks.json").write_text(json.dumps(said), encoding="utf-8")
    (folder / "recipe.toml").write_text(
        f"""
[data]
name = "cifar100"
[teacher]
network = "{work.pair.teacher}"
weights = "{folder / "teacher.safetensors"}"
mean = {list(MEAN)}
std = {list(STD)}
[student]
network = "{work.pair.student}"
[methods.kd]
""",
        encoding="utf-8",
    )


class _FirstStepError(BaseException):
    """It has been taken: there is nothing to wait for any more. None of the errors that somebody handles."""


def _first_step(*_: object) -> NoReturn:
    raise _FirstStepError


def _call(folder: Path) -> float:
    """Answers with when the import was over."""
    import understudy
    from understudy.models import Normalized, build, load_weights
    from understudy.training.callbacks import Callback

    imported = time.perf_counter()
    callback = Callback()
    callback.step = _first_step  # type: ignore[method-assign]
    said: dict[str, Any] = json.loads((folder / "networks.json").read_text(encoding="utf-8"))
    teacher, student = (build(said[role], classes=100) for role in ("teacher", "student"))
    load_weights(teacher, folder / "teacher.safetensors")
    networks = [Normalized(network, said["mean"], said["std"]) for network in (teacher, student)]
    with contextlib.suppress(_FirstStepError):
        understudy.distill(*networks, "cifar100", callback=callback)
    return imported


def _command(folder: Path) -> float:
    """The command itself, in this process, with somebody else before its bars."""
    import torch  # noqa: F401 - which the command imports when it runs, as any program that trains

    from understudy.cli import distill
    from understudy.cli._app import app

    imported = time.perf_counter()

    class Live(distill.Live):
        def of(self, training: str) -> "Live":
            return self

        step = _first_step

    distill.Live = Live  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as runs, contextlib.suppress(_FirstStepError):
        app(["distill", str(folder / "recipe.toml"), "--out", f"{runs}/run"], standalone_mode=False)
    return imported


def main(how: str, folder: str) -> None:
    began = time.perf_counter()
    imported = {"call": _call, "command": _command}[how](Path(folder))
    print(json.dumps(dict(zip(STARTS, (imported - began, time.perf_counter() - imported), strict=True))))


if __name__ == "__main__":
    main(*sys.argv[1:])
