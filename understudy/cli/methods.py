"""``understudy methods``: what there is, and one method in full."""

import inspect
import json
from collections.abc import Mapping
from typing import Annotated, NamedTuple, Self

import typer
from rich.table import Table

from understudy import methods as registry
from understudy.cli._options import JsonOption
from understudy.cli._shared import err, out, print_json
from understudy.config.train import TrainConfig
from understudy.methods.costs import cost, measured
from understudy.taps.defaults import PLACEHOLDERS


def methods(
    name: Annotated[str | None, typer.Argument(help="One method, in full.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """List the distillation methods, or show one with its settings and a recipe to copy.

    Example: understudy methods fitnets
    """
    if name is None:
        listed = [Facts.of(method) for method in registry.METHODS.values()]
        print_json([facts._asdict() for facts in listed]) if as_json else _show_all(listed)
        for problem in registry.METHODS.problems():
            err.print(f"warning: {problem}", style="yellow", markup=False, highlight=False)
        return
    method = registry.find(name)
    facts, settings = Facts.of(method), _settings(method)
    if as_json:
        print_json(facts._asdict() | {"description": method.description, "settings": settings})
    else:
        _show_one(method, facts, settings)


class Facts(NamedTuple):
    """A method in the list."""

    name: str
    family: str
    year: int
    paper: str
    reads: list[str]
    cost: Mapping[str, float] | None
    summary: str

    @classmethod
    def of(cls, method: registry.Method) -> Self:
        return cls(
            method.name,
            method.family,
            method.year,
            method.paper,
            _reads(method),
            cost(method.name),
            method.summary,
        )


def _reads(method: registry.Method) -> list[str]:
    """What its terms look at beside the student's own answers and the labels, over all of its stages."""
    if method.family == "own":
        return []
    given = {key: PLACEHOLDERS[key] for key in method.needed}
    reads = [stage.objective.reads for stage in method(TrainConfig(), **given)]
    known = {
        "teacher's logits": any(r.teacher_logits for r in reads),
        "teacher's dropout": any(r.teacher_samples for r in reads),
        "teacher's hidden values": any(r.teacher_taps for r in reads),
        "gradients": any(r.gradients for r in reads),
    }
    return [name for name, read in known.items() if read]


def _settings(method: registry.Method) -> dict[str, object]:
    empty = inspect.Parameter.empty
    return {name: None if p.default is empty else p.default for name, p in method.settings.items()}


def _show_all(listed: list[Facts]) -> None:
    table = Table()
    for heading in ("name", "family", "year", "cost", "what it does"):
        table.add_column(heading, no_wrap=heading == "name", justify="right" if heading == "cost" else "left")
    for facts in listed:
        times = f"{facts.cost['config']:.1f}x" if facts.cost else ""
        table.add_row(facts.name, facts.family, str(facts.year), times, facts.summary.replace("``", ""))
    out.print(table)
    out.print(f"cost: {_measured_on()}", style="dim", markup=False, highlight=False)


def _measured_on() -> str:
    """What the figures of cost are, in a sentence."""
    known = measured()
    note = f"; {known['note']}" if known["note"] else ""
    return f"time of the training as a multiple of the student's alone ({known['pair']}; {known['date']}{note})"


def _show_one(method: registry.Method, facts: Facts, settings: dict[str, object]) -> None:
    out.print(f"{method.name} ({method.paper}, {method.year})", style="bold", markup=False)
    out.print(method.description, markup=False, highlight=False)
    if facts.reads:
        out.print(f"\nReads: {', '.join(facts.reads)}.", markup=False, highlight=False)
    if facts.cost:
        out.print(f"\nCosts {facts.cost['config']:.1f}x: {_measured_on()}.", markup=False, highlight=False)
    out.print("\nIn a recipe (settings with their defaults):\n", markup=False)
    out.print(f"[methods.{method.name}]", markup=False, highlight=False)
    for name, value in settings.items():
        shown = "..." if value is None else _toml(value)
        comment = "# " if value is None else ""
        out.print(f"{comment}{name} = {shown}", markup=False, highlight=False)


def _toml(value: object) -> str:
    """Numbers, strings, truth and lists of them are written alike in TOML and JSON."""
    return json.dumps(value)
