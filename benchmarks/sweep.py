"""Trainings of soft targets at different settings, in a process of its own, which runs this file.

``python -m benchmarks.sweep PAIR IMAGES EPOCHS FIRST COUNT [HOW]`` prints their seconds, imports left out. ``HOW`` is
``together``, all in turn, or the folder of a store; without it, each is a training by itself. In a store each epoch has
views of its own, as in a separate run.
"""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import ours
from benchmarks.workload import PAIRS, Work
from understudy import Stage
from understudy.methods import find
from understudy.teacher.shared import SharedPasses
from understudy.training.interleaved import Interleaved

TOGETHER = "together"
GRID = [{"temperature": t, "weight": w} for t in (1, 2, 4, 8) for w in (0.3, 0.6, 0.9)]


def in_own_process(pair: str, images: int, epochs: int, first: int, count: int, how: str = "") -> float:
    """Seconds of ``count`` trainings from the ``first`` of the grid on."""
    words = [pair, images, epochs, first, count, *([how] if how else [])]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.sweep", *map(str, words)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def main(pair: str, images: str, epochs: str, first: str, count: str, how: str = "") -> None:
    work, config = Work(PAIRS[pair], int(images)), replace(ours.CONFIG, epochs=int(epochs))
    work.teacher()  # its knowledge is made once, and is nobody's cost
    stages = [find("kd")(config, **settings) for settings in GRID[int(first) :][: int(count)]]
    began = time.perf_counter()
    if how == TOGETHER:
        _together(work, stages)
    else:
        for found in stages:
            ours.training(work, found, ours.FAST, Path(how) if how else None, views=config.epochs).run()
    print(time.perf_counter() - began)


def _together(work: Work, stages: list[list[Stage]]) -> None:
    turns, shared = Interleaved(), SharedPasses(len(stages))
    for found in stages:
        turns.add(ours.training(work, found, ours.FAST, shared=shared))
    for _ in stages:
        turns.until_one_ends()


if __name__ == "__main__":
    main(*sys.argv[1:])
