"""From a parsed recipe to the run of a command: settings, workers, engine, and the plan of a dry run."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from understudy.cli._live import span
from understudy.cli._options import RunOptions
from understudy.cli._shared import err, print_findings, print_json
from understudy.config import hardware
from understudy.config.settings import Settings
from understudy.errors import UserError
from understudy.plans import Node, Plan
from understudy.plans.engines import Request, engines
from understudy.plans.group import Group, InGroup
from understudy.plans.training import Builders
from understudy.recipe import Recipe
from understudy.recipe.build import Builder
from understudy.report.format import plural
from understudy.runs import Run
from understudy.runs.durations import Forecast
from understudy.runs.folder import RunFolder
from understudy.runs.workers import workers_by_rule
from understudy.training.callbacks import Callback
from understudy.training.preflight import Finding

R = TypeVar("R", bound=Run)


def prepared(
    make: Callable[..., R],
    recipe: Recipe,
    options: RunOptions,
    callback: Callback,
    folder: Path,
    first: Callable[[Recipe, Builder], Plan] = Run.first,
    group: Group | None = None,
    builders: Builders | None = None,
) -> R:
    """The run, ``make(recipe, builders=..., engine=..., threads=...)``, and a line with its settings and workers.

    What a recipe leaves open is as it was when the run in ``folder`` began. Otherwise the number of workers follows
    from the plan of ``first`` trainings, and the threads of each from the number of workers.
    """
    builders = builders or Builders(options.trust or (), callback.downloads)
    begun = RunFolder(folder).settings()
    settings = recipe.settings
    if begun and settings.threads is None:
        settings = replace(settings, threads=begun.threads)
    engine, workers = engines().find(options.engine or "local"), options.workers
    if group is not None and (options.engine is not None or workers is not None):
        raise UserError("several processes take each training together: leave --engine and --workers out")
    if group is None and options.engine is None and workers is None:
        workers = _workers(recipe, builders, settings, first)
    threads = settings.threads or hardware.threads_each(
        group.here if group else engine.sharing(workers) * settings.ranks
    )
    if begun is None:
        settings = replace(settings, threads=threads)
    summary = replace(settings, threads=threads).summary()
    if workers and workers > 1:
        summary += f" for each of {workers} trainings at once (--workers 1: one after another)"
    if group is not None or settings.ranks > 1:
        summary += f", on each of {group.world if group else settings.ranks} processes"
        sharded = ["the student"] * (settings.parallel == "fsdp") + ["the teacher"] * settings.teacher_shard
        summary += f", which share {' and '.join(sharded)}" if sharded else ""
    _say_settings(f"{summary}, with which the run began" if begun else summary)
    request = Request(workers, threads, int(settings.torch_device.type == "cuda"), options.address, settings.ranks)
    return make(
        recipe.model_copy(update={"settings": settings}),
        builders=builders,
        engine=lambda builders, callback, stop: (
            InGroup(group, builders, callback, stop) if group else engine.make(request, builders, callback, stop)
        ),
        threads=threads,
        **({"group": group} if group else {}),
    )


def with_threads(recipe: Recipe, folder: Path | None = None, workers: int = 1) -> Recipe:
    """The recipe with the threads of each worker, and a line with its settings.

    A run in ``folder`` continues with the number of threads with which it began.
    """
    begun = RunFolder(folder).settings() if folder else None
    threads = recipe.settings.threads or (begun.threads if begun else hardware.threads_each(workers))
    settings = replace(recipe.settings, threads=threads)
    summary = settings.summary() + (f" for each of {workers} trainings at once" if workers > 1 else "")
    _say_settings(f"{summary}, with which the run began" if begun else summary)
    return recipe.model_copy(update={"settings": settings})


def _say_settings(text: str) -> None:
    print_findings([Finding("ok", "settings", text, worth=True)], err)


def _workers(recipe: Recipe, builders: Builders, settings: Settings, first: Callable[[Recipe, Builder], Plan]) -> int:
    if settings.torch_device.type != "cpu":
        return 1
    recipe = builders.answered(recipe)
    builder = builders.of(recipe.data)
    try:
        plan = first(recipe, builder)
    except UserError:  # the run reports the mistake
        return 1
    return workers_by_rule(plan, builder, (settings.threads or 1) * settings.ranks)


def show_plan(run: Run, console: Console, *, json: bool) -> None:
    """The trainings that are missing and those that exist, as text or as plain data, and how many may follow."""
    more = run.foresee()
    states = run.execution.states()
    to_train = [name for name, state in states.items() if state in ("begun", "to train")]
    waiting, time = len(to_train), run.forecast(to_train, more)
    if json:
        rows = [_row(node, states[node.name], run.execution.key(node.name)) for node in run.plan]
        content = {"trainings": rows, "to train": waiting, "more, depending on what comes out": more}
        print_json(content | ({"seconds": asdict(time)} if time else {}))
        return
    for line in run.plan.drawn(states):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    number = plural(len(states), "training")
    console.print(f"{number}: {len(states) - waiting} there already, {waiting} to train", highlight=False)
    if more:
        console.print(f"and up to {more} more, depending on what comes out", highlight=False)
    if time and waiting:
        console.print(_within(time), highlight=False, soft_wrap=True)


def _within(time: Forecast) -> str:
    """The number of trainings that fit into a budget of time."""
    if not time.left:
        return f"the time of {span(time.budget)} is over: what is begun is trained to its end, and nothing else"
    budget = f"a time of {span(time.budget)}" + (f", {span(time.spent)} of it spent" if time.spent else "")
    if time.needed is None:
        return (
            f"{budget}: no training is done that tells how far it goes; this is all that could run, and when the time "
            "is over, nothing more is begun"
        )
    enough = "there is time for all of it" if time.needed <= time.left else "more than there is time for"
    return f"{budget}: all of it takes about {span(time.needed)} one after another, as what is done tells: {enough}"


def _row(node: Node, state: str, key: str) -> dict[str, object]:
    return {
        "training": node.name,
        "state": state,
        "key": key,
        "network": node.network.network,
        "method": node.method,
        "seed": node.seed,
        "teachers": node.learns_from,
    }
