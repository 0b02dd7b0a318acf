"""Search strategies for paths. A strategy is a function of the known figures: it returns the trainings it needs next.

A strategy has no state, so that a search continues after any stop, and trainings that do not depend
on each other run side by side. Paths are compared by the mean over the seeds of the first figure on validation.

That the best way to a size is part of the best way through it does not hold strictly: in Figure 5 of TAKD the better
network of size 6 (57.53) teaches a worse one of size 2 (44.46) than the plainer (57.13) does (44.57). So only
``Every`` is sure to find the best path; the others look at less, and an answer says what was looked at.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from understudy.errors import UserError, did_you_mean
from understudy.paths.edges import FAILED, Edge, Known, Path, Size, Sizes, trainings_of


@dataclass(frozen=True)
class Strategy(ABC):
    """The interface of strategies, which search among the paths from the first of ``sizes`` to the last."""

    sizes: Sizes

    @abstractmethod
    def asked(self, known: Known) -> list[Edge]:
        """Every training that the search requests as far as is known, finished ones included."""

    @property
    @abstractmethod
    def most(self) -> int:
        """The largest number of trainings it can request, without the teacher's."""

    @property
    def paths(self) -> list[Path]:
        """The complete paths among which it searches."""
        return self.sizes.paths()

    def wanted(self, known: Known) -> list[Edge]:
        """The trainings that can start now, the most useful first; none when the search is over."""
        ready = [
            edge for edge in self.asked(known) if edge not in known and (edge.teacher is None or edge.teacher in known)
        ]
        return sorted(ready, key=self._usefulness)

    def _usefulness(self, edge: Edge) -> tuple[bool, int]:
        """Order by complete paths first, then short ones, so that a search that is stopped early has an outcome."""
        return edge.size != self.sizes.student, len(edge.path)


def with_failures(strategy: Strategy, known: Known, failed: Collection[Edge]) -> Known:
    """The figures for a strategy, in which failed trainings and all that depend on them are the worst."""
    assumed = {**known, **dict.fromkeys(failed, FAILED)}
    while lost := [edge for edge in strategy.wanted(assumed) if edge.passes(failed)]:
        assumed |= dict.fromkeys(lost, FAILED)
    return assumed


def best_of(edges: Sequence[Edge], known: Known) -> Edge:
    """The best; of equal ones, that with fewer assistants."""
    return max(edges, key=lambda edge: (known[edge].mean, -len(edge.path)))


@dataclass(frozen=True)
class Every(Strategy):
    """All 2^n paths through n assistants' sizes: the paper's Figure 5. Shared beginnings are trained once."""

    def asked(self, known: Known) -> list[Edge]:
        return trainings_of(self.paths)

    @property
    def most(self) -> int:
        return len(trainings_of(self.paths)) - 1


@dataclass(frozen=True)
class BestFirst(Strategy):
    """Each pair of sizes once, the larger one in its best version so far: n(n+1)/2 trainings for n sizes below."""

    def asked(self, known: Known) -> list[Edge]:
        edges, best = [self.sizes.teacher], {self.sizes.all[0]: self.sizes.teacher}
        for size in self.sizes.all[1:]:
            above = self.sizes.above(size)
            incoming = [best[larger].to(size) for larger in above if larger in best]
            edges += incoming
            if len(incoming) == len(above) and all(edge in known for edge in incoming):
                best[size] = best_of(incoming, known)
        return edges

    @property
    def most(self) -> int:
        below = len(self.sizes.all) - 1
        return below * (below + 1) // 2


@dataclass(frozen=True)
class Limited(Strategy):
    """At most ``assistants`` of them: each pair of sizes once for each number of steps before it.

    ``A(j, k)``, the best network of size j in k steps or fewer, is the best among those that the ``A(i, k - 1)`` of
    all larger i teach. The paper speaks of such a search in an appendix that is not published; this is ours.
    """

    assistants: int = 1

    def __post_init__(self) -> None:
        if self.assistants < 0:
            raise UserError(f"the number of assistants must not be negative (it is {self.assistants})")

    def asked(self, known: Known) -> list[Edge]:
        edges = [self.sizes.teacher]
        for steps in range(1, self.assistants + 2):
            goals = self.sizes.all[1:] if steps <= self.assistants else (self.sizes.student,)
            for size in goals:
                edges += self._incoming(size, steps, known)[0]
        return list(dict.fromkeys(edges))

    def _incoming(self, size: Size, steps: int, known: Known) -> tuple[list[Edge], bool]:
        """The trainings of this size in so many steps or fewer, and whether they are complete."""
        if steps == 1:
            return [self.sizes.teacher.to(size)], True
        edges, complete = self._incoming(size, steps - 1, known)
        for larger in self.sizes.above(size)[1:]:
            teacher = self._best(larger, steps - 1, known)
            if teacher is not None:
                edges.append(teacher.to(size))
            complete = complete and teacher is not None
        return list(dict.fromkeys(edges)), complete

    def _best(self, size: Size, steps: int, known: Known) -> Edge | None:
        edges, complete = self._incoming(size, steps, known)
        return best_of(edges, known) if complete and all(edge in known for edge in edges) else None

    @property
    def paths(self) -> list[Path]:
        return self.sizes.paths(self.assistants)

    @property
    def most(self) -> int:
        below = len(self.sizes.all) - 1
        stepwise = 1 if not self.assistants else 2 * below - 1 + (self.assistants - 1) * below * (below - 1) // 2
        return min(stepwise, len(trainings_of(self.paths)) - 1)


@dataclass(frozen=True)
class Rule(Strategy):
    """The paper's rule of thumb: the assistant whose own figure is nearest the mean of teacher's and student's.

    Every size, the teacher's included, is trained alone with a short config. Then one path is
    taken, and nothing else is tried.
    """

    def __post_init__(self) -> None:
        if not self.sizes.assistants:
            raise UserError(
                "the rule of thumb chooses an assistant: name sizes between the teacher's and the student's"
            )

    def asked(self, known: Known) -> list[Edge]:
        chosen = self.chosen(known)
        path = trainings_of([(self.sizes.all[0], chosen, self.sizes.student)]) if chosen else [self.sizes.teacher]
        return [*self.trials, *path]

    @property
    def trials(self) -> list[Edge]:
        """What it compares."""
        return [Edge((size,), quick=True) for size in self.sizes.all]

    def chosen(self, known: Known) -> Size | None:
        """The assistant, after all have been tried; None where the trials that decide have failed."""
        tried = {size: known[edge].mean for size in self.sizes.all if (edge := Edge((size,), quick=True)) in known}
        if len(tried) < len(self.sizes.all):
            return None
        middle = (tried[self.sizes.all[0]] + tried[self.sizes.student]) / 2
        sound = [size for size in self.sizes.assistants if math.isfinite(tried[size])]
        return min(sound, key=lambda size: abs(tried[size] - middle)) if sound and math.isfinite(middle) else None

    @property
    def most(self) -> int:
        return len(self.sizes.all) + 2


STRATEGIES = ("every", "best-first", "limited", "rule")


def strategy(name: str, sizes: Sequence[Size], assistants: int | None = None) -> Strategy:
    """A strategy by its name; ``assistants`` is the limit of ``limited``."""
    between = Sizes.of(sizes)
    if assistants is not None and name != "limited":
        raise UserError(f"a limited number of assistants is the strategy 'limited', not {name!r}")
    if name == "limited":
        return Limited(between, 1 if assistants is None else assistants)
    kinds: dict[str, type[Strategy]] = {"every": Every, "best-first": BestFirst, "rule": Rule}
    if name not in kinds:
        raise UserError(f"there is no strategy {name!r}{did_you_mean(name, STRATEGIES)}")
    return kinds[name](between)
