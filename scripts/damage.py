"""Damage every file of a run, a cache and a folder of stored answers, and try every use of it.

    python scripts/damage.py                                   # the table, into results/damage.md

A use answers as before, or says that something is damaged; a use that does neither is a failure, and the exit code 1.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from tests.conftest import make_workplace  # noqa: E402
from tests.faults.damage import DAMAGES, Case, Table, kind_of, plain_format  # noqa: E402
from tests.faults.quick import nothing_measured_or_drawn  # noqa: E402
from understudy import export  # noqa: E402

SIGNS = {"as before": "=", "told": "!", "silent": "**S**"}
EXPLANATION = f"""\
Each file of a finished run, of its cache and of its stored answers is damaged in five ways:
{", ".join(DAMAGES)}. Then each use of it is tried.
The five signs of a cell stand for these in their order: `=` the use answers as before, having made the file again where
it needs it; `!` it says so, and refuses the file, leaves it out or makes it again; `.` there is no such file in another
run, or an equal one."""


def table(outcomes: Mapping[Case, Mapping[str, str]]) -> str:
    """The results as Markdown: one table for each group of files."""
    worst = defaultdict[tuple[str, str], dict[str, str]](dict)
    order = list(SIGNS)
    for case, found in outcomes.items():
        for use, outcome in found.items():
            signs = worst[kind_of(case.file), use]
            signs[case.damage] = max(signs.get(case.damage, order[0]), outcome, key=order.index)
    files = list(dict.fromkeys(file for file, _ in worst))
    lines = list[str]()
    for title, uses in (
        ("The run", ["load", "predict", "predict FILE", "export", "report", "card", "distill"]),
        ("The cache", ["cache check", "distill --cache"]),
        ("Stored answers", ["distill with these answers"]),
    ):
        lines += ["", f"## {title}", "", f"| file | {' | '.join(uses)} |", "|---|" + "---|" * len(uses)]
        for file in files:
            if (file, uses[0]) in worst:
                cells = ["".join(SIGNS.get(worst[file, use].get(way, ""), ".") for way in DAMAGES) for use in uses]
                lines.append(f"| `{file}` | {' | '.join(f'`{cell}`' for cell in cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "damage.md")
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.pop("UNDERSTUDY_CACHE", None)
    memory = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(prefix="understudy-damage-", dir=memory if memory.is_dir() else None))
    try:
        workplace = home / "workplace"
        workplace.mkdir()
        make_workplace(workplace)
        os.chdir(workplace)
        sys.path.insert(0, str(workplace))
        nothing_measured_or_drawn()
        export.FORMATS["plain"] = plain_format()
        files = Table(home / "files")
        outcomes = {case: files.outcomes(case) for case in files.cases()}
    finally:
        os.chdir(ROOT)
        shutil.rmtree(home, ignore_errors=True)
    uses = [(case, use, outcome) for case, found in outcomes.items() for use, outcome in found.items()]
    silent = [f"{case.file}, {case.damage}: {use}" for case, use, outcome in uses if outcome == "silent"]
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    counts = {outcome: sum(one[2] == outcome for one in uses) for outcome in SIGNS}
    head = [
        "# Damage",
        "",
        f"{len(outcomes)} damaged files, {len(uses):,} uses: {counts['as before']} answer as before, "
        f"{counts['told']} say so, {counts['silent']} are silent.",
        "",
        EXPLANATION,
        "",
        f"Made by `python scripts/damage.py` at commit {commit.stdout.strip()}.",
    ]
    given.out.write_text("\n".join(head) + "\n" + table(outcomes), encoding="utf-8")
    print("\n".join([head[2], *silent]))
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main())
