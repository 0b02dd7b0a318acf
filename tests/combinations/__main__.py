"""``make combinations``: many random combinations of settings with a fixed seed, in one process.

The exit code is 1 if there was a failure; each is printed with its seed and number, by which it runs again:
``python -m tests.combinations --seed SEED --case NUMBER``.
"""

import argparse
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.combinations.cases import Case


def run(cases: range, seed: int) -> Counter[str]:
    """How many cases were accepted and failed, and how many were refused for each reason."""
    found = Counter[str]()
    for number in cases:
        case = Case.of(f"{seed}/{number}")
        with tempfile.TemporaryDirectory() as folder:
            try:
                found[case.run(Path(folder))] += 1
            except Exception:
                found["failed"] += 1
                told = traceback.format_exc(limit=-8)[-3000:]
                print(f"--- seed {seed}, case {number}\n{case}\n{told}", file=sys.__stdout__)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int)
    arguments = parser.parse_args()
    began, one = time.monotonic(), arguments.case
    found = run(range(arguments.cases) if one is None else range(one, one + 1), arguments.seed)
    for outcome, count in found.most_common():
        print(f"{count:6} {outcome}")
    print(f"seed {arguments.seed}, {time.monotonic() - began:.0f} s")
    sys.exit(1 if found["failed"] else 0)


if __name__ == "__main__":
    main()
