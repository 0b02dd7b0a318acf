"""Kill ranks by SIGKILL under torchrun's elastic agent, and compare the students: ``make ranks`` (half an hour).

    python -m tests.ranks.kills --kills 60 --out results/ranks.md
    python -m tests.ranks.kills --kills 20 --counts kills.json  # in pieces: then --kills 40, then --kills 60
    python -m tests.ranks.kills --kills 12 --parallel fsdp --out sharded.md  # the students sharded, saved in parts

Each run trains FitNets (two stages), CAN (an adversary) and CRD (a memory) on the demo's images. One rank, chosen at
random, is killed at a random moment of each of these stages. Where the agent starts the ranks again, and where the same
command goes on, the students must be equal byte for byte to those of an unbroken run on as many ranks. A run that goes
on with another number of ranks must end within ``BOUND`` of it. A run that makes no progress for ``PATIENCE`` seconds,
neither in its files nor in what its processes compute, counts as a hang.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file

from tests.ranks.launch import Launcher, preload
from understudy.files import sha256
from understudy.training import checkpoints, saving

RECIPE = """
seeds = [0]
[data]
name = "demo"
validation = 200
student_samples = 128
[teacher]
network = "resnet-blocks"
settings = { blocks = [1, 2, 1], widths = [32, 64, 128], strides = [2, 2, 2], stem = 16 }
weights = "package:demo/teacher.safetensors"
mean = [0.286]
std = [0.353]
[student]
network = "resnet8"
settings = { channels = 1, widths = [4, 8, 16] }
[settings]
precision = "float32"
threads = 1
[train]
epochs = 4
batch = 32
optimizer = { lr = 0.005 }
[methods.fitnets]
[methods.can]
[methods.crd]
negatives = 64
"""
BOUND = 0.05  # of the weights' norm, between a run that changed its number of ranks and one that did not
PATIENCE = 300.0  # seconds without progress: no file of the run changes, and its processes hardly compute
COMPUTED = 5  # seconds of computing that count as progress, on a machine that is busy with other things
LATEST = 1.0  # seconds from a checkpoint to a kill, at most
STRUCK = ("fitnets, stage 1", "fitnets, stage 2", "can, stage 1", "crd, stage 1")  # by one kill each in a run
WORLDS = (1, 2, 4)
CHANGING = "1, 2 and 4 ranks in turn, in any order"


@dataclass
class Counted:
    """What was seen of one kind of run."""

    kills: int = 0
    runs: int = 0
    equal: int = 0
    hangs: int = 0
    apart: dict[str, float] = field(default_factory=dict)
    places: Counter[str] = field(default_factory=Counter)


class Runs:
    """Runs of the recipe in one folder, and the students of those that were not killed."""

    def __init__(self, folder: Path, seed: int, parallel: str):
        self.folder, self.random = folder, random.Random(seed)
        (folder / "recipe.toml").write_text(RECIPE.replace("[settings]", f'[settings]\nparallel = "{parallel}"'))
        self.whole = {world: self.unbroken(world) for world in WORLDS}

    def unbroken(self, world: int) -> dict[str, Path]:
        out = self.folder / f"whole-{world}"
        if not self.ended(self.start(out, world), out):
            raise SystemExit(f"the run on {world} ranks hangs")
        return students(out)

    def start(self, out: Path, world: int, restarts: int = 0) -> Launcher:
        words = ["distill", str(self.folder / "recipe.toml"), "--out", str(out), "--no-check"]
        return Launcher([*words, "--checkpoint-seconds", "0.2"], world, restarts, self.folder / f"{out.name}.log")

    def killed(self, launcher: Launcher, out: Path, counted: Counted, struck: str) -> bool:
        """Kill a rank at a random moment after the next checkpoint of a stage, or where that is over, of another.

        False where the run ended before, or hangs.
        """
        before = seen = newest(out)
        watch = Watch(launcher, out)
        while launcher.poll() is None:
            if newest(out) != seen:
                seen = newest(out)
                if seen is not None and seen != before and past(out, struck):
                    break
            if watch.hangs():
                counted.hangs += 1
                launcher.kill()
                return False
            time.sleep(0.05)
        time.sleep(self.random.random() * LATEST)
        ranks = launcher.ranks()
        if not ranks:
            return False
        place, rank = where(out), self.random.choice(ranks)
        if not running(rank):
            return False
        try:
            os.kill(rank, signal.SIGKILL)
        except ProcessLookupError:
            return False
        counted.kills += 1
        counted.places[place] += 1
        return True

    def ended(self, launcher: Launcher, out: Path) -> bool:
        """Whether a run ends; one without progress is stopped."""
        watch = Watch(launcher, out)
        while launcher.poll() is None:
            if watch.hangs():
                launcher.kill()
                return False
            time.sleep(0.1)
        return True

    def elastic(self, world: int, kills: int, counted: Counted) -> None:
        """A run whose ranks are started again by torchrun's agent."""
        out = self.folder / f"elastic-{world}-{counted.runs}"
        launcher = self.start(out, world, kills)
        for struck in STRUCK[:kills]:
            if not self.killed(launcher, out, counted, struck):
                break
        self.settle(launcher, out, world, counted)

    def settle(self, launcher: subprocess.Popen[bytes], out: Path, world: int, counted: Counted) -> None:
        """Wait for a run, go on with it by the same command where it ended unfinished, and compare its students."""
        counted.runs += 1
        for _ in range(3):
            if not self.ended(launcher, out):
                counted.hangs += 1
                return
            if launcher.poll() == 0:
                break
            launcher = self.start(out, world)
        wanted, found = self.whole[world], students(out)
        if found.keys() != wanted.keys():
            raise SystemExit(f"{out.name} ended without its students: see its log")
        counted.equal += digests(found) == digests(wanted)
        for name, path in found.items():
            counted.apart[name] = max(counted.apart.get(name, 0.0), distance(path, wanted[name]))

    def changing(self, kills: int, counted: Counted) -> None:
        """A run that goes on with another number of ranks after each kill."""
        out, worlds = self.folder / f"changing-{counted.runs}", self.random.sample(WORLDS, len(WORLDS))
        for struck, world in zip(STRUCK[:kills], worlds * kills, strict=False):
            launcher = self.start(out, world)
            killed = self.killed(launcher, out, counted, struck)
            if not self.ended(launcher, out):
                counted.hangs += 1
            if not killed:
                break
        last = worlds[kills % len(worlds)]
        self.settle(self.start(out, last), out, last, counted)


class Watch:
    """Whether a run hangs: for a while no file of it changes, and its processes do not compute."""

    def __init__(self, launcher: Launcher, out: Path):
        self.launcher, self.out = launcher, out
        self.seen, self.until = self.progress(), time.monotonic() + PATIENCE
        self.next = 0.0

    def hangs(self) -> bool:
        now = time.monotonic()
        if now >= self.next:
            self.next = now + 1
            if (found := self.progress()) != self.seen:
                self.seen, self.until = found, now + PATIENCE
        return now > self.until

    def progress(self) -> tuple[int, int]:
        """The last change of a file of the run, and what its processes have computed, in steps of some seconds."""
        changed = 0
        for path in self.out.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                changed = max(changed, path.stat().st_mtime_ns)
        return changed, int(sum(map(computed, self.launcher.ranks())) // COMPUTED)


def computed(process: int) -> float:
    """Seconds of computing of a process; 0 where it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ranks_of(launcher: int) -> dict[int, int]:
    """The process number of each rank that a launcher started."""
    try:
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        environments = {int(child): Path(f"/proc/{child}/environ").read_bytes().split(b"\0") for child in children}
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {
        int(entry.removeprefix(b"RANK=")): child
        for child, entries in environments.items()
        for entry in entries
        if entry.startswith(b"RANK=")
    }


def running(process: int) -> bool:
    """Whether a process has not ended; one that has is there until its parent asks for it, and cannot be killed."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def newest(out: Path) -> tuple[str, int] | None:
    """The newest checkpoint of a run."""
    found = []
    for path in out.glob("checkpoints/*/*.checkpoint"):
        try:
            found.append((path.stat().st_mtime_ns, str(path)))
        except FileNotFoundError:
            continue
    return (max(found)[1], max(found)[0]) if found else None


def where(out: Path) -> str:
    """The training and the stage of the newest checkpoint."""
    seen = newest(out)
    if seen is None:
        return "between trainings"
    folder = Path(seen[0]).parent
    try:
        whole = checkpoints.newest(folder)
    except OSError:
        return "between trainings"
    state = cast(dict[str, Any], whole.state) if whole and whole.state else None
    return f"{folder.name.rsplit('-', 1)[0]}, stage {state['place']['stage'] + 1}" if state else "between trainings"


def past(out: Path, stage: str) -> bool:
    """Whether a run has come to a stage, or beyond it."""
    now = where(out)
    return now in STRUCK and STRUCK.index(now) >= STRUCK.index(stage)


def students(out: Path) -> dict[str, Path]:
    return {path.parent.name: path for path in sorted(out.glob("trainings/*/student.safetensors"))}


def digests(paths: dict[str, Path]) -> dict[str, str]:
    return {name: sha256(path) for name, path in paths.items()}


def distance(path: Path, other: Path) -> float:
    """Of two networks' weights, relative to their norm."""
    one, two = load_file(path), load_file(other)
    squares = [((one[name] - two[name]).double().square().sum(), two[name].double().square().sum()) for name in one]
    apart, norm = (sum(float(pair[place]) for pair in squares) for place in (0, 1))
    return float((apart / norm) ** 0.5)


def table(rows: dict[str, Counted], command: str, unbroken: float) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short=9", "HEAD"], capture_output=True, text=True, check=False)
    places = sum((counted.places for counted in rows.values()), Counter[str]())
    lines = [
        "# Ranks that are killed",
        "",
        f"Made by `{command}` at commit {commit.stdout.strip()}.",
        "",
        "Each run trains students by FitNets, CAN and CRD on the demo's images, one after another, on CPUs with gloo.",
        "A rank that is chosen at random is killed by SIGKILL at a random moment of each stage. *Equal* counts runs",
        "whose three networks are equal byte for byte to those of an unbroken run on as many ranks as they ended",
        "with; *farthest* is the largest distance of a network from that run's, relative to its norm. Runs",
        f"that change their number of ranks must end within {BOUND:g} of it.",
        "",
        "| runs | kills | runs ended | equal | farthest | hangs |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, counted in rows.items():
        farthest = max(counted.apart.values(), default=0.0)
        lines.append(
            f"| {name} | {counted.kills} | {counted.runs} | {counted.equal} | {farthest:.1e} | {counted.hangs} |"
        )
    lines += [
        "",
        f"Without a kill, networks of runs on 2 and 4 ranks lie at most {unbroken:.1e} from those of one rank.",
    ]
    total = sum(counted.kills for counted in rows.values())
    lines += ["", f"Where the {total} kills struck:", "", "| training | kills |", "|---|---:|"]
    lines += [f"| {place} | {count} |" for place, count in sorted(places.items())]
    return "\n".join(lines) + "\n"


def kept(path: Path | None, rows: dict[str, Counted], unbroken: float) -> tuple[dict[str, Counted], float]:
    """What earlier pieces counted, and the larger of their distance without a kill and this one's."""
    if path is None or not path.exists():
        return rows, unbroken
    counts = json.loads(path.read_text())
    before = {name: Counted(**{**row, "places": Counter(row["places"])}) for name, row in counts["rows"].items()}
    return before, max(unbroken, counts["unbroken"])


def hangs(rows: dict[str, Counted]) -> int:
    return sum(counted.hangs for counted in rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/ranks.md"))
    parser.add_argument("--counts", type=Path, help="a file with what earlier pieces counted, to which this one adds")
    parser.add_argument("--parallel", choices=["ddp", "fsdp"], default="ddp")
    chosen = parser.parse_args()
    command = f"python -m tests.ranks.kills --kills {chosen.kills} --seed {chosen.seed}"
    if chosen.parallel == "fsdp":
        command += " --parallel fsdp"
        saving.BESIDE = 0  # in all processes, which are forked: each checkpoint is written by threads
    kinds = {world: f"{world} ranks, started again by torchrun's agent" for world in WORLDS[1:]}
    rows = {name: Counted() for name in (*kinds.values(), CHANGING)}
    preload()
    with tempfile.TemporaryDirectory() as name:
        runs = Runs(Path(name), chosen.seed, chosen.parallel)
        command += " in pieces" if chosen.counts else ""
        one, *more = (runs.whole[world] for world in WORLDS)
        unbroken = max(distance(other[name], path) for other in more for name, path in one.items())
        rows, unbroken = kept(chosen.counts, rows, unbroken)
        runs.random.seed(chosen.seed + sum(counted.kills for counted in rows.values()))
        while (left := chosen.kills - sum(counted.kills for counted in rows.values())) > 0 and not hangs(rows):
            rounds: list[tuple[str, Callable[[int, Counted], None]]]
            rounds = [(kind, partial(runs.elastic, world)) for world, kind in kinds.items()]
            for kind, go in [*rounds, (CHANGING, runs.changing)]:
                go(min(left, len(STRUCK)), rows[kind])
                chosen.out.write_text(table(rows, command, unbroken))
                if chosen.counts:
                    content = {"unbroken": unbroken, "rows": {name: vars(row) for name, row in rows.items()}}
                    chosen.counts.write_text(json.dumps(content))
            print(rows, flush=True)
    differing = any(rows[kind].equal != rows[kind].runs for kind in kinds.values())
    far = max(rows[CHANGING].apart.values(), default=0.0) > BOUND
    sys.exit(f"hangs, or students that differ: see {chosen.out}" if hangs(rows) or differing or far else 0)


if __name__ == "__main__":
    main()
