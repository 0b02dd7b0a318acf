"""Strike commands with faults, one at a time, and see that nothing is lost.

    python scripts/faults.py --faults 1000                     # the table, into results/faults.md
    python scripts/faults.py --faults 24 --check               # a sample, no table; exit code 1 if one fails

A fault is an error of the operating system, a full disk or a SIGKILL at one operation on one file (``tests/faults``).
After it the same command is given again. It must end with the bytes of an undisturbed run, and with the same files:
nothing is trained again, nothing is left over, no process outlives its command. The faults are drawn by ``--seed``,
each kind of place first. What was tried is kept in ``--state``; the same command goes on from there.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

EXPLANATION = """\
A fault strikes one operation on one file: `error` is an input/output error in its place, `full` a disk that has no room
from there to the end of the command, `kill` a SIGKILL right after it. Then the same command is given again. It must end
with the bytes of an undisturbed run in every student, assistant, teacher, answer and picture, with equal figures in
every record, and with the same files. A finished training that is trained again, a step that is lost although a
checkpoint had it, a file that is left over, a traceback, and a process that outlives its command count as failures.

The workers of `two workers` are forked instead of started, over the same pipes. Optuna's database is SQLite, which
writes by itself: there, whole transactions fail or are followed by a SIGKILL."""
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.faults.injector import KINDS, Fault, Place  # noqa: E402
from tests.faults.server import SCENARIOS, Server  # noqa: E402


def drawn(scenario: str, places: Sequence[Place], seed: int) -> list[Fault]:
    """All faults of a scenario in the order in which they are tried: of each kind of place one first."""
    generator = random.Random(f"{seed} {scenario}")
    faults = [Fault(place, kind) for place in places for kind in KINDS]
    generator.shuffle(faults)
    groups: dict[tuple[str, ...], list[Fault]] = defaultdict(list)
    for fault in faults:
        groups[fault.place.role, fault.place.operation, fault.place.kind_of_file, fault.kind].append(fault)
    rounds: list[Fault] = []
    while any(groups.values()):
        rounds += [group.pop() for group in groups.values() if group]
    return rounds


def chosen(server: Server, count: int, seed: int) -> list[tuple[str, Fault]]:
    """So many faults, in turn from every scenario."""
    queues = {name: drawn(name, places, seed) for name, places in server.places.items()}
    found: list[tuple[str, Fault]] = []
    while len(found) < count and any(queues.values()):
        found += [(name, queue.pop(0)) for name, queue in queues.items() if queue]
    return found[:count]


def key_of(scenario: str, fault: Fault) -> str:
    return json.dumps([scenario, asdict(fault.place), fault.kind], sort_keys=True)


def read_state(path: Path | None) -> dict[str, dict[str, Any]]:
    """What was tried, by the fault."""
    if path is None or not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {line["fault"]: line for line in lines}


def table(tried: Sequence[dict[str, Any]], command: str, seconds: float) -> str:
    """The results as Markdown."""
    done = [one for one in tried if one["outcome"] != "not reached"]
    commits = ", ".join(dict.fromkeys(one["commit"] for one in done))
    equal = sum(one["outcome"] == "equal" for one in done)
    lines = [
        "# Faults",
        "",
        f"Six commands, {len(done):,} faults, one at a time: {equal:,} ended with equal bytes, "
        f"{len(done) - equal} failed.",
        "",
        EXPLANATION,
        "",
        f"Made by `{command}` at commit {commits},",
        f"in {seconds / 60:.0f} minutes, on files in memory.",
        "",
        "## Commands",
        "",
        "| command | " + " | ".join(KINDS) + " | equal | failed |",
        "|---|" + "---:|" * (len(KINDS) + 2),
    ]
    for name in SCENARIOS:
        own = [one for one in done if one["scenario"] == name]
        counts = [str(sum(one["kind"] == kind for one in own)) for kind in KINDS]
        good = sum(one["outcome"] == "equal" for one in own)
        lines.append(f"| {name} | {' | '.join(counts)} | {good} | {len(own) - good} |")
    lines += [
        "",
        "## Places",
        "",
        "| operation | file | by | faults | equal | failed |",
        "|---|---|---|---:|---:|---:|",
    ]
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for one in done:
        groups[one["operation"], one["file"], one["role"]].append(one)
    for (operation, file, role), own in sorted(groups.items()):
        good = sum(one["outcome"] == "equal" for one in own)
        lines.append(f"| {operation} | `{file}` | {role} | {len(own)} | {good} | {len(own) - good} |")
    failed = [one for one in done if one["outcome"] == "failed"]
    if failed:
        lines += ["", "## Failures", ""]
    for one in failed:
        lines.append(f"- {one['scenario']}, {one['kind']} at {one['operation']} of `{one['file']}`: {one['why']}")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, help="a file of what was tried")
    parser.add_argument("--seconds", type=float, help="stop after so long; the same command goes on")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario alone; may be repeated")
    parser.add_argument("--check", action="store_true", help="write no table; a failure is the exit code 1")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "faults.md")
    given = parser.parse_args()
    began, tried = time.monotonic(), read_state(given.state)
    asked = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    commit = asked.stdout.strip()
    memory = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(prefix="understudy-faults-", dir=memory if memory.is_dir() else None))
    try:
        server = Server(home)
        for name in given.only or SCENARIOS:
            server.prepare(SCENARIOS[name])
        faults = chosen(server, given.faults, given.seed)
        for number, (name, fault) in enumerate(faults, 1):
            key = key_of(name, fault)
            if key in tried:
                continue
            if given.seconds is not None and time.monotonic() - began > given.seconds:
                print(f"{len(tried)} of {len(faults)} faults tried: the same command goes on")
                return 3
            started = time.monotonic()
            outcome, why = server.strike(SCENARIOS[name], fault)
            place = fault.place
            tried[key] = line = {
                "fault": key,
                "scenario": name,
                "role": place.role,
                "operation": place.operation,
                "file": place.kind_of_file,
                "kind": fault.kind,
                "outcome": outcome,
                "commit": commit,
                "why": why.replace(str(home), ""),
                "seconds": round(time.monotonic() - started, 2),
            }
            if given.state is not None:
                with given.state.open("a") as file:
                    file.write(json.dumps(line) + "\n")
            if outcome == "failed":
                print(f"{number}: {name}, {fault.kind} at {place}: {why}", flush=True)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    found = [tried[key_of(name, fault)] for name, fault in faults if key_of(name, fault) in tried]
    failed = sum(one["outcome"] == "failed" for one in found)
    reached = sum(one["outcome"] != "not reached" for one in found)
    print(f"{reached} faults, {reached - failed} ended with equal bytes, {failed} failed")
    if not given.check:
        command = f"python scripts/faults.py --faults {given.faults} --seed {given.seed}"
        given.out.write_text(table(found, command, sum(one["seconds"] for one in found)), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
