"""``understudy path``: a run whose trainings are those of a search, and whose last method is the best path found."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy import files
from understudy.errors import UserError
from understudy.files import read_json, write_json
from understudy.measure import Spread
from understudy.models.sizes import Size
from understudy.paths import Answer, Budget, Edge, allowed, answer, beside, shared, strategy
from understudy.plans import Node, Plan
from understudy.plans.execution import validation_of
from understudy.recipe import Recipe
from understudy.recipe.build import Cast
from understudy.recipe.schema import MethodTable, NetworkTable
from understudy.runs.compile import TEACHER
from understudy.runs.durations import Durations, Forecast
from understudy.runs.path_networks import Ways
from understudy.runs.records import Hop, PathRecord, Result, Values
from understudy.runs.rehearsal import Rehearsals
from understudy.runs.result import figure_of
from understudy.runs.run import Run
from understudy.runs.search import Observer, Search
from understudy.training.preflight import Finding

SPENT = "search.json"
BEST = "best-path"


class PathRun(Run):
    """A search for the best path, in a run folder: every training once, the test part once, at the end."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        *,
        budget: Budget | None = None,
        observer: Observer | None = None,
        **options: Any,
    ):
        if recipe.path is None:
            raise UserError(
                "the recipe has no table [path]: add one, with the assistants' sizes as in sizes = [8, 6, 4]"
            )
        super().__init__(recipe, out, **options)
        self.figure = self.cast.data.task.rising("a search for a path")
        self.ways = Ways(self.recipe, self.cast)
        self.strategy = strategy(recipe.path.strategy, self.ways.sizes.all, recipe.path.max_assistants)
        self.budget, self.observer = budget, observer
        self.search: Search | None = None
        self.answer: Answer | None = None

    @staticmethod
    def first(recipe: Recipe, cast: Cast) -> Plan:
        """The trainings with which a search begins."""
        if recipe.path is None:
            return Plan()
        ways = Ways(recipe, cast)
        known = {} if ways.teacher.weights is None else {ways.sizes.teacher: Spread((0.0,))}
        plan = Plan()
        for edge in strategy(recipe.path.strategy, ways.sizes.all, recipe.path.max_assistants).asked(known):
            for node in ways.nodes(edge):
                plan.add(node)
        return plan

    def decided(self) -> list[str]:
        """No method of the recipe is trained for itself: the search trains what is needed."""
        return []

    def helpers(self) -> dict[str, NetworkTable]:
        return {f"assistant of size {size}": self.ways.networks[size] for size in self.ways.sizes.assistants}

    def rehearsals(self) -> Rehearsals:
        """Of one step from the teacher to the student: which assistants there are is what the search will find out."""
        methods = {name: table.model_copy(update={"assistants": ()}) for name, table in self.recipe.methods.items()}
        return Rehearsals(self.recipe.model_copy(update={"methods": methods}), self.cast, self.casts.stand_ins)

    def estimate(self, _: Mapping[str, float | None]) -> Iterator[Finding]:
        """Nobody knows before a search what it will train."""
        return iter(())

    def settle(self) -> None:
        """Search; then go on as a run of the methods that were looked at, and of the best path."""
        search = self.search = Search(
            self.strategy,
            self.ways.nodes,
            self.execution,
            budget=self.budget,
            also=self._alone(),
            given=self._given(),
            spent=self._spent,
            observer=self._observed,
        )
        with self._engine(self.casts, self.callback, self.stop) as self.execution.engine:
            try:
                search.run()
            finally:
                self._save_time(search)
        reasons = {edge: failure.reason for edge, failure in search.failed.items()}
        self.answer = answer(self.strategy, search.known, search.left, reasons)
        if self.answer.best is None:
            if search.failed and not search.left:
                raise UserError(f"no path reached the student: {next(iter(search.failed.values()))}")
            raise UserError("the budget ended before any path reached the student: the same command with more goes on")
        self._adopt(self.answer.best, search)

    def foresee(self) -> int:
        """Put into the plan what would be asked for, as far as finished trainings tell; answers with how many more."""
        known = {} if self.ways.teacher.weights is None else {self.ways.sizes.teacher: Spread((0.0,))}
        asked: dict[Edge, list[Node]] = {}
        while True:
            wanted, left = allowed(self.strategy, known, self._most, self._cost)
            others: list[Edge] = []
            if not left:
                done = not self.strategy.wanted(known)
                others, left = beside(self._alone(), wanted, done=done, most=self._most, cost=self._cost)
            if self._most is None:
                wanted = self.strategy.asked(known)  # those that have to wait for others, too
            new = [edge for edge in [*wanted, *others] if edge not in asked]
            asked |= {edge: self.ways.nodes(edge) for edge in new}
            self.execution.submit(*(node for edge in new for node in asked[edge]))
            told = {edge: spread for edge, nodes in asked.items() if nodes and (spread := self._there(nodes))}
            if told.keys() <= known.keys():
                break
            known |= told
        self.plan = self.execution.plan
        students = sum(len(edge.path) > 1 or edge.quick for edge in asked)
        each = len(self.ways.seeds)
        if left or not self.strategy.wanted(known):
            return 0
        more = max(0, self.strategy.most - students) * each
        return more if self._most is None else min(more, self._most - sum(map(self._cost, asked)))

    def forecast(self, to_train: Collection[str], more: int) -> Forecast | None:
        if self.budget is None or self.budget.seconds is None:
            return None
        there = {node.name: self.execution.record(node.name) for node in self.plan if node.name not in to_train}
        took = {name: record["seconds"] for name, record in there.items() if record and record.get("seconds")}
        durations = Durations((self.plan[name], seconds) for name, seconds in took.items())
        each = [durations.of(self.plan[name]) for name in to_train] + [durations.usual] * more
        known = [seconds for seconds in each if seconds is not None]
        return Forecast(self.budget.seconds, self._spent, sum(known) if len(known) == len(each) else None)

    def _there(self, nodes: Sequence[Node]) -> Spread | None:
        """The figures of trainings that are there already, in the folder or in the cache."""
        records = [record for node in nodes if (record := self.execution.record(node.name))]
        values = [value for record in records if (value := validation_of(record)) is not None]
        return Spread(tuple(values)) if len(values) == len(nodes) else None

    def _cost(self, edge: Edge) -> int:
        return len(self.ways.nodes(edge))

    @property
    def _spent(self) -> float:
        """Seconds that earlier sessions of this search took."""
        path = self.folder.path / SPENT
        content = read_json(path)
        if content is None or not files.fits(content):
            if path.exists():
                self.callback.note(f"{path} is damaged: the time that earlier sessions took is not counted")
            return 0.0
        return float(content.get("seconds", 0.0))

    @property
    def _most(self) -> int | None:
        return self.budget.trainings if self.budget else None

    def outdated(self, result: Result) -> bool:
        """A search that went on with a larger budget knows more than its result."""
        assert self.search is not None
        told = [hop.path for hop in result.path.edges] if result.path else []
        return sorted(map(str, told)) != sorted(str(list(edge.path)) for edge in self.search.known)

    def summary(self) -> Result:
        assert self.search is not None
        assert self.answer is not None
        return super().summary().model_copy(update={"path": self._told(self.search, self.answer)})

    def _adopt(self, best: tuple[Size, ...], search: Search) -> None:
        tables: dict[str, MethodTable] = {}
        if Edge((self.ways.sizes.student,)) in search.known:
            alone = self.recipe.methods.get("alone")
            tables["alone"] = alone or MethodTable(method="alone", train=self.recipe.train)
        if Edge((best[0], best[-1])) in search.known:
            tables[self.ways.method] = self.ways.learns.model_copy(update={"assistants": ()})
        if len(best) > 2:
            tables[BEST] = self.ways.best(best)
        kept = self.recipe.keep if self.recipe.keep in tables else list(tables)[-1]  # the best path, unless told
        self.adopt(self.recipe.model_copy(update={"methods": tables, "keep": kept}))

    def _alone(self) -> list[Edge]:
        return [Edge((size,)) for size in reversed(self.ways.sizes.all[1:])] if self.ways.table.alone else []

    def _given(self) -> dict[Edge, Spread]:
        """A teacher that comes with its weights."""
        if self.ways.teacher.weights is None:
            return {}
        network = self.teachers(self.recipe.seeds[0])[TEACHER]
        validation = self.cast.data.validation
        assert validation is not None  # the recipe is refused without one
        value = figure_of(network, validation, self.cast.data.task, self.recipe.settings.of_teacher)
        return {self.ways.sizes.teacher: Spread((value,))}

    def _save_time(self, search: Search) -> None:
        write_json(self.folder.path / SPENT, files.sealed({"seconds": round(search.seconds, 3)}))

    def _observed(self, search: Search) -> None:
        self._save_time(search)
        if self.observer:
            self.observer(search)

    def _told(self, search: Search, found: Answer) -> PathRecord:
        """The search as a record: figures on the validation part, which selected, and on the test part, read now."""
        edges = sorted(search.known, key=lambda edge: (edge.quick, len(edge.path) == 1, self._place(edge)))
        return PathRecord(
            strategy=self.ways.table.strategy,
            sizes=list(self.ways.sizes.all),
            networks={str(size): table.network for size, table in self.ways.networks.items()},
            edges=[self._edge(edge, search) for edge in edges],
            ranked=[list(path) for path in found.ranked],
            best=list(found.best or ()),
            sure=found.sure,
            sentences=[*found.sentences, *self._shared(search)],
            searched=found.searched,
            paths=found.paths,
            left=[str(edge) for edge in found.left],
            failed={str(edge): failure.reason for edge, failure in search.failed.items()},
            trainings=search.trainings,
        )

    def _shared(self, search: Search) -> list[str]:
        teachers = self._cost(self.ways.sizes.teacher)
        return shared(self.strategy, search.asked, seeds=len(self.ways.seeds), teachers=teachers)

    def _place(self, edge: Edge) -> list[int]:
        return [self.ways.sizes.all.index(size) for size in edge.path]

    def _edge(self, edge: Edge, search: Search) -> Hop:
        names, test = search.asked.get(edge, []), self.cast.data.test
        figures: list[float] = []
        if test is not None and not edge.quick:
            figures = [figure_of(self.trained(name), test, self.cast.data.task, self.recipe.settings) for name in names]
        return Hop(
            path=list(edge.path),
            quick=edge.quick,
            trainings=names,
            validation=Values(values=list(search.known[edge].values)),
            test=Values(values=figures) if figures else None,
        )
