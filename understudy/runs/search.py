"""The execution of a search: the trainings that a strategy requests."""

import time
from collections.abc import Callable, Sequence

from understudy.errors import FailedTrainingError
from understudy.measure import Spread
from understudy.paths import Budget, Edge, Strategy, allowed, beside, with_failures
from understudy.paths.edges import Known, quality
from understudy.plans import Node
from understudy.plans.execution import Done, Execution
from understudy.runs.durations import Durations
from understudy.tasks import Figure

Observer = Callable[["Search"], None]


class Search:
    """Requests trainings until the strategy is done or the budget is spent.

    Args:
        nodes: the nodes of an edge, one per seed; none for a given teacher.
        figure: the task's first figure, by which trainings are compared.
        also: further trainings beside those of the strategy.
        given: figures that are known without training.
        spent: seconds that earlier sessions of the same search took.
        observer: called after every training, and when new ones are requested.
    """

    def __init__(
        self,
        strategy: Strategy,
        nodes: Callable[[Edge], Sequence[Node]],
        execution: Execution,
        *,
        figure: Figure,
        budget: Budget | None = None,
        also: Sequence[Edge] = (),
        given: Known | None = None,
        spent: float = 0.0,
        observer: Observer | None = None,
    ):
        self.strategy, self.execution, self.also, self.figure = strategy, execution, list(also), figure
        self.budget, self.spent = budget or Budget(), spent
        self.known: dict[Edge, Spread] = dict(given or {})  # qualities of the figure
        self.asked: dict[Edge, list[str]] = {}  # the trainings of each
        self.failed: dict[Edge, FailedTrainingError] = {}  # failed trainings, and why
        self.left: list[Edge] = []  # requested beyond the budget
        self.origins: dict[str, str] = {}  # of each training: whether it was trained now
        self._nodes, self._observer, self._began = nodes, observer or (lambda _: None), time.monotonic()
        self._values: dict[str, float] = {}

    def run(self) -> None:
        """Run until no requests are left."""
        self._ask()
        for done in self.execution.results(failed=self._set_aside):
            self._record(done)
            self._ask()

    @property
    def seconds(self) -> float:
        """The seconds spent, with earlier sessions."""
        return self.spent + time.monotonic() - self._began

    @property
    def trainings(self) -> int:
        """The number of finished trainings, the teacher's included; of those that failed there is no network."""
        return len(self.origins)

    @property
    def waiting(self) -> list[str]:
        """The pending requests, without those that depend on failed trainings."""
        sound = [names for edge, names in self.asked.items() if edge not in self.failed]
        return [name for names in sound for name in names if name not in self.origins]

    @property
    def to_come(self) -> int:
        """The number of possible trainings of students beyond the requested ones."""
        students = sum(len(edge.path) > 1 or edge.quick for edge in self.asked)
        each = max(map(len, self.asked.values()), default=1)
        return 0 if self.left or not self.waiting else max(0, self.strategy.most - students) * each

    @property
    def durations(self) -> Durations:
        """The expected seconds of pending trainings."""
        done = self.execution.done
        return Durations((self.execution.plan[name], done[name].seconds or 0.0) for name in self.origins)

    def _record(self, done: Done) -> None:
        self.origins[done.node.name] = done.origin
        value = done.validation
        if value is not None:
            self._values[done.node.name] = quality(value, self.figure)
        for edge, names in self.asked.items():
            if edge not in self.known and all(name in self._values for name in names):
                self.known[edge] = Spread(tuple(self._values[name] for name in names))
        self._observer(self)

    def _set_aside(self, failure: FailedTrainingError) -> None:
        """Drop the paths through a failed training; without the teacher, all of them."""
        if self.execution.plan[failure.training].role == "teacher":
            raise failure
        edge = next(edge for edge, names in self.asked.items() if failure.training in names)
        bare = FailedTrainingError(str(failure), training=failure.training, reason=failure.reason)
        self.failed.setdefault(edge, bare)  # a new error, because the traceback would keep the networks in memory
        self.execution.given_up.update(self.asked[edge])  # on other seeds, too
        self.execution.callback.note(f"{failure}. The search goes on without {edge}")
        self._ask()

    def _ask(self) -> None:
        """Submit the requests within the budget; with a budget of time, no more than can start at once."""
        most, seen = self.budget.trainings, self._seen
        wanted, left = allowed(self.strategy, seen, most, self._cost)
        self.left = [edge for edge in left if edge not in seen]
        if not self.left:
            done = not self.strategy.wanted(seen)
            others, self.left = beside(self.also, wanted, done=done, most=most, cost=self._cost)
            wanted = [*wanted, *others]
        late = self.budget.seconds is not None and self.seconds >= self.budget.seconds
        for edge in wanted:
            if edge in self.asked or edge in seen:
                continue
            if late and not self._begun(edge):
                self.left.append(edge)
            elif late or self.budget.seconds is None or len(self.waiting) < self._workers:
                nodes = self._nodes(edge)
                self.asked[edge] = [node.name for node in nodes]
                self.execution.submit(*nodes)
        self._observer(self)

    def _begun(self, edge: Edge) -> bool:
        """Requests that an earlier session started are always finished."""
        return any(self.execution.begun(node) for node in self._nodes(edge))

    @property
    def _seen(self) -> Known:
        return with_failures(self.strategy, self.known, self.failed)

    def _cost(self, edge: Edge) -> int:
        """The number of trainings. Those that depend on a failed one are never started."""
        return 0 if edge.passes(self.failed) else len(self._nodes(edge))

    @property
    def _workers(self) -> int:
        return self.execution.engine.workers if self.execution.engine else 1
