"""``understudy bench``: what a training step costs, where it goes, and which settings are the fastest."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from understudy.bounds import LARGEST
from understudy.cli._bounds import not_nan
from understudy.cli._live import Live
from understudy.cli._options import ReadOptions, RecipeArgument, with_options
from understudy.cli._shared import err, out, print_json
from understudy.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from understudy.answers import StoredAnswers
    from understudy.bench.choose import Choice
    from understudy.bench.steps import StepCost
    from understudy.config.settings import Settings
    from understudy.recipe import Recipe
    from understudy.runs import Run


@with_options
def bench(
    recipe: RecipeArgument,
    method: Annotated[str | None, typer.Option(help="Only this method of the recipe.", show_default=False)] = None,
    seconds: Annotated[
        float,
        typer.Option(
            min=0,
            max=LARGEST,
            callback=not_nan,
            help="To measure for, in each stage; with --choose, in each comparison.",
        ),
    ] = 5.0,
    choosing: Annotated[
        bool, typer.Option("--choose", help="Measure which settings are the fastest, and print them as [settings].")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="With --choose: add them to the recipe's file.")] = False,
    *,
    options: ReadOptions,
) -> None:
    """Time and memory of a step, part by part, and against the floors: the networks alone, at the same settings.

    Example: understudy bench recipes/fitnets_mnist.toml --method kd --set train.batch=64
    """
    from understudy import recipe as recipes
    from understudy.bench.answers import answer_times
    from understudy.bench.choose import choose
    from understudy.cli._run import with_threads
    from understudy.plans.training import Builders
    from understudy.runs import Run
    from understudy.runs.preview import Preview

    if choosing and options.settings is not None:
        raise UserError("--choose measures what the recipe's settings leave open: leave --settings out")
    if write and not choosing:
        raise UserError("--write adds the settings of --choose to the recipe: give both")
    with tempfile.TemporaryDirectory() as nowhere, Live(err) as live:
        builders = Builders(options.trust or (), live.downloads)
        if choosing:
            read, named = _left_open(recipe, options, write)
            read = builders.answered(read)
            preview = Preview(_of(read, method), builders.of(read.data))
            choice = choose(preview.recipe, preview, named, seconds=seconds)
        else:
            read = with_threads(recipes.read(recipe, options.changes or [], settings=options.settings))
            run = Run(_of(read, method), Path(nowhere), callback=live, builders=builders)
            stored = read.answers.aside(Path(nowhere) / "stored") if read.answers else None
            costs = {name: list(_costs(run, name, stored, seconds)) for name in run.recipe.methods}
            answers = answer_times(run.preview().student(_taught(run.recipe)), seconds=seconds)
    if choosing:
        _tell(choice, recipe if write else None, json=options.json)
        return
    if options.json:
        stages = {name: [asdict(cost) for cost in steps] for name, steps in costs.items()}
        networks = {name: asdict(times) for name, times in answers.items()}
        print_json({**_circumstances(read.settings), "methods": stages, "networks": networks})
        return
    for name, steps in costs.items():
        for cost in steps:
            _show(name, cost, out)
    for name, times in answers.items():
        one, many = times.one.p50, times.batch.p50
        line = f"{name} answers in {one:.3g} ms (one sample), {many:.3g} ms ({times.batch.batch} samples"
        out.print(f"{line}, {many / times.batch.batch:.3g} ms each)", markup=False, highlight=False)


def _left_open(path: Path, options: ReadOptions, write: bool) -> "tuple[Recipe, list[str]]":
    """The recipe, in plain settings where it names none, and its settings."""
    from understudy import recipe as recipes
    from understudy.recipe.read import load, text_of

    raw, _ = load(text_of(path), str(path), options.changes or [])
    table = raw.get("settings", {})
    if write and "settings" in load(text_of(path), str(path), [])[0]:
        raise UserError(f"{path} has settings already: without --write, they are printed to be put in their place")
    named = list(table) if isinstance(table, dict) else []
    return recipes.read(path, options.changes or [], settings="plain"), named


def _of(recipe: "Recipe", method: str | None) -> "Recipe":
    """The recipe, or one with this method alone."""
    if method is None:
        return recipe
    if method not in recipe.methods:
        raise UserError(f"the recipe has no method {method!r}{did_you_mean(method, recipe.methods)}")
    return recipe.model_copy(update={"methods": {method: recipe.methods[method]}})


def _taught(recipe: "Recipe") -> str:
    """The first method with a teacher, or the first one."""
    from understudy.methods import find

    taught = [name for name, table in recipe.methods.items() if find(table.method).reads_teacher]
    return (taught or list(recipe.methods))[0]


def _costs(run: "Run", name: str, stored: "StoredAnswers | None", seconds: float) -> "Iterator[StepCost]":
    """The costs of each stage of a method, each in its own training. The weights have no influence on them."""
    from understudy.bench.steps import step_cost

    for number in range(len(run.preview().student(name).stages)):
        yield step_cost(run.preview().student(name, stored), number, seconds=seconds)


def _circumstances(settings: "Settings") -> dict[str, object]:
    from understudy.measure.machine import command, machine, versions

    return {"command": command(), "machine": machine(), "versions": versions(), "settings": asdict(settings)}


def _tell(choice: "Choice", path: Path | None, *, json: bool) -> None:
    """Print the comparison on standard error, and the table of settings for a recipe."""
    if json:
        compared = [asdict(candidate) for candidate in choice.candidates]
        print_json({**_circumstances(choice.settings), "gain": choice.gain, "candidates": compared})
    for one in choice.candidates if not json else ():
        gain = "not possible here" if one.gain is None else f"{one.gain:.2f} times the speed"
        err.print(f"{one.change}: {gain}{', taken' if one.taken else ''}", markup=False, highlight=False)
    table = _table(choice)
    if path is not None:
        path.write_text(f"{path.read_text(encoding='utf-8').rstrip()}\n\n{table}", encoding="utf-8")
        err.print(f"written into {path}", markup=False, highlight=False, soft_wrap=True)
    elif not json:
        typer.echo(table, nl=False)


def _table(choice: "Choice") -> str:
    import tomli_w

    from understudy.bench.choose import CHOOSABLE
    from understudy.measure.machine import machine, versions
    from understudy.recipe.overrides import without_nones

    kept = {name: value for name, value in asdict(choice.settings).items() if name in (*CHOOSABLE, "device")}
    if kept["device"] == "auto":
        del kept["device"]
    where = f"torch {versions()['torch']} on {machine()['processor']}"
    comment = f"# {choice.gain:.2f} times the speed of plain settings, as measured with {where}"
    return f"{comment}\n{tomli_w.dumps({'settings': without_nones(kept)})}"


def _show(method: str, cost: "StepCost", console: Console) -> None:
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


def _sentences(cost: "StepCost") -> Iterator[str]:
    for name, ratio in cost.of_floor.items():
        yield f"step: {ratio:.2f} of floor {name} ({cost.step_ms:.2f} ms against {cost.floors_ms[name]:.2f} ms)"
    yield (
        f"{cost.samples_per_second:,.0f} samples/s in batches of {cost.batch}; the data alone come at "
        f"{cost.loader_samples_per_second:,.0f} samples/s: the limit is the {cost.limit}"
    )
    whose = "of the accelerator" if cost.memory_of == "accelerator" else "of the whole process"
    yield f"peak memory {cost.peak_memory_mb:,.0f} MB, {whose}"
