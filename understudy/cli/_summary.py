"""A run's result as a table and a verdict, for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from understudy.measure import Spread
from understudy.report.words import each_teacher, plural, short

_STYLES = {"beats": "green", "ties": "yellow", "loses": "red", "unknown": "yellow"}


def show(result: Mapping[str, Any], console: Console) -> None:
    """Accuracy, size and speed against the teacher, then whether distillation helped."""
    data, networks = result["data"], result["networks"]
    table = Table(title=result["title"] or None, title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("accuracy", "weights", "multiplied", "latency", "speed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, teacher in each_teacher(result).items():
        table.add_row(name, _accuracy(teacher), *_network(networks, name))
    for name, found in result["methods"].items():
        own = f"student, {name}"
        table.add_row(own, _accuracy(found), *_network(networks, own if own in networks else "student"))
    console.print(table)
    console.print(
        f"accuracy on {data['measured']:,} {data['measured_on']} samples, mean ± standard deviation over "
        f"{plural(len(result['seeds']), 'seed')}; multiplications and median latency of one sample, "
        f"{plural(networks['student']['latency_ms']['threads'], 'thread')}",
        style="dim",
        highlight=False,
    )
    for verdict in result["verdicts"].values():
        console.print(verdict["sentence"], style=_STYLES[verdict["verdict"]], markup=False, highlight=False)
    for note in result.get("notes", []):
        console.print(note, style="yellow", markup=False, highlight=False)


def _accuracy(found: Mapping[str, Any]) -> str:
    values = found["accuracy"]["values"]
    given = len(set(values)) == 1  # one and the same network for every seed has no spread
    return Spread(tuple(values[:1] if given else values)).percent()


def _network(networks: Mapping[str, Any], role: str) -> list[str]:
    network = networks.get(role)
    if network is None:  # several together are none
        return []
    speedup = ""
    if "teacher" in networks:
        speedup = f"{networks['teacher']['latency_ms']['p50'] / network['latency_ms']['p50']:.1f}x"
    return [
        short(network["parameters"]),
        short(network["multiplications"]),
        f"{network['latency_ms']['p50']:.2f} ms",
        speedup,
    ]
