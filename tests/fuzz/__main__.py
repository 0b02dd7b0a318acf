"""``make fuzz``: many cases of every kind with a fixed seed, in one process.

The exit code is 1 if there was a failure; each is printed with its kind and its seed, by which it runs again:
``python -m tests.fuzz --only KIND --case NUMBER``.
"""

import argparse
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType

from tests.fuzz.cases import Fuzz, outcome

SECONDS = 60  # that a case may take


def late(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"a case took more than {SECONDS} seconds")


def run(fuzz: Fuzz, cases: int, seed: int, only: str | None = None, case: int | None = None) -> dict[str, Counter[str]]:
    """Of each kind, how many cases were accepted, refused and failed."""
    found: dict[str, Counter[str]] = {}
    before = signal.signal(signal.SIGALRM, late)
    for name, (kind, share) in fuzz.kinds.items():
        if only not in (None, name):
            continue
        counts = found[name] = Counter()
        for number in [case] if case is not None else range(-(-cases * share // 100)):
            signal.alarm(SECONDS)
            try:
                counts[outcome(kind, f"{seed}/{name}/{number}")] += 1
            except Exception:
                counts["failed"] += 1
                print(f"--- {name}, case {number}\n{traceback.format_exc(limit=-6)[-3000:]}", file=sys.__stdout__)
            finally:
                signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only")
    parser.add_argument("--case", type=int)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = run(Fuzz(Path(folder)), arguments.cases, arguments.seed, arguments.only, arguments.case)
    print("| kind | cases | accepted | refused | failed |\n|---|---:|---:|---:|---:|")
    whole: Counter[str] = sum(found.values(), Counter())
    for name, counts in (*found.items(), ("all", whole)):
        print(f"| {name} | {sum(counts.values())} | {counts['accepted']} | {counts['refused']} | {counts['failed']} |")
    print(f"seed {arguments.seed}, {time.monotonic() - began:.0f} s")
    sys.exit(1 if whole["failed"] else 0)


if __name__ == "__main__":
    main()
