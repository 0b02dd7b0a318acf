"""What a person sees of a search: the graph of its trainings, what is done, running and waiting, and the time left."""

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.progress import Progress
from rich.text import Text
from rich.tree import Tree

from understudy.cli._live import Live, span
from understudy.paths import Edge
from understudy.report.words import plural
from understudy.running.search import Search


class GraphLive(Live):
    """The graph above the bars of what is being trained; plain lines where the output is no terminal."""

    def __init__(self, console: Console):
        super().__init__(console)
        self.bars = _Bars(*self.bars.columns, console=console, refresh_per_second=4)
        self.ended = -1

    def observe(self, search: Search) -> None:
        """Something was asked for, or has ended."""
        assert isinstance(self.bars, _Bars)
        self.bars.graph = Group(self._tree(search), self._summary(search))
        if len(search.origins) != self.ended:
            self.ended = len(search.origins)
            self.say(self._summary(search).plain)

    def _tree(self, search: Search) -> Tree:
        """Each training below its teacher; those alone stand by themselves."""
        root = Tree("", hide_root=True, guide_style="dim")
        branches: dict[Edge, Tree] = {}
        teacher = search.strategy.sizes.teacher
        for edge in dict.fromkeys([teacher, *search.known, *search.asked]):
            above = branches.get(edge.teacher, root) if edge.teacher else root
            branches[edge] = above.add(self._label(edge, search))
        return root

    def _label(self, edge: Edge, search: Search) -> Text:
        text = Text(str(edge.size), style="bold")
        if len(edge.path) == 1 and edge != search.strategy.sizes.teacher:
            text.append(" alone, quickly" if edge.quick else " alone", style="dim")
        if edge in search.known:
            return text.append(f"  {search.known[edge].percent()}", style="green")
        if edge in search.failed:
            return text.append("  failed", style="red")
        names = search.asked.get(edge, [])
        done = sum(name in search.origins for name in names)
        if any(self._runs(name, search) for name in names):
            return text.append(f"  running, {done} of {plural(len(names), 'seed')} done", style="yellow")
        return text.append("  waiting", style="dim")

    def _summary(self, search: Search) -> Text:
        names = [name for names in search.asked.values() for name in names]
        done = sum(name in search.origins for name in names)
        running = sum(self._runs(name, search) for name in names)
        told = [f"{done} done", f"{running} running", f"{len(search.waiting) - running} waiting"]
        if search.failed:
            told.append(f"{len(search.failed)} failed")
        if search.to_come:
            told.append(f"up to {search.to_come} more")
        left = search.seconds_left
        if left:
            told.append(f"about {span(left)} left")
        return Text(", ".join(told))

    def _runs(self, name: str, search: Search) -> bool:
        return name in self.begun and name in search.waiting


class _Bars(Progress):
    """The graph, and below it only what goes on."""

    graph: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.graph is not None:
            yield self.graph
        yield self.make_tasks_table([task for task in self.tasks if not task.finished])
