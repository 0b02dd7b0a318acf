"""The default number of workers: a rule on the plan, the cores and the networks' sizes."""

import torch

from understudy import nested
from understudy.config import hardware
from understudy.data.dataset import usable_memory
from understudy.data.sources import InMemory
from understudy.measure.size import multiplications
from understudy.plans import Node, Plan
from understudy.recipe.build import Builder
from understudy.recipe.schema import NetworkTable

BUSY = 0.75  # the share of a run in which a worker must be busy, or fewer workers are used
SHORT = 1e12  # multiplications of a run, about two minutes of a core: below it, starting processes costs too much
COPIES = 0.5  # the share of the memory that the copies of the samples may take, this process's included
BACKWARD = 3  # a training step costs about three forward passes of the student


def workers_by_rule(plan: Plan, builder: Builder, threads: int | None = None) -> int:
    """The number of trainings of a plan that should run at once on the cores of this machine.

    It is at most the number that can run side by side and be kept busy: while a teacher is trained that all
    others wait for, the cores of the other workers would be idle. A short run stays in one process. Each worker keeps a
    copy of the samples that are kept in memory, and there are no more than it has room for.

    Args:
        threads: of each training, where they are named.
    """
    most = min(max(map(len, plan.levels), default=1), hardware.cores() // (threads or 1), _room(plan, builder))
    if most <= 1:
        return 1
    costs = _Costs(builder)
    ends: dict[str, float] = {}
    total = 0.0
    for node in plan:
        cost = costs.of(node, plan)
        total += cost
        ends[node.name] = cost + max((ends[teacher] for teacher in node.learns_from), default=0.0)
    if total < SHORT:
        return 1
    return max(1, min(most, int(total / (BUSY * max(ends.values())))))


def _room(plan: Plan, builder: Builder) -> int:
    """The number of workers whose copies of the samples fit into memory."""
    source, memory = builder.data.train.source, usable_memory()
    size = sum(tensor.nbytes for tensor in nested.tensors(source.samples)) if isinstance(source, InMemory) else 0
    if not size or not memory:
        return len(plan.names)
    processes = max((node.arithmetic.ranks for node in plan), default=1)
    return (int(memory * COPIES / size) - 1) // processes


class _Costs:
    """The multiplications of trainings. Each network is measured once."""

    def __init__(self, builder: Builder):
        self.builder = builder
        self._known: dict[str, int] = {}

    def of(self, node: Node, plan: Plan) -> float:
        teachers = [plan[teacher].network if isinstance(teacher, str) else teacher for teacher in node.teachers]
        step = BACKWARD * self._forward(node.network) + sum(map(self._forward, teachers))
        samples = len(self.builder.seen(node.data).train)
        return float(step) * samples * node.config.epochs

    def _forward(self, table: NetworkTable) -> int:
        name = f"{table.network} {dict(table.settings)}"
        if name not in self._known:
            self._known[name] = self._counted(table)
        return self._known[name]

    def _counted(self, table: NetworkTable) -> int:
        """The multiplications for one sample; errors of a network are left to the check."""
        try:
            network = self.builder.network(table, 0, "student")
            return multiplications(network, self.builder.data.example(1, torch.device("cpu")))
        except Exception:  # whatever a user's network raises
            return 1
