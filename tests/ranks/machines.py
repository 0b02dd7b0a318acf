"""Two machines, as two addresses of the loopback, and as nodes of a Ray cluster: the students of two processes of one.

    python -m tests.ranks.machines

Also after a process was killed, and after a node of the Ray cluster was lost. What holds is added to results/ranks.md.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.ranks.group import free_port
from tests.ranks.kills import RECIPE, digests, newest, ranks_of, students

ADDRESSES = ("127.0.0.2", "127.0.0.3")
TITLE = "## Two machines"
Digests = dict[str, str]


def understudy(folder: Path, out: Path) -> list[str]:
    return ["-m", "understudy", "distill", str(folder / "recipe.toml"), "--out", str(out), "--no-check"]


def start(folder: Path, out: Path) -> list[subprocess.Popen[bytes]]:
    """An agent for each address."""
    command = [sys.executable, "-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-id=two", "--nnodes=2"]
    command += [f"--rdzv-endpoint=127.0.0.1:{free_port()}", "--nproc-per-node=1", "--max-restarts=3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    agents = []
    for address in ADDRESSES:
        with (folder / f"{out.name}-{address}.log").open("wb") as log:
            words = [*command, f"--local-addr={address}", *understudy(folder, out), "--checkpoint-seconds", "0.2"]
            agents.append(subprocess.Popen(words, stdout=log, stderr=log, env=environment))
    return agents


def wait_for_a_checkpoint(out: Path, *running: subprocess.Popen[bytes]) -> None:
    while newest(out) is None and all(process.poll() is None for process in running):
        time.sleep(0.05)
    time.sleep(1)


def told(folder: Path, out: Path, what: str) -> SystemExit:
    """The end of this program, after the logs of a run."""
    for log in sorted(folder.glob(f"{out.name}*.log")):
        print(log.read_text()[-3000:])
    return SystemExit(f"{what}: other students, or none")


def addresses(folder: Path, wanted: Digests) -> Iterator[str]:
    for kills in (0, 1):
        out = folder / f"two-{kills}"
        agents = start(folder, out)
        for _ in range(kills):
            wait_for_a_checkpoint(out, *agents)
            (victim,) = ranks_of(random.Random(0).choice(agents).pid).values()
            os.kill(victim, signal.SIGKILL)
        what = f"two addresses of the loopback, torchrun's rendezvous between them, {kills} kills"
        if [agent.wait() for agent in agents] != [0, 0] or digests(students(out)) != wanted:
            raise told(folder, out, what)
        yield what


@contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """A Ray cluster of nodes with one core each, so that two processes cannot be on one."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        yield made, [made.add_node(num_cpus=1) for _ in range(nodes)]
    finally:
        made.shutdown()


def ray_nodes(folder: Path, wanted: Digests) -> Iterator[str]:
    for lost in (0, 1):
        out = folder / f"ray-{lost}"
        with cluster(2 + lost) as (made, nodes), (folder / f"{out.name}.log").open("wb") as log:
            options = ["--engine", "ray", "--address", made.address, "--set", "settings.ranks=2"]
            command = [sys.executable, *understudy(folder, out), *options, "--checkpoint-seconds", "0.2"]
            run = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
            if lost:
                wait_for_a_checkpoint(out, run)
                made.remove_node(next(node for node in nodes if busy(node)), allow_graceful=False)
            code = run.wait()
        what = f"nodes of a Ray cluster with one core each, of which {lost} {'is' if lost else 'are'} lost"
        if code or digests(students(out)) != wanted:
            raise told(folder, out, what)
        yield what


def busy(node: Any) -> bool:
    """Whether a process of the training runs on a node: its raylet has a child that calls itself an actor."""
    raylet = node.all_processes["raylet"][0].process.pid
    children = Path(f"/proc/{raylet}/task/{raylet}/children").read_text().split()
    return any(Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"ray::Actor") for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["addresses", "ray"])
    parser.add_argument("--out", type=Path, default=Path("results/ranks.md"))
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short=9", "HEAD"], capture_output=True, text=True, check=False)
    with tempfile.TemporaryDirectory() as name:
        folder, made = Path(name), []
        (folder / "recipe.toml").write_text(RECIPE)
        agent = ["-m", "torch.distributed.run", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
        command = [sys.executable, *agent, "--nproc-per-node=2", *understudy(folder, folder / "one")]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        for kind, tried in (("addresses", addresses), ("ray", ray_nodes)):
            if options.only in (None, kind):
                for what in tried(folder, digests(students(folder / "one"))):
                    print(f"{what}: the students of two processes of one machine", flush=True)
                    made.append(f"- {what}")
    before = options.out.read_text().split(TITLE)[0].rstrip() if options.out.exists() else "# Ranks"
    lines = [before, "", TITLE, "", f"Made by `python -m tests.ranks.machines` at commit {commit.stdout.strip()}."]
    lines += ["Each of these gives the students of two processes on one machine, byte for byte:", "", *made]
    options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
