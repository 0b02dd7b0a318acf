"""The execution of a plan from Python in a folder, and the engine of a call from Python."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from understudy.config.hardware import cores
from understudy.config.settings import Settings
from understudy.errors import UserError
from understudy.plans import Node, Plan, TrainingCache
from understudy.plans.engines import Here, MakeEngine, Processes, Together
from understudy.plans.execution import Done, Execution
from understudy.plans.group import Group, InGroup
from understudy.plans.training import Builders
from understudy.recipe.objects import Objects
from understudy.recipe.read import FORMAT
from understudy.runs.folder import RunFolder
from understudy.training.callbacks import Callback, WarnNotes
from understudy.training.interrupt import listening


def engine_of(
    settings: Settings,
    workers: int | None,
    *,
    together: bool,
    objects: Objects | None = None,
    group: Group | None = None,
) -> tuple[MakeEngine, int]:
    """A factory of the engine with so many workers, and the threads of each training."""
    threads = settings.threads or torch.get_num_threads()
    if group is not None:
        return lambda builders, callback, stop: InGroup(group, builders, callback, stop), threads
    if together:
        return lambda builders, callback, stop: Together(workers, builders, callback, stop), threads
    if settings.ranks > 1 and objects is not None:
        raise UserError(
            "settings.ranks: networks and data that are passed as objects stay in this process: start the script with "
            f"torchrun --nproc-per-node={settings.ranks}"
        )
    if settings.ranks == 1 and workers in (None, 1):
        return Here, threads
    at_once = workers or 1
    return (
        lambda builders, callback, stop: Processes(at_once, callback, stop, objects),
        settings.threads or max(1, cores() // (at_once * settings.ranks)),
    )


def sharing_threads(node: Node, threads: int) -> Node:
    """The node, whose processes share so many threads where it leaves their number open."""
    settings = node.arithmetic
    each = settings.threads or max(1, threads // settings.ranks)
    return node.model_copy(update={"arithmetic": replace(settings, threads=each)})


def carry_out(
    plan: Plan,
    out: str | Path,
    *,
    cache: str | Path | None = None,
    workers: int | None = None,
    together: bool = False,
    trusted: Collection[str] = (),
    callback: Callback | None = None,
) -> dict[str, Done]:
    """Train a plan's networks, or resume it. Returns the outcome of each training by name.

    >>> done = carry_out(Plan([large, small]), "runs/mine", cache="cache", workers=2)  # doctest: +SKIP
    >>> done["small"].validation  # doctest: +SKIP

    Args:
        out: the folder; a finished training in it is not repeated, an interrupted one is resumed.
        cache: a folder from which finished trainings are taken, and to which they are added.
        workers: trainings at once; more than one run in their own processes. By default 1, with ``together`` 8.
        together: train all in turn in this process; those with the same teacher share its forward passes.
        trusted: modules of your own from which networks may come.
    """
    folder, shown = RunFolder(Path(out)), callback or WarnNotes()
    builders = Builders(trusted, shown.downloads)
    with folder.locked(), listening() as stop:
        folder.claim(f'format = {FORMAT}\ntitle = "a plan, written in Python"\n')
        ranks = max((node.arithmetic.ranks for node in plan), default=1)
        make, _ = engine_of(Settings(threads=torch.get_num_threads(), ranks=ranks), workers, together=together)
        with make(builders, shown, stop) as engine:
            execution = Execution(
                folder,
                builders,
                engine,
                threads=torch.get_num_threads(),
                cache=TrainingCache(Path(cache)) if cache else None,
                callback=shown,
                trusted=trusted,
            )
            execution.submit(*(sharing_threads(node, torch.get_num_threads()) for node in plan))
            if plan.names:
                shown.run_begins(plan.names, builders.of(plan[plan.names[0]].data).data.task.selecting)
            return {done.node.name: done for done in execution.results()}
