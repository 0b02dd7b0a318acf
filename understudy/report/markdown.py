"""A run as a table in Markdown, for results/, a paper's notebook, an issue."""

from pathlib import Path

from understudy.measure import Spread
from understudy.report.reading import read_record
from understudy.report.record import Network, PathSearch, Result, Verdict
from understudy.report.words import NONE, count, milliseconds, spread

HEADINGS = (
    "",
    "error",
    "accuracy",
    "against alone",
    "each seed's error",
    "parameters",
    "multiplications",
    "latency, 1 image",
)


def as_markdown(run: Path) -> str:
    """What was trained, what came out, seed by seed, and what it depends on."""
    result = read_record(run)
    paragraphs = [
        f"# {result.title or result.data.name or run.name}",
        f"    {result.command}" if result.command else "",
        "\n".join(_table(result)),
        "\n".join(_sentences(result)),
        "\n".join(_paths(result.path)) if result.path else "",
        _measured(result),
        _surroundings(result),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def _table(result: Result) -> list[str]:
    rows = [list(HEADINGS)]
    for name, teacher in result.each_teacher.items():
        rows.append(_row(name, teacher.spread, NONE, result.networks.get(name, Network())))
    for name in result.methods:
        against = _against(result.verdicts.get(name))
        rows.append(_row(f"student, {name}", result.spread_of(name), against, result.network_of(name)))
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows]
    return [lines[0], "|---|---:|---:|---:|---|---:|---:|---:|", *lines[1:]]


def _against(verdict: Verdict | None) -> str:
    """Points against the student alone, and whether the spread over the seeds lets them count."""
    if verdict is None or verdict.gain is None:
        return NONE
    return f"{verdict.gain:+.2f}" + ("" if verdict.verdict == "unknown" else f", {verdict.verdict}")


def _sentences(result: Result) -> list[str]:
    """The verdicts; where some have seeds enough to be sure of something, those."""
    found = list(result.verdicts.values())
    return [verdict.sentence for verdict in [v for v in found if v.verdict != "unknown"] or found]


def _paths(search: PathSearch) -> list[str]:
    """What a search found: every whole path, and how sure the first is."""
    lines = ["| path | accuracy on validation, which selects | on test, read once |", "|---|---:|---:|"]
    for path in search.ranked:
        hop = search.hop(path)
        found = [part.spread if part else None for part in (hop.validation, hop.test)] if hop else [None, None]
        lines.append(f"| {' → '.join(map(str, path))} | {spread(found[0])} | {spread(found[1])} |")
    counted = [f"{search.trainings} trainings in all, each once."] if search.trainings else []
    return [*lines, "", " ".join([*search.sentences, *counted])]


def _row(name: str, found: Spread | None, against: str, network: Network) -> list[str]:
    errors = Spread(tuple(1 - value for value in found.values)) if found else None
    return [
        name,
        spread(errors),
        spread(found),
        against,
        ", ".join(f"{100 * value:.2f}" for value in errors.values) if errors else NONE,
        count(network.parameters),
        count(network.multiplications),
        milliseconds(network.latency_ms.p50 if network.latency_ms else None),
    ]


def _measured(result: Result) -> str:
    data = result.data
    if data.measured is None:
        return ""
    told = f"Measured once, on {count(data.measured)} {data.measured_on} samples; {count(data.train)} trained, "
    told += f"{count(data.validation)} selected."
    if result.seeds:
        told += f" Mean ± sample standard deviation over seeds {', '.join(map(str, result.seeds))}."
    return told


def _surroundings(result: Result) -> str:
    seconds = sum(sum(found.seconds.values) for found in result.methods.values() if found.seconds)
    machine = result.machine
    if not machine:
        return ""
    return (
        f"Students trained for {seconds / 60:.0f} min in all, on {machine.get('processor') or machine.get('system')} "
        f"({machine.get('cores', NONE)} cores, {machine.get('threads', NONE)} threads used), "
        + ", ".join(f"{name} {version}" for name, version in result.versions.items())
        + "."
    )
