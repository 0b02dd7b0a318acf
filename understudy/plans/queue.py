"""The nodes of a plan that can start, as trainings end and the plan grows."""

import heapq
from collections import defaultdict
from collections.abc import Collection

from understudy.plans.plan import Plan


class Queue:
    """The nodes whose teachers are done, in the order of the plan.

    Args:
        plan: it may grow.
        done: the trainings that are done.
        wanted: the nodes that count; None for all.

    >>> plan = Plan()
    >>> queue = Queue(plan, done=())
    >>> queue.take(free=True) is None
    True
    """

    def __init__(self, plan: Plan, done: Collection[str], wanted: Collection[str] | None = None):
        self.plan, self.done, self.wanted = plan, set(done), wanted
        self._seen = 0  # nodes of the plan
        self._places: dict[str, int] = {}
        self._left: dict[str, int] = {}  # teachers that are not done
        self._students: dict[str, list[str]] = defaultdict(list)
        self._fresh: list[tuple[int, str]] = []  # not looked at yet
        self._waiting: list[tuple[int, str]] = []  # for a worker
        self._behind: dict[str, list[str]] = defaultdict(list)  # others with the same key, by that key

    def take(self, *, free: bool) -> str | None:
        """The next node to look at; with a ``free`` worker also one that was looked at and waits."""
        self._grow()
        heaps = [heap for heap in (self._fresh, self._waiting if free else []) if heap]
        return heapq.heappop(min(heaps))[1] if heaps else None

    def wait(self, name: str) -> None:
        """Put a node back until a worker is free."""
        heapq.heappush(self._waiting, (self._places[name], name))

    def wait_behind(self, name: str, key: str) -> None:
        """Put a node back until the training with its key, which another node has as well, has ended."""
        self._behind[key].append(name)

    def again(self, name: str) -> None:
        """Look at a node again, whose training was lost."""
        heapq.heappush(self._fresh, (self._places[name], name))

    def ended(self, key: str) -> None:
        """A training with this key has ended, whether it is done or has failed."""
        for name in self._behind.pop(key, ()):
            self.again(name)

    def completed(self, name: str) -> None:
        """A node is done."""
        self.done.add(name)
        for student in self._students.pop(name, ()):
            self._left[student] -= 1
            if not self._left[student]:
                self.again(student)

    def _grow(self) -> None:
        for place, node in enumerate(self.plan.since(self._seen), self._seen):
            name = node.name
            self._places[name], self._seen = place, place + 1
            if name in self.done or (self.wanted is not None and name not in self.wanted):
                continue
            missing = {teacher for teacher in node.learns_from if teacher not in self.done}
            self._left[name] = len(missing)
            for teacher in missing:
                self._students[teacher].append(name)
            if not missing:
                self.again(name)
