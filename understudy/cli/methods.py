"""``understudy methods``: the list of methods, and the details of one."""

import inspect
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from understudy.cli._completion import method_names
from understudy.cli._options import JsonOption
from understudy.cli._shared import err, out, print_json
from understudy.methods.costs import cost, measured
from understudy.methods.listing import Listed, added, listed

if TYPE_CHECKING:
    from understudy.methods import Method

_PER = {"row": "row by row of class scores", "sample": "sample by sample", "batch": "across the batch"}


def methods(
    name: Annotated[
        str | None, typer.Argument(help="One method, in full.", show_default=False, autocompletion=method_names)
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="Only those that fit this task, such as links.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the distillation methods, or show one with its settings and a recipe to copy.

    Example: understudy methods fitnets
    """
    if name is None and task is None and not as_json and not added():
        _show_all(listed())
        return
    from understudy.methods import METHODS  # imported here, because it and methods of other packages import PyTorch

    if name is None:
        methods = _fitting(task) if task else list(METHODS.values())
        print_json([_facts(method) for method in methods]) if as_json else _show_all(methods)
        for problem in METHODS.problems():
            err.print(f"warning: {problem}", style="yellow", markup=False, highlight=False)
        return
    method = METHODS.find(name)
    settings = _settings(method)
    if as_json:
        print_json(_facts(method) | {"description": method.description, "settings": settings})
    else:
        _show_one(method, settings)


def _fitting(task: str) -> "list[Method]":
    """The methods that fit a task, and those with terms of the user's own."""
    from understudy import tasks
    from understudy.methods import METHODS, fitting

    names = fitting(tasks.find(task)())
    return [method for method in METHODS.values() if method.name in names or method.family == "own"]


def _facts(method: "Method") -> dict[str, object]:
    return {
        "name": method.name,
        "family": method.family,
        "year": method.year,
        "paper": method.paper,
        "per": "" if method.family == "own" else method.per,
        "reads": _reads(method),
        "cost": cost(method.name),
        "summary": method.summary,
    }


def _reads(method: "Method") -> list[str]:
    """What the terms of all stages read beside the student's outputs and the labels."""
    from understudy.config.train import TrainConfig
    from understudy.taps.defaults import PLACEHOLDERS

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


def _settings(method: "Method") -> dict[str, object]:
    empty = inspect.Parameter.empty
    return {name: None if p.default is empty else p.default for name, p in method.settings.items()}


def _show_all(methods: "Iterable[Listed | Method]") -> None:
    table = Table()
    for heading in ("name", "family", "year", "cost", "what it does"):
        table.add_column(heading, no_wrap=heading == "name", justify="right" if heading == "cost" else "left")
    for method in methods:
        known = cost(method.name)
        times = f"{known['config']:.1f}x" if known else ""
        table.add_row(method.name, method.family, str(method.year), times, method.summary.replace("``", ""))
    out.print(table)
    out.print(f"cost: {_measured_on()}", style="dim", markup=False, highlight=False)


def _measured_on() -> str:
    """An explanation of the cost figures in one sentence."""
    known = measured()
    note = f"; {known['note']}" if known["note"] else ""
    return f"time of the training as a multiple of the student's alone ({known['pair']}; {known['date']}{note})"


def _show_one(method: "Method", settings: dict[str, object]) -> None:
    reads, known = _reads(method), cost(method.name)
    out.print(f"{method.name} ({method.paper}, {method.year})", style="bold", markup=False)
    out.print(method.description, markup=False, highlight=False)
    if reads:
        out.print(f"\nReads: {', '.join(reads)}.", markup=False, highlight=False)
    if method.family != "own":
        out.print(f"\nWorks {_PER[method.per]}.", markup=False, highlight=False)
    if known:
        out.print(f"\nCosts {known['config']:.1f}x: {_measured_on()}.", markup=False, highlight=False)
    out.print("\nIn a recipe (settings with their defaults):\n", markup=False)
    out.print(f"[methods.{method.name}]", markup=False, highlight=False)
    for name, value in settings.items():
        shown = "..." if value is None else _toml(value)
        comment = "# " if value is None else ""
        out.print(f"{comment}{name} = {shown}", markup=False, highlight=False)


def _toml(value: object) -> str:
    """Numbers, strings, booleans and lists of them have the same notation in TOML and JSON."""
    return json.dumps(value)
