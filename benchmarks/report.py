"""``results/speed.md``: what was measured as tables, and every target with its verdict."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.sections import Processes, Times, median
from benchmarks.workload import BATCH, PAIRS
from understudy.measure.steps import median_ratio

Found = Mapping[str, Any]


def page(found: Found) -> str:
    heads = ("on this machine", "at least", "found", "")
    lines = ["# Speed", "", *_surroundings(found), "", "## Targets", "", *_table(heads, targets(found))]
    for title, rows in _sections(found):
        lines += ["", f"## {title}", "", *rows]
    return "\n".join(lines) + "\n"


def _sections(found: Found) -> Iterator[tuple[str, list[str]]]:
    for pair, times in found.get("steps", {}).items():
        yield f"A step: {PAIRS[pair].name}", _steps(times)
    for pair, times in found.get("epochs", {}).items():
        yield f"An epoch, data included: {PAIRS[pair].name}", _epochs(times, found["images"])
    for name, title, rows in (
        ("memory", "Memory and the first step", _memory),
        ("growth", "How cost grows", _growth),
        ("sweep", "A sweep", _sweep),
    ):
        if name in found:
            yield title, rows(found[name])


def targets(found: Found) -> Iterator[tuple[str, ...]]:
    """Each target of the table, with what was found and whether that is enough."""
    for pair, kinds in found.get("floors", {}).items():
        for kind, times in kinds.items():
            words, setting = _STEPS[kind.rsplit(" ", 1)[0]], kind.rsplit(" ", 1)[1]
            ratio = median_ratio(times["floor"], times["ours"])
            yield _line(f"{words}, {setting} settings, {PAIRS[pair].name}", 0.95, ratio)
    for pair, times in found.get("epochs", {}).items():
        for kind, least in (("kd", 2.0), ("stored kd", 3.3), ("hint", 3.5), ("stored hint", 3.5)):
            fastest = _fastest(times, kind.removeprefix("stored "))
            if fastest is not None:
                ratio = median_ratio(times[fastest], times[f"understudy {kind} fast"])
                yield _line(f"epoch with {_WORDS[kind]} / {fastest}'s, {PAIRS[pair].name}", least, ratio)
    if "memory" in found:
        for pair, memory in found["memory"].items():
            yield from _memory_targets(PAIRS[pair].name, memory)
    for pair, times in found.get("sweep", {}).items():
        for name in ("with one store", "trained together"):
            ratio = median_ratio(times["12 separate"], times[f"12 {name}"])
            yield _line(f"sweep of 12 settings, {name} / 12 separate runs, {PAIRS[pair].name}", 1.7, ratio)


_STEPS = {
    "kd": "live KD step / floor F2",
    "hint": "hint stage step / floor of both networks cut",
    "stored kd": "stored KD step / floor F1",
    "stored hint": "stored hint stage step / floor of the student cut",
}
_WORDS = {"kd": "live KD", "stored kd": "stored KD", "hint": "live hints", "stored hint": "stored hints"}


def _memory_targets(pair: str, found: Processes) -> Iterator[tuple[str, ...]]:
    peaks = {name: median(values["bytes"]) for name, values in found.items()}
    for kind, words in _WORDS.items():
        leanest, own = _leanest(peaks, kind), peaks.get(f"understudy {kind} fast")
        if leanest is not None and own is not None:
            ratio = own / peaks[leanest]
            yield (f"peak memory, {words} / {leanest}'s, {pair}", "at most 1.00", f"{ratio:.2f}", _verdict(ratio <= 1))
    if own := found.get("understudy kd fast"):
        seconds = median(own["first_step"])
        yield (f"first step after import, {pair}", "under 5 s", f"{seconds:.1f} s", _verdict(seconds < 5))


def _line(text: str, least: float, ratio: float) -> tuple[str, ...]:
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


def _surroundings(found: Found) -> list[str]:
    machine, versions = found["machine"], found["versions"]
    return [
        f"Made in {sum(found['minutes'].values()):.0f} minutes by",
        "",
        *(f"    {command}" for command in found["commands"]),
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


def _steps(times: Times) -> list[str]:
    base, rows = times["F2 kd plain"], []
    for name, values in _sorted(times):
        seconds = median(values)
        rows.append((name, f"{1000 * seconds:.1f}", f"{BATCH / seconds:,.0f}", f"{median_ratio(base, values):.2f}"))
    return _table(("", "ms", "images/s", "of floor F2, plain"), rows)


def _epochs(times: Times, images: int) -> list[str]:
    rows = [(name, f"{median(v):.2f}", f"{images / median(v):,.0f}") for name, v in _sorted(times)]
    return _table(("", f"s for {images:,} images", "images/s"), rows)


def _sorted(times: Times) -> list[tuple[str, list[float]]]:
    return sorted(times.items(), key=lambda item: median(item[1]))


def _memory(found: Mapping[str, Processes]) -> list[str]:
    rows = [
        (f"{PAIRS[pair].name}, {name}", f"{median(row['bytes']) / 1e6:,.0f}", f"{median(row['first_step']):.1f}")
        for pair, memory in found.items()
        for name, row in memory.items()
    ]
    return _table(("", "peak MB of the process", "s to the first step"), rows)


def _growth(growth: Found) -> list[str]:
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


def _sweep(found: Mapping[str, Times]) -> list[str]:
    rows = []
    for pair, times in found.items():
        for name, values in times.items():
            seconds, every = median(values), ", ".join(f"{value:.1f}" for value in values)
            rows.append((f"{PAIRS[pair].name}, {name}", every, f"{seconds / int(name.split()[0]):.1f}"))
    return _table(("", "s", "s for each student"), rows)


def _table(heads: tuple[str, ...], rows: Any) -> list[str]:
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
