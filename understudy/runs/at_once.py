"""How many trainings of a run go on at once where nobody says it: as many as there are cores for, if it is worth it."""

import os
from pathlib import Path

from understudy.bench.choose import SHORT, plain_step
from understudy.errors import UserError
from understudy.models.sizes import parameters
from understudy.plans import Node, Plan
from understudy.recipe.build import Cast
from understudy.runs.choosing import longest
from understudy.runs.run import Run

BUSY = 0.75  # of the time a worker is at work, or else more threads for each training gain more
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: so many microseconds of computing in so many


def cores() -> int:
    """Those that this process may use."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        most, period = QUOTA.read_text(encoding="utf-8").split()
        return max(1, min(there, int(most) // int(period)))
    except (OSError, ValueError):  # no container, or one without a bound
        return there


def at_once(run: Run, threads: int | None) -> int:
    """For a run that has not begun: 1 where processes of their own would cost more than they save.

    Args:
        threads: of each training, where they are named.
    """
    if run.recipe.settings.torch_device.type != "cpu":
        return 1
    try:
        run.foresee()
        most = min(max(map(len, run.plan.levels)), cores() // (threads or 1))
        return max(1, min(most, _busy(run))) if most > 1 else 1
    except (UserError, RuntimeError):  # what is wrong is for the check to say
        return 1


def _busy(run: Run) -> int:
    """How many workers the run can keep at work for most of its time; in a short run, none beside this process.

    It lasts at least as long as those of its trainings that wait for one another. While a teacher is trained for whom
    all others wait, the cores of the other workers are idle.
    """
    seconds, ends = _seconds(run), dict[str, float]()
    for node in run.plan:
        ends[node.name] = seconds[node.name] + max((ends[teacher] for teacher in node.learns_from), default=0.0)
    whole = sum(seconds.values())
    return int(whole / (BUSY * max(ends.values()))) if whole >= SHORT else 1


def _seconds(run: Run) -> dict[str, float]:
    """About what each training takes: one step is measured, and others cost what the sizes of their networks say."""
    rehearsals = run.rehearsals()
    name, number, _ = longest(run.recipe, rehearsals)
    training = rehearsals.student(name)
    stage, data = training.stages[number], training.data
    step = plain_step(run.recipe.settings, training.teachers, training.student, stage, data, stored=run.recipe.stored)
    epoch = step * data.train.steps(stage.course.batch)
    unit = epoch / _cost(rehearsals.chain(name)[-1], rehearsals.plan, run.cast)
    return {node.name: unit * _cost(node, run.plan, run.cast) * node.course.epochs for node in run.plan}


def _cost(node: Node, plan: Plan, cast: Cast) -> int:
    """Of a step: forward and backward through the network, which is about thrice forward, and its teachers' answers."""
    tables = [plan[teacher].network if isinstance(teacher, str) else teacher for teacher in node.teachers]
    shape, classes = cast.data.shape, len(cast.data.classes)
    own, *teachers = (parameters(cast.spec(one), shape, classes, cast.trusted) for one in (node.network, *tables))
    return max(1, 3 * own + sum(teachers))
