"""What several processes gain: samples per second of training on 1, 2, ... processes of this machine, a thread each.

    python scripts/ranks.py --processes 1 2

Each number of processes trains the same recipe through torchrun, on the demo's images, and the seconds are those of the
log. Run it on a quiet machine, with at least as many cores as processes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RECIPE = """
seeds = [0]
[data]
name = "demo"
validation = 500
[student]
network = "resnet14"
settings = { channels = 1 }
[settings]
precision = "float32"
threads = 1
[train]
epochs = 2
batch = 128
[methods.alone]
"""


def seconds(folder: Path, processes: int) -> float:
    """Of the last epoch."""
    out = folder / str(processes)
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
        command += [f"--nproc-per-node={processes}"]
    command += ["-m", "understudy", "distill", str(folder / "recipe.toml"), "--out", str(out), "--no-check"]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return float(lines[-1]["seconds"] - lines[-2]["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    chosen = parser.parse_args().processes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "recipe.toml").write_text(RECIPE)
        first = None
        for processes in chosen:
            taken = seconds(folder, processes)
            first = first or taken
            print(f"{processes} processes: {taken:.1f} s an epoch, {first / taken:.2f} times the speed of {chosen[0]}")


if __name__ == "__main__":
    main()
