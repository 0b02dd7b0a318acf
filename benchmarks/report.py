"""``results/speed.md``: what was measured as tables, and every target with its verdict."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks import parts
from benchmarks.ours import FLOORS
from benchmarks.parts import Part, Raw
from benchmarks.sections import Processes, Times, median
from benchmarks.start import CALL, STARTS
from benchmarks.workload import BATCH, PAIRS
from understudy.bench.steps import median_ratio

Line = tuple[str, str, str, str]  # what, at least, found, verdict


def page(raw: Raw) -> str:
    heads = ("on this machine", "at least", "found", "", "measured")
    lines = ["# Speed", "", *_surroundings(raw), "", "## Targets", "", *_table(heads, targets(raw))]
    for section, (title, table) in _TABLES.items():
        for part in parts.of(raw, section):
            lines += ["", f"## {title}{_of_pair(part, ': ')}", "", f"{parts.caption(part)}.", ""]
            lines += table(part["found"], raw["images"])
    return "\n".join(lines) + "\n"


def targets(raw: Raw) -> Iterator[tuple[str, ...]]:
    """Each target of the table, with what was found, whether that is enough, and of which measurement that is."""
    for section, of_section in _TARGETS.items():
        for part in parts.of(raw, section):
            for text, *rest in of_section(part["found"]):
                yield f"{text}{_of_pair(part, ', ')}", *rest, parts.caption(part)


def _of_pair(part: Part, before: str) -> str:
    return f"{before}{PAIRS[part['pair']].name}" if part["pair"] else ""


def _step_targets(found: Mapping[str, Times]) -> Iterator[Line]:
    for kind, times in found.items():
        words, setting = _STEPS[kind.rsplit(" ", 1)[0]], kind.rsplit(" ", 1)[1]
        yield _line(f"{words}, {setting} settings", 0.95, median_ratio(times["floor"], times["ours"]))


def _epoch_targets(times: Times) -> Iterator[Line]:
    for kind, least in (("kd", 2.0), ("stored kd", 3.3), ("hint", 3.5), ("stored hint", 3.5)):
        fastest = _fastest(times, kind.removeprefix("stored "))
        if fastest is not None:
            ratio = median_ratio(times[fastest], times[f"understudy {kind} fast"])
            yield _line(f"epoch with {_WORDS[kind]} / {fastest}'s", least, ratio)


def _sweep_targets(times: Times) -> Iterator[Line]:
    for name in ("with one store", "trained together"):
        ratio = median_ratio(times["12 separate"], times[f"12 {name}"])
        yield _line(f"sweep of 12 settings, {name} / 12 separate runs", 1.7, ratio)


_STEPS = {
    "kd": "live KD step / floor F2",
    "hint": "hint stage step / floor of both networks cut",
    "stored kd": "stored KD step / floor F1",
    "stored hint": "stored hint stage step / floor of the student cut",
}
_WORDS = {"kd": "live KD", "stored kd": "stored KD", "hint": "live hints", "stored hint": "stored hints"}


def _memory_targets(found: Processes) -> Iterator[Line]:
    peaks = {name: median(values["bytes"]) for name, values in found.items()}
    for kind, words in _WORDS.items():
        leanest, own = _leanest(peaks, kind), peaks.get(f"understudy {kind} fast")
        if leanest is not None and own is not None:
            ratio = own / peaks[leanest]
            yield (f"peak memory, {words} / {leanest}'s", "at most 1.00", f"{ratio:.2f}", _verdict(ratio <= 1))


def _start_targets(found: Processes) -> Iterator[Line]:
    if own := found.get(CALL):
        seconds = median(own["first_step"])
        yield (f"first step after import, {CALL}", "under 5 s", f"{seconds:.1f} s", _verdict(seconds < 5))


def _line(text: str, least: float, ratio: float) -> Line:
    return text, f"{least:.2f}", f"{ratio:.2f}", _verdict(ratio >= least)


def _verdict(passed: bool) -> str:
    return "pass" if passed else "**miss**"


def _fastest(times: Times, kind: str) -> str | None:
    """Of the other libraries with a live teacher."""
    theirs = [name for name in times if _is_other(name, kind)]
    return min(theirs, key=lambda name: median(times[name]), default=None)


def _leanest(peaks: Mapping[str, float], kind: str) -> str | None:
    """Of the other libraries' like trainings: with stored answers if ours has them, or else with a live teacher."""
    alike = {kind, kind.removeprefix("stored ")}
    theirs = [name for name in peaks if any(_is_other(name, one) for one in alike)]
    return min(theirs, key=lambda name: peaks[name], default=None)


def _is_other(name: str, kind: str) -> bool:
    """Whether it is another library's training of this kind: ours, and the floors, say their settings behind."""
    return name.split(" ", 1)[1] == kind


def _surroundings(raw: Raw) -> list[str]:
    machine, versions, measured = raw["machine"], raw["versions"], raw["parts"]
    days = sorted({part["at"].split()[0] for part in measured})
    return [
        f"Made in {sum(part['minutes'] for part in measured):.0f} minutes ({' to '.join(days[:1] + days[1:][-1:])}) by",
        "",
        *(f"    {command}" for command in dict.fromkeys(part["command"] for part in measured)),
        "",
        "Each table says how often its figures were taken, and at which commit.",
        "",
        ", ".join(f"{key}: {value}" for key, value in machine.items()) + ".",
        "",
        ", ".join(f"{key} {value}" for key, value in versions.items()) + ".",
        "",
        f"Made-up images of 32 x 32, 100 classes, batches of {BATCH}; everybody trains the same modules with the same "
        "weights. Variants take turns in shuffled order; times are medians, ratios medians over rounds. `plain` is "
        "float32 with channels-last, `fast` bfloat16 with channels-last; other libraries are in their own settings. "
        "What each row is: [docs/speed.md](../docs/speed.md).",
    ]


def _steps(times: Times, _: int) -> list[str]:
    base, rows = times["F2 kd plain"], []
    for name, values in _sorted(times):
        seconds = median(values)
        rows.append((name, f"{1000 * seconds:.1f}", f"{BATCH / seconds:,.0f}", f"{median_ratio(base, values):.2f}"))
    return _table(("", "ms", "images/s", "of floor F2, plain"), rows)


def _epochs(times: Times, images: int) -> list[str]:
    rows = []
    for name, values in _sorted(times):
        floor = times.get(_floor_of(name))
        ratio = f"{median_ratio(floor, values):.2f}" if floor else ""
        rows.append((name, f"{median(values):.2f}", f"{images / median(values):,.0f}", ratio))
    return _table(("", f"s for {images:,} images", "images/s", "of its floor"), rows)


def _floor_of(name: str) -> str:
    """The epoch that one of ours cannot be faster than, by the names of both; of others there is none."""
    if not name.startswith("understudy "):
        return ""
    *kind, setting = name.split()[1:]
    return f"{FLOORS[' '.join(kind)]} {kind[-1]} {setting}"


def _sorted(times: Times) -> list[tuple[str, list[float]]]:
    return sorted(times.items(), key=lambda item: median(item[1]))


def _memory(found: Processes, _: int) -> list[str]:
    rows = [
        (name, f"{median(row['bytes']) / 1e6:,.0f}", f"{median(row['first_step']):.1f}") for name, row in found.items()
    ]
    return _table(("", "peak MB of the process", "s to the bare loop's first step"), rows)


def _start(found: Processes, _: int) -> list[str]:
    rows = [
        (f"{name} (the target's)" if name == CALL else name, *(f"{median(row[what]):.1f}" for what in STARTS))
        for name, row in found.items()
    ]
    return _table(("", "s of the import", "s from there to the first step"), rows)


def _growth(growth: Mapping[str, Any], _: int) -> list[str]:
    rows = []
    for what, times in (
        ("data, an epoch", growth["data"]),
        ("terms, a step", growth["terms"]),
        (f"the teacher about {4 * BATCH} images, so many at once", growth["teacher"]),
    ):
        first = next(iter(times.values()))
        for number, values in times.items():
            ratio = median_ratio(values, first)
            rows.append((f"{what}: {number}", f"{1000 * median(values):,.1f} ms", f"{ratio:.2f}"))
    least = next(iter(growth["store"].values()))
    for views, size in growth["store"].items():
        rows.append((f"store, views: {views}", f"{size / 1000:,.1f} kB", f"{size / least:.2f}"))
    return _table(("", "", "of the first"), rows)


def _sweep(times: Times, _: int) -> list[str]:
    rows = []
    for name, values in times.items():
        every = ", ".join(f"{value:.1f}" for value in values)
        rows.append((name, every, f"{median(values) / int(name.split()[0]):.1f}"))
    return _table(("", "s", "s for each student"), rows)


def _table(heads: tuple[str, ...], rows: Any) -> list[str]:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


_TABLES: dict[str, tuple[str, Callable[[Any, int], list[str]]]] = {
    "steps": ("A step", _steps),
    "epochs": ("An epoch, data included", _epochs),
    "memory": ("Memory", _memory),
    "start": ("The first step", _start),
    "growth": ("How cost grows", _growth),
    "sweep": ("A sweep", _sweep),
}
_TARGETS: dict[str, Callable[[Any], Iterator[Line]]] = {
    "floors": _step_targets,
    "epochs": _epoch_targets,
    "memory": _memory_targets,
    "start": _start_targets,
    "sweep": _sweep_targets,
}
