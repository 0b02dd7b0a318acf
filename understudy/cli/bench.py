"""``understudy bench``: what a training step costs, where it goes, and how far it is from the floor."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from understudy.bench.steps import StepCost, step_cost
from understudy.cli._live import Live
from understudy.cli._settle import read_settled
from understudy.cli._shared import (
    JsonOption,
    RecipeArgument,
    SetOption,
    SettingsOption,
    TrustOption,
    err,
    out,
    print_json,
)
from understudy.errors import UserError, did_you_mean
from understudy.measure.surroundings import command, machine, versions
from understudy.plans.training import Casts
from understudy.runs import Run
from understudy.runs.rehearsal import Rehearsals
from understudy.stored import Stored


def bench(
    recipe: RecipeArgument,
    method: Annotated[str | None, typer.Option(help="Only this method of the recipe.", show_default=False)] = None,
    seconds: Annotated[float, typer.Option(min=0, help="To measure for, in each stage.")] = 5.0,
    changes: SetOption = None,
    settings: SettingsOption = None,
    trust: TrustOption = None,
    json: JsonOption = False,
) -> None:
    """Time and memory of a step, part by part, and against the floors: the networks alone, at the same settings.

    Example: understudy bench recipes/fitnets_mnist.toml --method kd --set train.batch=64
    """
    with tempfile.TemporaryDirectory() as nowhere, Live(err) as live:
        casts = Casts(trust or (), live.downloads)
        read = read_settled(recipe, changes, settings, casts)
        run = Run(read, Path(nowhere), watcher=live, casts=casts)
        stored = read.stored.aside(Path(nowhere) / "stored") if read.stored else None
        costs = {name: list(_costs(run, name, stored, seconds)) for name in _named(run, method)}
    if json:
        stages = {name: [asdict(cost) for cost in found] for name, found in costs.items()}
        record = {"command": command(), "machine": machine(), "versions": versions(), "settings": asdict(read.settings)}
        print_json({**record, "methods": stages})
        return
    for name, found in costs.items():
        for cost in found:
            _show(name, cost, out)


def _named(run: Run, method: str | None) -> list[str]:
    known = run.recipe.methods
    if method is not None and method not in known:
        raise UserError(f"the recipe has no method {method!r}{did_you_mean(method, known)}")
    return list(known) if method is None else [method]


def _costs(run: Run, name: str, stored: Stored | None, seconds: float) -> Iterator[StepCost]:
    """Of each stage of a method, each in a training of its own. What the weights are makes no difference."""
    for number in range(len(Rehearsals(run.recipe, run.cast).student(name).stages)):
        yield step_cost(Rehearsals(run.recipe, run.cast).student(name, stored), number, seconds=seconds)


def _show(method: str, cost: StepCost, console: Console) -> None:
    table = Table(title=f"{method}, stage {cost.stage!r}: {cost.objective}", title_justify="left")
    table.add_column("one step", no_wrap=True)
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    whole = sum(cost.parts_ms.values())
    for name, value in cost.parts_ms.items():
        table.add_row(name, f"{value:.2f}", f"{value / whole:.1%}")
    console.print(table)
    for line in _sentences(cost):
        console.print(line, markup=False, highlight=False)


def _sentences(cost: StepCost) -> Iterator[str]:
    for name, ratio in cost.of_floor.items():
        yield f"step: {ratio:.2f} of floor {name} ({cost.step_ms:.2f} ms against {cost.floors_ms[name]:.2f} ms)"
    yield (
        f"{cost.images_per_second:,.0f} images/s in batches of {cost.batch}; the data alone come at "
        f"{cost.loader_images_per_second:,.0f} images/s: the limit is the {cost.limit}"
    )
    whose = "of the accelerator" if cost.memory_of == "accelerator" else "of the whole process"
    yield f"peak memory {cost.peak_memory_mb:,.0f} MB, {whose}"
