"""The most memory of one loop, and how long its first step takes: in a process of its own, which runs this file.

``python -m benchmarks.memory LIBRARY KIND PAIR`` prints both as JSON. What comes before the loop is nobody's cost: the
clock and the peak begin when the libraries are imported and the teacher's knowledge is made. What a library makes for
this one training is its own: ours the store that is filled, TextBrewer's cache.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS, IMAGES = 7, 640


def in_own_process(library: str, kind: str, pair: str) -> dict[str, float] | None:
    """Bytes at most, and seconds from the imported library to the end of the first step; None where it fails."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", library, kind, pair]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        print(f"{library} {kind}: {run.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def main(library: str, kind: str, pair: str) -> None:
    if library == "understudy":
        from benchmarks import ours as module
    else:
        from benchmarks import peers as module  # type: ignore[no-redef]

        module.load(library)
    import torch

    from benchmarks.workload import PAIRS, Work
    from understudy.measure.machine import peak_memory, reset_peak_memory

    work, cpu = Work(PAIRS[pair], IMAGES), torch.device("cpu")
    work.teacher()
    reset_peak_memory(cpu)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if library == "understudy":
            loop = module.loop(work, kind, module.FAST, Path(folder))
        else:
            loop = module.loop(library, work, kind)
        loop.step()
        first = time.perf_counter() - began
        for _ in range(STEPS - 1):
            loop.step()
    print(json.dumps({"bytes": peak_memory(cpu)["process"], "first_step": first}))


if __name__ == "__main__":
    main(*sys.argv[1:])
