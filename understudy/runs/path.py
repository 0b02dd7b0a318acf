"""``understudy path``: a run whose trainings are those of a search, and whose last method is the best path."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from understudy.errors import UserError
from understudy.files import write_atomically
from understudy.measure import Spread
from understudy.models.sizes import Size
from understudy.paths import Answer, Budget, Edge, allowed, answer, beside, shared, strategy
from understudy.paths.edges import qualities, quality
from understudy.plans import Node, Plan
from understudy.recipe import Recipe
from understudy.recipe.build import Builder
from understudy.recipe.schema import MethodTable, NetworkTable
from understudy.runs.compile import TEACHER
from understudy.runs.durations import Durations, Forecast
from understudy.runs.path_networks import PathNetworks
from understudy.runs.preview import Preview
from understudy.runs.records import Hop, PathRecord, Result, SearchTime, Values
from understudy.runs.result import figure_of
from understudy.runs.run import Run
from understudy.runs.search import Observer, Search
from understudy.training import preflight
from understudy.training.preflight import Finding
from understudy.training.records import DamagedFileError

SPENT = "search.json"
BEST = "best-path"


class PathRun(Run):
    """A search for the best path in a run folder. The test part is read once, at the end."""

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
        self.figure = self.builder.data.task.selecting
        self.path_networks = PathNetworks(self.recipe, self.builder)
        self.strategy = strategy(recipe.path.strategy, self.path_networks.sizes.all, recipe.path.max_assistants)
        self.budget, self.observer = budget, observer
        self.search: Search | None = None
        self.answer: Answer | None = None
        self.keeps_named = False  # whether the student is of the method that the recipe names, and not of the best path

    @staticmethod
    def first(recipe: Recipe, builder: Builder) -> Plan:
        """The trainings with which a search begins."""
        if recipe.path is None:
            return Plan()
        path_networks = PathNetworks(recipe, builder)
        known = {} if path_networks.teacher.train is not None else {path_networks.sizes.teacher: Spread((0.0,))}
        plan = Plan()
        for edge in strategy(recipe.path.strategy, path_networks.sizes.all, recipe.path.max_assistants).asked(known):
            for node in path_networks.nodes(edge):
                plan.add(node)
        return plan

    def decided(self) -> list[str]:
        """Empty: the search decides which trainings of the recipe's methods are needed."""
        return []

    def helpers(self) -> dict[str, NetworkTable]:
        return {
            f"assistant of size {size}": self.path_networks.networks[size]
            for size in self.path_networks.sizes.assistants
        }

    def preview(self) -> Preview:
        """Check one step from the teacher to the student, since the assistants are not known yet."""
        methods = {name: table.model_copy(update={"assistants": ()}) for name, table in self.recipe.methods.items()}
        return Preview(self.recipe.model_copy(update={"methods": methods}), self.builder, self.builders.stand_ins)

    def estimate(self, _: Mapping[str, float | None]) -> Iterator[Finding]:
        """None: the trainings of a search are not known before it."""
        return iter(())

    def settle(self) -> None:
        """Search, then continue as a run of the compared methods and the best path."""
        search = self.search = Search(
            self.strategy,
            self.path_networks.nodes,
            self.execution,
            figure=self.figure,
            budget=self.budget,
            also=self._alone(),
            given=self._given(),
            spent=self._spent,
            observer=self._observed,
        )
        with self._engine(self.builders, self.callback, self.stop) as self.execution.engine:
            try:
                search.run()
            finally:
                self._save_time(search)
        reasons = {edge: failure.reason for edge, failure in search.failed.items()}
        self.answer = answer(self.strategy, search.known, search.left, reasons, figure=self.figure)
        if self.answer.best is None:
            if search.failed and not search.left:
                raise UserError(f"no path reached the student: {next(iter(search.failed.values()))}")
            raise UserError("the budget ended before any path reached the student: the same command with more goes on")
        self._adopt(self.answer.best, search)

    def foresee(self) -> int:
        """Add the requests that follow from finished trainings, and return the number of possible others."""
        there, size = self.path_networks.teacher.train is None, self.path_networks.sizes.teacher
        known = {size: Spread((0.0,))} if there else {}
        nodes_of: dict[Edge, list[Node]] = {}
        while True:
            wanted, left = allowed(self.strategy, known, self._most, self._cost)
            others: list[Edge] = []
            if not left:
                done = not self.strategy.wanted(known)
                others, left = beside(self._alone(), wanted, done=done, most=self._most, cost=self._cost)
            if self._most is None:
                wanted = self.strategy.asked(known)  # also those that wait for others
            new = [edge for edge in [*wanted, *others] if edge not in nodes_of]
            nodes_of |= {edge: self.path_networks.nodes(edge) for edge in new}
            self.execution.submit(*(node for edge in new for node in nodes_of[edge]))
            trained = {edge: spread for edge, nodes in nodes_of.items() if nodes and (spread := self._spread_of(nodes))}
            if trained.keys() <= known.keys():
                break
            known |= trained
        self.plan = self.execution.plan
        students = sum(len(edge.path) > 1 or edge.quick for edge in nodes_of)
        each = len(self.path_networks.seeds)
        if left or not self.strategy.wanted(known):
            return 0
        more = max(0, self.strategy.most - students) * each
        return more if self._most is None else min(more, self._most - sum(map(self._cost, nodes_of)))

    def forecast(self, to_train: Collection[str], more: int) -> Forecast | None:
        if self.budget is None or self.budget.seconds is None:
            return None
        records = {node.name: self.execution.record(node.name) for node in self.plan if node.name not in to_train}
        took = {name: record.seconds for name, record in records.items() if record and record.seconds}
        durations = Durations((self.plan[name], seconds) for name, seconds in took.items())
        each = [durations.of(self.plan[name]) for name in to_train] + [durations.usual] * more
        known = [seconds for seconds in each if seconds is not None]
        return Forecast(self.budget.seconds, self._spent, sum(known) if len(known) == len(each) else None)

    def _spread_of(self, nodes: Sequence[Node]) -> Spread | None:
        """The figures of trainings that exist in the folder or in the cache."""
        records = [record for node in nodes if (record := self.execution.record(node.name))]
        values = [value for record in records if (value := record.selecting_value) is not None]
        return Spread(tuple(quality(value, self.figure) for value in values)) if len(values) == len(nodes) else None

    def _cost(self, edge: Edge) -> int:
        return len(self.path_networks.nodes(edge))

    @property
    def _spent(self) -> float:
        """The seconds of earlier sessions of this search."""
        path = self.folder.path / SPENT
        try:
            return SearchTime.read(path, way_out="remove it").seconds if path.exists() else 0.0
        except DamagedFileError:
            self.callback.note(f"{path} is damaged: the time that earlier sessions took is not counted")
            return 0.0

    @property
    def _most(self) -> int | None:
        return self.budget.trainings if self.budget else None

    def outdated(self, result: Result) -> bool:
        """Whether the search has continued with a larger budget since its result."""
        assert self.search is not None
        paths = [hop.path for hop in result.path.edges] if result.path else []
        return sorted(map(str, paths)) != sorted(str(list(edge.path)) for edge in self.search.known)

    def summary(self) -> Result:
        assert self.search is not None
        assert self.answer is not None
        result = super().summary()
        because = result.kept_because
        if not self.keeps_named:
            because = f"the best path{because.removeprefix(f'the recipe keeps {self.recipe.keep}')}"
        path = self._path_record(self.search, self.answer)
        return result.model_copy(update={"kept_because": because, "path": path})

    def _adopt(self, best: tuple[Size, ...], search: Search) -> None:
        tables: dict[str, MethodTable] = {}
        if Edge((self.path_networks.sizes.student,)) in search.known:
            alone = self.recipe.methods.get("alone")
            tables["alone"] = alone or MethodTable(method="alone", train=self.recipe.train)
        if Edge((best[0], best[-1])) in search.known:
            tables[self.path_networks.method] = self.path_networks.learns.model_copy(update={"assistants": ()})
        if len(best) > 2:
            tables[BEST] = self.path_networks.best(best)
        self.keeps_named = self.recipe.keep in tables
        kept = self.recipe.keep if self.keeps_named else list(tables)[-1]
        self.adopt(self.recipe.model_copy(update={"methods": tables, "keep": kept}))

    def _alone(self) -> list[Edge]:
        return (
            [Edge((size,)) for size in reversed(self.path_networks.sizes.all[1:])]
            if self.path_networks.table.alone
            else []
        )

    def _given(self) -> dict[Edge, Spread]:
        """A teacher with existing weights."""
        if self.path_networks.teacher.train is not None:
            return {}
        network = self.teachers(self.recipe.seeds[0])[TEACHER]
        if wrong := preflight.misfit(network, self.builder.data, self.recipe.settings):
            raise UserError(f"the teacher cannot be compared with the other networks of a path: {wrong}")
        validation = self.builder.data.validation
        assert validation is not None  # the recipe is refused without one
        value = figure_of(network, validation, self.builder.data.task, self.recipe.settings.of_teacher)
        return {self.path_networks.sizes.teacher: qualities(Spread((value,)), self.figure)}

    def _save_time(self, search: Search) -> None:
        write_atomically(self.folder.path / SPENT, SearchTime(seconds=round(search.seconds, 3)).text().encode())

    def _observed(self, search: Search) -> None:
        self._save_time(search)
        if self.observer:
            self.observer(search)

    def _path_record(self, search: Search, answer: Answer) -> PathRecord:
        """The search as a record: figures on the validation part, which selected, and on the test part, read now."""
        edges = sorted(search.known, key=lambda edge: (edge.quick, len(edge.path) == 1, self._place(edge)))
        return PathRecord(
            strategy=self.path_networks.table.strategy,
            sizes=list(self.path_networks.sizes.all),
            networks={str(size): table.network for size, table in self.path_networks.networks.items()},
            edges=[self._edge(edge, search) for edge in edges],
            ranked=[list(path) for path in answer.ranked],
            best=list(answer.best or ()),
            sure=answer.sure,
            sentences=[*answer.sentences, *self._shared(search)],
            searched=answer.searched,
            paths=answer.paths,
            left=[str(edge) for edge in answer.left],
            failed={str(edge): failure.reason for edge, failure in search.failed.items()},
            trainings=search.trainings,
        )

    def _shared(self, search: Search) -> list[str]:
        """What sharing saved; none where not every path was searched, which saves trainings as well."""
        if search.failed or search.left:
            return []
        teachers = self._cost(self.path_networks.sizes.teacher)
        return shared(self.strategy, search.asked, seeds=len(self.path_networks.seeds), teachers=teachers)

    def _place(self, edge: Edge) -> list[int]:
        return [self.path_networks.sizes.all.index(size) for size in edge.path]

    def _edge(self, edge: Edge, search: Search) -> Hop:
        names, test = search.asked.get(edge, []), self.builder.data.test
        figures: list[float] = []
        if test is not None and not edge.quick:
            figures = [
                figure_of(self.trained(name), test, self.builder.data.task, self.recipe.settings) for name in names
            ]
        return Hop(
            path=list(edge.path),
            quick=edge.quick,
            trainings=names,
            validation=Values(values=list(qualities(search.known[edge], self.figure).values)),
            test=Values(values=figures) if figures else None,
        )
