"""A plan: trainings and their teachers, as a graph without cycles that may grow."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

from understudy.errors import UserError, did_you_mean
from understudy.plans.node import Node


class Plan:
    """Nodes in an order in which each stands after its teachers.

    >>> data = {"name": "cifar10"}
    >>> large = Node(name="large", network={"network": "plain10"}, role="teacher", data=data)
    >>> small = Node(name="small", network={"network": "plain2"}, method="kd", teachers=["large"], data=data)
    >>> plan = Plan([small, large])
    >>> [node.name for node in plan]
    ['large', 'small']
    """

    def __init__(self, nodes: Iterable[Node] = ()):
        self._nodes: dict[str, Node] = {}
        self._order: list[Node] = []
        given = list(nodes)
        named = {node.name: node for node in given}
        for node in given:
            if node != named[node.name]:
                raise UserError(f"the plan has two different trainings called {node.name!r}")
            for teacher in node.learns_from:
                if teacher not in named:
                    raise UserError(f"{node.name!r} learns from {teacher!r}{did_you_mean(teacher, named)}")
        try:
            TopologicalSorter({name: node.learns_from for name, node in named.items()}).prepare()
        except CycleError as error:
            circle = " <- ".join(error.args[1])
            raise UserError(f"the plan goes in a circle: {circle}") from error
        for node in given:
            self._add_after_teachers(node, named)

    def _add_after_teachers(self, node: Node, named: Mapping[str, Node]) -> None:
        """The order of the nodes is kept where possible."""
        if node.name not in self._nodes:
            for teacher in node.learns_from:
                self._add_after_teachers(named[teacher], named)
            self.add(node)

    def add(self, node: Node) -> None:
        """Add a training, whose teachers must be in the plan. Adding it again changes nothing."""
        if self._nodes.get(node.name, node) != node:
            raise UserError(f"the plan has another training called {node.name!r} already")
        for teacher in node.learns_from:
            if teacher not in self._nodes:
                raise UserError(f"{node.name!r} learns from {teacher!r}{did_you_mean(teacher, self._nodes)}")
        if node.name not in self._nodes:
            self._order.append(node)
        self._nodes[node.name] = node

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def names(self) -> list[str]:
        return list(self._nodes)

    @property
    def levels(self) -> list[list[Node]]:
        """The nodes by depth. Nodes of one level do not depend on each other."""
        depths: dict[str, int] = {}
        for node in self:
            depths[node.name] = 1 + max((depths[teacher] for teacher in node.learns_from), default=-1)
        return [[self[name] for name in depths if depths[name] == depth] for depth in sorted(set(depths.values()))]

    def with_teachers(self, names: Collection[str]) -> set[str]:
        """These nodes and all their direct and indirect teachers."""
        reached: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += self._nodes[name].learns_from
        return reached

    def since(self, count: int) -> list[Node]:
        """The nodes that were added after the first ``count``."""
        return self._order[count:]

    def drawn(self, remarks: Mapping[str, str] | None = None) -> list[str]:
        """One line per node, below its first teacher, with the text of ``said``."""
        first = {node.name: node.learns_from[0] if node.learns_from else None for node in self}
        lines: list[tuple[str, str]] = []

        def draw(name: str, before: str, mark: str, below: str) -> None:
            lines.append((f"{before}{mark}{name}: {self._nodes[name]}", (remarks or {}).get(name, "")))
            students = [other for other, teacher in first.items() if teacher == name]
            for number, student in enumerate(students):
                last = number == len(students) - 1
                draw(student, before + below, "└─ " if last else "├─ ", "   " if last else "│  ")

        for name, teacher in first.items():
            if teacher is None:
                draw(name, "", "", "")
        width = max((len(line) for line, _ in lines), default=0)
        return [f"{line:<{width}}  {remark}".rstrip() for line, remark in lines]
