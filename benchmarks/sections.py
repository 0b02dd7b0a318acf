"""What is measured, section by section; each answers with plain data. Within a section everything takes turns."""

import random
import statistics
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import ours, peers, sweep
from benchmarks import start as beginnings
from benchmarks.memory import in_own_process
from benchmarks.workload import BATCH, PAIRS, Work
from understudy.bench.steps import interleaved

CPU = torch.device("cpu")
Times = dict[str, list[float]]
Processes = dict[str, Times]  # of each, several figures


def steps(pair: str, rounds: int) -> Times:
    """Seconds of one step, of everybody and of the floors: names are "LIBRARY KIND", with our settings behind."""
    work = Work(PAIRS[pair], 10 * BATCH)
    with tempfile.TemporaryDirectory() as folder:
        variants = {name: loop.step for name, loop in _loops(work, Path(folder), both=True).items()}
        for setting, settings in ours.SETTINGS.items():
            for kind in ("kd", "hint"):
                for name, floor in ours.floors(work, kind, settings).items():
                    variants[f"{name} {kind} {setting}"] = floor
        return _turns(variants, rounds)


def floors(pair: str, rounds: int) -> dict[str, Times]:
    """Seconds of our step and of the floor beside it, in turn, so that no mood of the machine falls on one alone."""
    work, found = Work(PAIRS[pair], 10 * BATCH), dict[str, Times]()
    for setting, settings in ours.SETTINGS.items():
        for kind, floor in ours.FLOORS.items():
            with tempfile.TemporaryDirectory() as folder:
                loop = ours.loop(work, kind, settings, Path(folder))
                base = ours.floors(work, kind.removeprefix("stored "), settings)[floor]
                found[f"{kind} {setting}"] = _turns({"ours": loop.step, "floor": base}, 3 * rounds, repeats=1)
    return found


def epochs(pair: str, rounds: int, images: int) -> Times:
    """Seconds of a whole epoch, data and augmentation included; those of the floors come as ours do."""
    work = Work(PAIRS[pair], images)
    with tempfile.TemporaryDirectory() as folder:
        loops = _loops(work, Path(folder), both=False)
        next(iter(work.loader))  # its workers are there
        for loop in loops.values():
            loop.step()
        variants = {name: loop.epoch for name, loop in loops.items()}
        for kind in ("kd", "hint"):
            for name, floor in ours.floor_epochs(work, kind, ours.FAST).items():
                variants[f"{name} {kind} fast"] = floor
        return _turns(variants, rounds, repeats=1)


def memory(pair: str, rounds: int) -> Processes:
    """Bytes at most of everybody's loop, and seconds of its first step."""
    kinds = {f"understudy {kind} fast": ("understudy", kind) for kind in ours.KINDS}
    for library in peers.installed():
        for kind in peers.kinds(library, Work(PAIRS[pair], BATCH)):
            kinds[f"{library} {kind}"] = library, kind
    return _processes({name: partial(in_own_process, *kind, pair) for name, kind in kinds.items()}, rounds)


def start(pair: str, rounds: int) -> Processes:
    """Seconds of the import, and from there to the end of the first step, as a user meets them."""
    with tempfile.TemporaryDirectory() as folder:
        return _processes(beginnings.variants(pair, Path(folder)), rounds)


def growth(rounds: int) -> dict[str, Any]:
    """How cost grows: seconds of an epoch with the data, of a step with the terms, bytes of a store with the views."""
    pair = PAIRS["a"]
    with tempfile.TemporaryDirectory() as folder:
        for_data = {
            f"{factor}x": ours.loop(Work(pair, factor * 10 * BATCH), "stored kd", ours.FAST, Path(folder) / str(factor))
            for factor in (1, 2, 4)
        }
        data = _turns({name: loop.epoch for name, loop in for_data.items()}, rounds, repeats=1)
    terms = _turns({str(count): ours.many_terms(Work(pair, 10 * BATCH), count) for count in (1, 2, 4, 8)}, rounds)
    asked = Work(pair, 4 * BATCH)
    teacher = _turns({str(batch): ours.teacher_passes(asked, batch) for batch in (64, 32, 128, 256)}, rounds)
    return {"data": data, "terms": terms, "teacher": teacher, "store": {views: _store(views) for views in (1, 2, 4)}}


def trainings(pair: str, images: int, epochs: int, rounds: int) -> Times:
    """Seconds of trainings at different settings: separate runs, and some that share a store or a teacher's passes.

    Processes measure themselves. Ways for all twelve take turns in shuffled order; fewer trainings are timed once.
    """

    def separately(count: int) -> float:
        return sum(sweep.in_own_process(pair, images, epochs, number, 1) for number in range(count))

    def together(count: int) -> float:
        return sweep.in_own_process(pair, images, epochs, 0, count, sweep.TOGETHER)

    def with_store(count: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return sweep.in_own_process(pair, images, epochs, 0, count, folder)

    ways = {"separate": separately, "trained together": together, "with one store": with_store}
    found: Times = {f"{count} {name}": [ways[name](count)] for name in list(ways)[1:] for count in (1, 4)}
    order, draw = list(ways), random.Random(0)
    for _ in range(rounds):
        draw.shuffle(order)
        for name in order:
            found.setdefault(f"{len(sweep.GRID)} {name}", []).append(ways[name](len(sweep.GRID)))
    return found


def median(values: list[float]) -> float:
    return statistics.median(values)


def _loops(work: Work, folder: Path, *, both: bool) -> dict[str, Any]:
    """Everybody's; ours under fast settings, and where ``both`` under plain ones, too."""
    found: dict[str, Any] = {}
    for setting, settings in ours.SETTINGS.items():
        if both or setting == "fast":
            for kind in ours.KINDS:
                found[f"understudy {kind} {setting}"] = ours.loop(work, kind, settings, folder / setting)
    for library in peers.installed():
        for kind, loop in peers.loops(library, work).items():
            found[f"{library} {kind}"] = loop
    return found


def _turns(variants: Mapping[str, Callable[[], object]], rounds: int, repeats: int | None = None) -> Times:
    with peers.quiet():
        return interleaved(variants, CPU, seconds=0, least=rounds, repeats=repeats)


def _processes(variants: Mapping[str, Callable[[], Mapping[str, float] | None]], rounds: int) -> Processes:
    """What processes of their own measure, round by round, in shuffled order; without those that fail."""
    found: Processes = {name: {} for name in variants}
    order, draw = list(variants), random.Random(0)
    for _ in range(rounds):
        draw.shuffle(order)
        for name in order:
            for what, value in (variants[name]() or {}).items():
                found[name].setdefault(what, []).append(value)
    return {name: values for name, values in found.items() if values}


def _store(views: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return ours.stored_bytes(Work(PAIRS["a"], 2 * BATCH), views, Path(folder))
