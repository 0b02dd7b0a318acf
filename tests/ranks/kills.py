"""Kill processes of a torchrun group by SIGKILL, go on, and compare students: ``make ranks`` (some minutes).

    python -m tests.ranks.kills

Each run trains two methods on the demo's images on two processes. One process is killed after the first checkpoint; the
same command then goes on, on two processes, whose students must be equal byte for byte to those of an unbroken run.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from understudy.files import sha256

RECIPE = """
seeds = [0]
[data]
name = "demo"
validation = 200
student_samples = 256
[teacher]
network = "resnet8"
settings = { channels = 1, widths = [4, 8, 16] }
train = { epochs = 1, optimizer = { lr = 0.05 } }
accept_weak = true
[student]
network = "resnet8"
settings = { channels = 1, widths = [4, 8, 16] }
[settings]
precision = "float32"
threads = 1
[train]
epochs = 2
batch = 32
[methods.fitnets]
[methods.can]
"""


def start(folder: Path, out: Path, processes: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    command += [f"--nproc-per-node={processes}", "-m", "understudy", "distill", str(folder / "recipe.toml")]
    command += ["--out", str(out), "--no-check", "--checkpoint-seconds", "0.3"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, env=os.environ | {"OMP_NUM_THREADS": "1"})


def ranks_of(launcher: int) -> dict[int, int]:
    """The process number of each rank that a launcher started."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    found = {}
    for child in children:
        told = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks = [int(entry.removeprefix(b"RANK=")) for entry in told if entry.startswith(b"RANK=")]
        found |= dict.fromkeys(ranks, int(child))
    return found


def students(out: Path) -> dict[str, str]:
    return {path.parent.name: sha256(path) for path in sorted(out.glob("trainings/*/student.safetensors"))}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "recipe.toml").write_text(RECIPE)
        assert start(folder, folder / "whole", 2).wait() == 0
        wanted = students(folder / "whole")
        assert len(wanted) == 3
        for victim, delay in ((0, 1.0), (1, 4.0), (1, 8.0)):
            out = folder / f"killed-{victim}-{delay}"
            launcher = start(folder, out, 2)
            while launcher.poll() is None and not list(out.glob("checkpoints/*/*.checkpoint")):
                time.sleep(0.1)
            time.sleep(delay)
            if launcher.poll() is None:
                os.kill(ranks_of(launcher.pid)[victim], signal.SIGKILL)
            launcher.wait()
            assert start(folder, out, 2).wait() == 0
            assert students(out) == wanted, (students(out), wanted)
            print(f"process {victim} killed after {delay:g} s: the same students")
        out = folder / "on one"
        launcher = start(folder, out, 2)
        while launcher.poll() is None and not list(out.glob("checkpoints/*/*.checkpoint")):
            time.sleep(0.1)
        time.sleep(2)
        os.kill(ranks_of(launcher.pid)[1], signal.SIGKILL)
        launcher.wait()
        assert start(folder, out, 1).wait() == 0
        assert students(out).keys() == wanted.keys()
        print("begun on two processes, ended on one")


if __name__ == "__main__":
    main()
