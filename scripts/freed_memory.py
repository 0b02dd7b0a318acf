"""What a step gains when glibc keeps freed memory (``hardware.keep_freed_memory``); into ``results/freed_memory.md``.

    OMP_NUM_THREADS=1 python scripts/freed_memory.py

Each figure is the median of the steps of a process; processes with and without it take turns, and the ratio is the
median of the ratios of neighbours. A step is that of kd with ResNet-20 as the live teacher, one thread.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from understudy import Objective
from understudy.config.hardware import keep_freed_memory
from understudy.files import write_atomically
from understudy.measure.machine import machine, versions
from understudy.models import build
from understudy.terms import CE, KD

CASES = (  # student, batch, side of the images, bfloat16
    ("resnet8", 64, 32, False),
    ("resnet8", 64, 32, True),
    ("wrn-16-2", 128, 32, True),
    ("resnet20", 128, 32, False),
    ("resnet8", 32, 112, True),
)
FIRST, STEPS = 3, 14  # the first steps do not count


def step_time(name: str, batch: int, side: int, low: bool) -> tuple[float, int]:
    """Milliseconds of a step, and the largest memory of the process in MiB."""
    torch.set_num_threads(1)
    student, teacher = (build(each).to(memory_format=torch.channels_last) for each in (name, "resnet20"))
    objective = Objective(CE() + KD(temperature=4), student=student, teacher=teacher)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9)
    images = torch.rand(batch, 3, side, side).to(memory_format=torch.channels_last)
    labels, seconds = torch.arange(batch) % 10, list[float]()
    for _ in range(STEPS):
        began = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            outcome = objective(images, labels)
        outcome.loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds[FIRST:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def in_a_process(case: int, *, kept: bool) -> tuple[float, int]:
    command = [sys.executable, "-W", "ignore", __file__, "--case", str(case), *(["--kept"] if kept else [])]
    milliseconds, mebibytes = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return milliseconds, mebibytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/freed_memory.md"))
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        if options.kept and not keep_freed_memory():
            raise SystemExit("this system's malloc cannot be told to keep freed memory")
        print(json.dumps(step_time(*CASES[options.case])))
        return
    rows = [
        "| student | batch | images | | as glibc does | freed memory kept | ratio | memory |",
        "|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for number, (name, batch, side, low) in enumerate(CASES):
        pairs = [[in_a_process(number, kept=kept) for kept in (False, True)] for _ in range(options.rounds)]
        plain, kept = (statistics.median(pair[which][0] for pair in pairs) for which in (0, 1))
        ratio = statistics.median(pair[1][0] / pair[0][0] for pair in pairs)
        memory = f"{pairs[0][0][1]}, {pairs[0][1][1]} MiB"
        kind = "bfloat16" if low else "float32"
        rows.append(f"| {name} | {batch} | {side} | {kind} | {plain:.1f} ms | {kept:.1f} ms | {ratio:.2f} | {memory} |")
        print(rows[-1], flush=True)
    about = ", ".join(f"{name} {value}" for name, value in (machine() | versions()).items())
    lines = ["# Freed memory", "", f"Made by `python scripts/freed_memory.py`. {about}.", ""]
    lines += ["A step of kd with ResNet-20 as the live teacher: medians of steps, and the median of the ratios of"]
    lines += [
        f"{options.rounds} pairs of processes that take turns; the largest memory of a process without and with it.",
        "",
    ]
    write_atomically(options.out, ("\n".join([*lines, *rows]) + "\n").encode())
    print(options.out)


if __name__ == "__main__":
    main()
