"""Where trainings are carried out, and where finished ones are kept: options that commands share."""

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from understudy.cli._live import span
from understudy.cli._shared import print_json
from understudy.plans import Node, Store
from understudy.plans.cache import ENVIRONMENT
from understudy.plans.engines import Engine, Here, Processes, Together
from understudy.report.format import plural
from understudy.runs import Run
from understudy.runs.at_once import cores
from understudy.runs.durations import Forecast
from understudy.runs.run import MakeEngine
from understudy.settings import Choosable, Settings
from understudy.training.interrupt import StopRequest
from understudy.training.watch import Watcher


class EngineName(StrEnum):
    """What carries trainings out."""

    LOCAL = "local"
    TOGETHER = "together"
    RAY = "ray"


WorkersOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Trainings at once, each in a process of its own. "
        "[default: what the cores of a CPU are enough for, in a run of minutes and more; else 1, in this process; "
        "together: 8; ray: what it has room for]",
        show_default=False,
    ),
]
EngineOption = Annotated[
    EngineName | None,
    typer.Option(
        help="Worker processes of this machine; all in this process, in turn, which share each pass of their teacher; "
        "or a Ray cluster. [default: local]",
        show_default=False,
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", help="Of the Ray cluster; without one, it is started here.", show_default=False),
]
StoreOption = Annotated[
    Path | None,
    typer.Option(envvar=ENVIRONMENT, help="Finished trainings are taken from here, and put here.", show_default=False),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be trained and what is there already.")]


def chosen_store(path: Path | None) -> Store | None:
    return Store(path.expanduser()) if path else None


@dataclass(frozen=True)
class By:
    """By whom trainings are carried out, as the options say."""

    engine: EngineName | None = None
    workers: int | None = None
    address: str | None = None
    chosen: bool = False  # nobody said anything, and workers were found to be worth it


def chosen_engine(by: By, settings: Settings) -> tuple[MakeEngine, int]:
    """The engine that was asked for, to be made when the run begins, and the threads of each of its trainings.

    Where the recipe names none, several workers share this machine's cores; alone, PyTorch's own choice is taken.
    """
    workers, threads = by.workers, settings.threads
    if by.engine is EngineName.RAY:
        each = threads or _shared(workers)
        return lambda casts, watcher, stop: _ray(by, each, settings, watcher, stop), each
    if by.engine is EngineName.TOGETHER:
        return lambda casts, watcher, stop: Together(workers, casts, watcher, stop), threads or torch.get_num_threads()
    if workers is None or workers == 1:
        return Here, threads or torch.get_num_threads()
    return lambda casts, watcher, stop: Processes(workers, watcher, stop), threads or _shared(workers)


def of_workers(settings: Settings, by: By) -> Settings:
    """Where threads are left to be chosen and several workers share the machine, each takes its part of the cores.

    Of workers whom nobody asked for it is written down, too: the run goes on with as many.
    """
    workers = by.workers
    open_ = "threads" in settings.auto or (by.chosen and settings.threads is None)
    if by.engine is EngineName.TOGETHER or workers is None or workers == 1 or not open_:
        return settings
    left: tuple[Choosable, ...] = tuple(name for name in settings.auto if name != "threads")
    return replace(settings, threads=_shared(workers), auto=left)


def _shared(workers: int | None) -> int:
    return max(1, cores() // workers) if workers else 1


def _ray(by: By, threads: int, settings: Settings, watcher: Watcher, stop: StopRequest) -> Engine:
    from understudy.plans.engines.ray import Ray, Share

    gpus = 1 if settings.torch_device.type == "cuda" else 0
    return Ray(by.workers, by.address, Share(threads, gpus), watcher, stop)


def show_plan(run: Run, console: Console, *, json: bool) -> None:
    """What would be trained and what is there already, as it is drawn or as plain data; and how much may follow."""
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
    """How far a budget of time goes."""
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


def _row(node: Node, state: str, key: str) -> dict[str, Any]:
    return {
        "training": node.name,
        "state": state,
        "key": key,
        "network": node.network.network,
        "method": node.method,
        "seed": node.seed,
        "teachers": node.learns_from,
    }
