"""A run as a table in Markdown, for results/, a paper's notebook, an issue."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from understudy.measure import Spread
from understudy.report.reading import read_result
from understudy.report.words import each_teacher


def as_markdown(run: Path) -> str:
    """What was trained, what came out, seed by seed, and what it depends on."""
    result = read_result(run)
    data, machine, versions = result["data"], result["machine"], result["versions"]
    seconds = sum(sum(found.get("seconds", {}).get("values", [])) for found in result["methods"].values())
    lines = [
        f"# {result['title'] or result['data']['name']}",
        "",
        f"    {result['command']}",
        "",
        *_table(result),
        "",
        *(verdict["sentence"] for verdict in result["verdicts"].values()),
        "",
        f"Measured once, on {data['measured']:,} {data['measured_on']} samples; {data['train']:,} trained, "
        f"{data['validation']:,} selected. Mean ± sample standard deviation over seeds {_listed(result['seeds'])}.",
        "",
        f"Students trained for {seconds / 60:.0f} min in all, on {machine['processor'] or machine['system']} "
        f"({machine['cores']} cores, {machine['threads']} threads used), "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _table(result: Mapping[str, Any]) -> list[str]:
    rows = ["| | error | accuracy | each seed's error | parameters | multiplications | latency, 1 image |"]
    rows.append("|---|---:|---:|---|---:|---:|---:|")
    for name, teacher in each_teacher(result).items():
        rows.append(_row(name, teacher, result["networks"].get(name)))
    for name, found in result["methods"].items():
        own, networks = f"student, {name}", result["networks"]
        rows.append(_row(own, found, networks.get(own, networks["student"])))
    return rows


def _row(name: str, found: Mapping[str, Any], network: Mapping[str, Any] | None) -> str:
    accuracies = tuple(found["accuracy"]["values"])
    errors = Spread(tuple(1 - value for value in accuracies))
    each = ", ".join(f"{100 * value:.2f}" for value in errors.values)
    cells = (name, errors.percent(), Spread(accuracies).percent(), each, *_sizes(network))
    return "| " + " | ".join(cells) + " |"


def _sizes(network: Mapping[str, Any] | None) -> tuple[str, str, str]:
    if network is None:  # several teachers together are none
        return "", "", ""
    latency = f"{network['latency_ms']['p50']:.2f} ms"
    return f"{network['parameters']:,}", f"{network['multiplications']:,}", latency


def _listed(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))
