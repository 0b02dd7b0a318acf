"""A plan written in Python, carried out in a folder."""

from collections.abc import Collection
from pathlib import Path

import torch

from understudy.plans import Plan, Store
from understudy.plans.engines import Engine, Here, Processes, Together
from understudy.plans.execution import Done, Execution
from understudy.plans.training import Casts
from understudy.runs.folder import RunFolder
from understudy.training.interrupt import listening
from understudy.training.watch import Warner, Watcher


def carry_out(
    plan: Plan,
    out: str | Path,
    *,
    store: str | Path | None = None,
    workers: int | None = None,
    together: bool = False,
    trusted: Collection[str] = (),
    watcher: Watcher | None = None,
) -> dict[str, Done]:
    """Train a plan's networks, or go on with it; answers with how each training ended, by its name.

    >>> done = carry_out(Plan([large, small]), "runs/mine", store="store", workers=2)  # doctest: +SKIP
    >>> done["small"].validation  # doctest: +SKIP

    Args:
        out: the folder; a training that is done there is not repeated, one that was killed goes on where it was.
        store: finished trainings are taken from here first, and put here.
        workers: trainings at once; more than one are processes of their own. By default 1; together, 8.
        together: all of them in this process, in turn; who learns from one teacher shares its passes.
        trusted: modules of your own from which networks may come.
    """
    folder, shown = RunFolder(Path(out)), watcher or Warner()
    casts = Casts(trusted, shown.downloads)
    with folder.locked(), listening() as stop:
        folder.claim('title = "a plan, written in Python"\n')
        if together:
            engine: Engine = Together(workers, casts, shown, stop)
        else:
            engine = Processes(workers, shown, stop) if workers and workers > 1 else Here(casts, shown, stop)
        with engine:
            execution = Execution(
                folder,
                casts,
                engine,
                threads=torch.get_num_threads(),
                store=Store(Path(store)) if store else None,
                watcher=shown,
                trusted=trusted,
            )
            execution.submit(*plan)
            shown.run_begins(plan.names)
            return {done.node.name: done for done in execution.results()}
