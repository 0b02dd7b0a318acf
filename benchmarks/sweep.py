"""Trainings of soft targets at different settings, in a process of its own, which runs this file.

``python -m benchmarks.sweep PAIR IMAGES EPOCHS FIRST COUNT [STORE]`` prints their seconds, imports left out.
"""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import ours
from benchmarks.workload import PAIRS, Work
from understudy.methods import find

GRID = [{"temperature": t, "weight": w} for t in (1, 2, 4, 8) for w in (0.3, 0.6, 0.9)]


def in_own_process(pair: str, images: int, epochs: int, first: int, count: int, store: str | None) -> float:
    """Seconds of ``count`` trainings from the ``first`` of the grid on, which share a store where one is named."""
    words = [pair, images, epochs, first, count, *([store] if store else [])]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.sweep", *map(str, words)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def main(pair: str, images: str, epochs: str, first: str, count: str, store: str | None = None) -> None:
    work, course = Work(PAIRS[pair], int(images)), replace(ours.COURSE, epochs=int(epochs))
    work.teacher()  # its knowledge is made once, and is nobody's cost
    began = time.perf_counter()
    for settings in GRID[int(first) :][: int(count)]:
        found = find("kd")(course, **settings)
        ours.training(work, found, ours.FAST, Path(store) if store else None).run()
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
