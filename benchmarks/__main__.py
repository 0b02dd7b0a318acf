"""``python -m benchmarks``: measure everything, or some sections, and write ``results/speed.md``."""

import argparse
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import parts, peers, report, sections
from benchmarks.workload import PAIRS
from understudy.measure.machine import machine, versions

SECTIONS = ("floors", "steps", "epochs", "memory", "start", "growth", "sweep")
OF_ONE_PAIR = ("growth",)  # sections that say themselves what is measured


def main() -> None:
    options = _options()
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    found = _before(options)
    for section, pair in list(_wanted(options, found)):
        print(f"{section} {pair or ''} ...", file=sys.stderr, flush=True)
        parts.put(found, parts.taken(section, pair, command, partial(_measured, section, pair, options)))
        if options.raw:
            options.raw.write_text(json.dumps(found, indent=1), encoding="utf-8")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(report.page(found), encoding="utf-8")
    print(options.out)


def _before(options: argparse.Namespace) -> parts.Raw:
    """What was measured before: with these versions, on this machine, unless nothing is to be added."""
    if options.merge and not options.only:
        return parts.merged(options.merge)
    here = parts.raw(machine(), versions() | {name: peers.version(name) for name in peers.installed()}, options.images)
    if options.raw and options.raw.exists():
        try:
            here = parts.merged([options.raw], here)
        except parts.UnlikeError as error:
            print(f"{error}: all is measured", file=sys.stderr)
    return parts.merged(options.merge, here)


def _wanted(options: argparse.Namespace, found: parts.Raw) -> Iterator[tuple[str, str | None]]:
    """Sections and their pairs: those that are named, or else those that are missing."""
    there = [] if options.only else [parts.place(part) for part in found["parts"]]
    for section in options.only or ([] if options.merge else SECTIONS):
        for pair in [None] if section in OF_ONE_PAIR else options.pairs:
            if (section, pair) not in there:
                yield section, pair


def _measured(section: str, pair: str, options: argparse.Namespace) -> Any:
    few = max(1, options.rounds // 3)
    if section == "floors":
        return sections.floors(pair, options.rounds)
    if section == "steps":
        return sections.steps(pair, options.rounds)
    if section == "epochs":
        return sections.epochs(pair, max(2, few), options.images)
    if section == "memory":
        return sections.memory(pair, few)
    if section == "start":
        return sections.start(pair, few)
    if section == "growth":
        return sections.growth(options.rounds)
    return sections.trainings(pair, options.images // 2, epochs=3, rounds=max(1, options.rounds // 4))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, help="by default what is not in --raw yet; none with --merge"
    )
    parser.add_argument("--pairs", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--rounds", type=int, default=9, help="of steps; epochs and processes have a third")
    parser.add_argument("--images", type=int, default=2560, help="of an epoch")
    parser.add_argument("--out", type=Path, default=Path("results/speed.md"))
    parser.add_argument("--raw", type=Path, help="every single time as JSON; what is there already is kept")
    parser.add_argument(
        "--merge", type=Path, nargs="+", default=[], help="such files whose parts go onto the page, of each the latest"
    )
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


if __name__ == "__main__":
    try:
        main()
    except parts.UnlikeError as error:
        sys.exit(f"benchmarks: {error}")
