"""The display of a search: the graph of its trainings, their state, and the time left."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.progress import Progress
from rich.text import Text
from rich.tree import Tree

from understudy.cli._live import Live, span
from understudy.measure import Spread
from understudy.paths import Edge
from understudy.paths.edges import qualities
from understudy.report.format import plural
from understudy.runs.search import Search
from understudy.tasks import Figure


@dataclass(frozen=True)
class Seen:
    """A snapshot of a search, which the display draws from its own thread.

    Args:
        trainings: the trainings of each edge that is known or requested.
        expected: the expected seconds of each pending training; empty before the first one is done.
        more: the number of students that may still be requested, and the expected seconds of all of them.
    """

    teacher: Edge
    figure: Figure  # the task's first figure
    trainings: Mapping[Edge, Sequence[str]]
    known: Mapping[Edge, Spread]
    failed: Collection[Edge]
    done: Collection[str]
    waiting: Sequence[str]
    expected: Mapping[str, float]
    more: tuple[int, float]
    parallel: int

    @classmethod
    def of(cls, search: Search) -> Self:
        plan, durations, engine = search.execution.plan, search.durations, search.execution.engine
        edges = dict.fromkeys([search.strategy.sizes.teacher, *search.known, *search.asked])
        waiting, to_come = search.waiting, search.to_come
        expected = {name: seconds for name in waiting if (seconds := durations.of(plan[name])) is not None}
        return cls(
            teacher=search.strategy.sizes.teacher,
            trainings={edge: tuple(search.asked.get(edge, ())) for edge in edges},
            figure=search.figure,
            known={edge: qualities(spread, search.figure) for edge, spread in search.known.items()},
            failed=set(search.failed),
            done=set(search.origins),
            waiting=waiting,
            expected=expected,
            more=(to_come, to_come * (durations.usual or 0.0)),
            parallel=engine.parallel if engine else 1,
        )

    def seconds_left(self, share: Callable[[str], float]) -> float:
        """The estimated time left, from the finished share of each training; 0 where there is no estimate."""
        left = sum(seconds * (1 - share(name)) for name, seconds in self.expected.items())
        return (left + self.more[1]) / self.parallel


class GraphLive(Live):
    """The graph above the bars of what is being trained; plain lines where the output is no terminal."""

    def __init__(self, console: Console):
        super().__init__(console)
        self.bars = bars = _Bars(*self.bars.columns, console=console, refresh_per_second=4)
        bars.graph = self._graph
        self.seen: Seen | None = None
        self.ended = -1

    def observe(self, search: Search) -> None:
        """A training was requested or has ended. Progress within a training comes through its own callbacks."""
        self.seen = Seen.of(search)
        if len(self.seen.done) != self.ended:
            self.ended = len(self.seen.done)
            self.say(self._summary(self.seen).plain)

    @property
    def seconds_left(self) -> float:
        return self.seen.seconds_left(self._share) if self.seen else 0.0

    def _graph(self) -> RenderableType | None:
        """The current state."""
        return Group(self._tree(self.seen), self._summary(self.seen)) if self.seen else None

    def _tree(self, seen: Seen) -> Tree:
        """The trainings as a tree, each below its teacher. Trainings without a teacher are roots."""
        root = Tree("", hide_root=True, guide_style="dim")
        branches: dict[Edge, Tree] = {}
        for edge in seen.trainings:
            above = branches.get(edge.teacher, root) if edge.teacher else root
            branches[edge] = above.add(self._label(edge, seen))
        return root

    def _label(self, edge: Edge, seen: Seen) -> Text:
        text = Text(str(edge.size), style="bold")
        if len(edge.path) == 1 and edge != seen.teacher:
            text.append(" alone, quickly" if edge.quick else " alone", style="dim")
        if edge in seen.known:
            return text.append(f"  {seen.known[edge].text(seen.figure.unit)}", style="green")
        if edge in seen.failed:
            return text.append("  failed", style="red")
        names = seen.trainings[edge]
        done = sum(name in seen.done for name in names)
        if any(self._runs(name, seen) for name in names):
            return text.append(f"  running, {done} of {plural(len(names), 'seed')} done", style="yellow")
        return text.append("  waiting", style="dim")

    def _summary(self, seen: Seen) -> Text:
        done = sum(name in seen.done for names in seen.trainings.values() for name in names)
        running = sum(self._runs(name, seen) for name in seen.waiting)
        parts = [f"{done} done", f"{running} running", f"{len(seen.waiting) - running} waiting"]
        if seen.failed:
            parts.append(f"{len(seen.failed)} failed")
        if seen.more[0]:
            parts.append(f"up to {seen.more[0]} more")
        left = seen.seconds_left(self._share)
        if left:
            parts.append(f"about {span(left)} left")
        return Text(", ".join(parts))

    def _runs(self, name: str, seen: Seen) -> bool:
        return name in self.begun and name in seen.waiting

    def _share(self, name: str) -> float:
        return self.trainings[name].share if name in self.trainings else 0.0


class _Bars(Progress):
    """The graph, drawn again at each refresh, and the running trainings below it."""

    graph: Callable[[], RenderableType | None] | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.graph and (drawn := self.graph()):
            yield drawn
        yield self.make_tasks_table([task for task in self.tasks if not task.finished])
