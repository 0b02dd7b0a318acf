"""Two machines, as two addresses of the loopback: the students of two processes of one machine, also after a kill.

python -m tests.ranks.machines
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.ranks.group import free_port
from tests.ranks.kills import RECIPE, digests, newest, ranks_of, students

ADDRESSES = ("127.0.0.2", "127.0.0.3")


def start(folder: Path, out: Path) -> list[subprocess.Popen[bytes]]:
    """An agent for each address."""
    command = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-id=two", "--nnodes=2"]
    command += [f"--rdzv-endpoint=127.0.0.1:{free_port()}", "--nproc-per-node=1", "--max-restarts=3"]
    last = ["-m", "understudy", "distill", str(folder / "recipe.toml"), "--out", str(out), "--no-check"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    agents = []
    for address in ADDRESSES:
        with (folder / f"{out.name}-{address}.log").open("wb") as log:
            words = [*command, f"--local-addr={address}", *last, "--checkpoint-seconds", "0.2"]
            agents.append(subprocess.Popen(words, stdout=log, stderr=log, env=environment))
    return agents


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "recipe.toml").write_text(RECIPE)
        one = [
            "-m",
            "torch.distributed.run",
            "--rdzv-backend=c10d",
            "--rdzv-endpoint=127.0.0.1:0",
            "--nproc-per-node=2",
        ]
        one += ["-m", "understudy", "distill", str(folder / "recipe.toml"), "--out", str(folder / "one"), "--no-check"]
        quiet = {"check": True, "capture_output": True, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
        subprocess.run([sys.executable, *one], **quiet)  # type: ignore[call-overload]
        wanted = digests(students(folder / "one"))
        for kills in (0, 1):
            out = folder / f"two-{kills}"
            agents = start(folder, out)
            for _ in range(kills):
                while newest(out) is None and all(agent.poll() is None for agent in agents):
                    time.sleep(0.05)
                time.sleep(2)
                (victim,) = ranks_of(random.Random(0).choice(agents).pid).values()
                os.kill(victim, signal.SIGKILL)
            codes = [agent.wait() for agent in agents]
            if codes != [0, 0] or digests(students(out)) != wanted:
                for log in sorted(folder.glob(f"{out.name}-*.log")):
                    print(log.read_text()[-3000:])
                raise SystemExit(f"two machines with {kills} kills: {codes}, or other students")
            print(f"two addresses, {kills} kills: the students of two processes of one machine", flush=True)


if __name__ == "__main__":
    main()
