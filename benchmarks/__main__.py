"""``python -m benchmarks``: measure everything, or some sections, and write ``results/speed.md``."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import peers, report, sections
from benchmarks.workload import PAIRS
from understudy.measure.surroundings import machine, versions

SECTIONS = ("floors", "steps", "epochs", "memory", "growth", "sweep")


def main() -> None:
    options = _options()
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    found = _before(options)
    for section in options.only or [name for name in SECTIONS if name not in found]:
        print(f"{section} ...", file=sys.stderr, flush=True)
        began = time.perf_counter()
        found[section] = _measured(section, options)
        found["minutes"][section] = (time.perf_counter() - began) / 60
        found["commands"] = [*(done for done in found["commands"] if done != command), command]
        if options.raw:
            options.raw.write_text(json.dumps(found, indent=1), encoding="utf-8")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(report.page(found), encoding="utf-8")
    print(options.out)


def _before(options: argparse.Namespace) -> dict[str, Any]:
    """What was measured before, on this machine with these versions, and where nothing was, an empty beginning."""
    here: dict[str, Any] = {
        "format": 2,
        "machine": machine(),
        "versions": versions() | {name: peers.version(name) for name in peers.installed()},
        "images": options.images,
    }
    if options.raw and options.raw.exists():
        before: dict[str, Any] = json.loads(options.raw.read_text(encoding="utf-8"))
        if {key: before.get(key) for key in here} == here:
            return before
        print(f"{options.raw} is of another machine, of other versions or images: all is measured", file=sys.stderr)
    return {**here, "minutes": {}, "commands": []}


def _measured(section: str, options: argparse.Namespace) -> Any:
    if section == "floors":
        return {pair: sections.floors(pair, options.rounds) for pair in options.pairs}
    if section == "steps":
        return {pair: sections.steps(pair, options.rounds) for pair in options.pairs}
    if section == "epochs":
        return {pair: sections.epochs(pair, max(2, options.rounds // 3), options.images) for pair in options.pairs}
    if section == "memory":
        return {pair: sections.memory(pair, max(1, options.rounds // 3)) for pair in options.pairs}
    if section == "growth":
        return sections.growth(options.rounds)
    rounds = max(1, options.rounds // 4)
    return {pair: sections.trainings(pair, options.images // 2, epochs=3, rounds=rounds) for pair in options.pairs}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="by default what is not in --raw yet")
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--rounds", type=int, default=9, help="of steps; epochs and processes have a third")
    parser.add_argument("--images", type=int, default=2560, help="of an epoch")
    parser.add_argument("--out", type=Path, default=Path("results/speed.md"))
    parser.add_argument("--raw", type=Path, help="every single time as JSON; what is there already is kept")
    parser.add_argument(
        "--checkout", action="append", default=[], metavar="NAME=FOLDER", help="of repdistiller, of mdistiller"
    )
    options = parser.parse_args()
    for given in options.checkout:
        name, _, folder = given.partition("=")
        if name not in peers.CHECKOUTS or not Path(folder).is_dir():
            parser.error(f"--checkout {given}: give a library of benchmarks/peers and a folder, NAME=FOLDER")
        peers.name_checkout(name, Path(folder))
    return options


main()
