"""A run: every training that a recipe asks for, then one look at the test part, then the result."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from understudy import methods
from understudy import recipe as recipes
from understudy.plan import Stage
from understudy.plans import Given, Node, Plan, Store
from understudy.plans.entry import RESULT, read_json
from understudy.recipe import Recipe
from understudy.recipe.schema import MethodTable, NetworkTable, TeacherTable
from understudy.running.engines import Engine, Here
from understudy.running.execution import Execution
from understudy.running.folder import RunFolder
from understudy.running.result import summarize
from understudy.running.work import Casts, staged
from understudy.training import preflight
from understudy.training.interrupt import StopRequest
from understudy.training.preflight import Finding
from understudy.training.watch import Watcher

TEACHER = "teacher"
MakeEngine = Callable[[Casts, Watcher, StopRequest], Engine]


class Run:
    """One execution of a recipe in a folder.

    Args:
        store: where finished trainings are looked for first, and put when they are done.
        engine: what carries the trainings out; by default this process, one after another.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        *,
        trusted: Collection[str] = (),
        watcher: Watcher | None = None,
        stop: StopRequest | None = None,
        checkpoint_seconds: float = 20.0,
        store: Store | None = None,
        engine: MakeEngine = Here,
        threads: int | None = None,
    ):
        self.recipe, self.folder = recipe, RunFolder(out)
        self.watcher = watcher or Watcher()
        self.stop = StopRequest() if stop is None else stop  # one that nobody has made yet is false
        self.casts = Casts(trusted, self.watcher.downloads)
        self.cast = self.casts.of(recipe.data)
        self.plan = compiled(recipe)
        self._engine = engine
        self.execution = Execution(
            self.folder,
            self.casts,
            threads=recipe.settings.threads or threads or torch.get_num_threads(),
            store=store,
            watcher=self.watcher,
            trusted=trusted,
            every=checkpoint_seconds,
        )
        self.execution.submit(*self.plan)

    def check(self) -> Iterator[Finding]:
        """The pre-flight: everything that can be seen to be wrong before an epoch is spent."""
        cast, settings, tables = self.cast, self.recipe.settings, self.recipe.taught_by
        data, seed = cast.seen(self.recipe.data.student_samples), self.recipe.seeds[0]
        yield from preflight.check_data(data, self.recipe.train.batch)
        student = self.student(seed)
        findings = list(preflight.check_network("student", student, cast.data, settings))
        teachers = {name: self._fresh_teacher(table, seed) for name, table in tables.items()}
        for name, teacher in teachers.items():
            findings += preflight.check_network(name, teacher, cast.data, settings)
        yield from findings
        if any(finding.level == "error" for finding in findings):
            return  # nothing can be learned from what follows
        for name, table in tables.items():
            if table.train is not None:
                yield Finding("ok", name, f"is trained first, for {table.train.epochs} epochs")
                continue
            yield from preflight.check_teacher(
                teachers[name],
                cast.data,
                settings,
                declared=table.accuracy,
                accept_weak=table.accept_weak,
                name=name,
            )
        for name in self.recipe.methods:
            for stage in self._stages(name, student, list(teachers.values())):
                for finding in preflight.check_stage(
                    stage, settings.place(student), list(teachers.values()), data, settings
                ):
                    yield Finding(finding.level, f"{name}, {finding.subject}", finding.text)

    @property
    def complete(self) -> bool:
        return read_json(self.folder.path / RESULT) is not None

    def execute(self) -> dict[str, Any]:
        """Train what is not trained yet, then measure, and write the result."""
        with self.folder.locked():
            self.folder.claim(recipes.write(self.recipe))
            self.watcher.run_begins(self.plan.names)
            with self._engine(self.casts, self.watcher, self.stop) as engine:
                self.execution.engine = engine
                for _ in self.execution.results():
                    self.folder.gather_metrics(self.plan.names)
            result = read_json(self.folder.path / RESULT)
            if result is None:
                result = summarize(self)
                self.folder.write_result(result)
        return result

    def student(self, seed: int) -> nn.Module:
        """A student with the fresh weights of this seed, the same for every method."""
        return self.cast.network(self.recipe.student, seed, "student")

    def trained(self, name: str) -> nn.Module:
        """The network of a training that is done."""
        return self.execution.network(name)

    def teachers(self, seed: int) -> dict[str, nn.Module]:
        """The teachers of a seed, trained."""
        return {
            name: self.recipe.settings.place(self.cast.given(table, table.weights, table.prefix, seed))
            if table.weights is not None
            else self.trained(_training_of(name, table, self.recipe, seed))
            for name, table in self.recipe.taught_by.items()
        }

    def _fresh_teacher(self, table: TeacherTable, seed: int) -> nn.Module:
        """With its weights, or fresh where it is yet to be trained."""
        if table.weights is None:
            return self.cast.network(table, seed, TEACHER)
        return self.cast.given(table, table.weights, table.prefix, seed)

    def _stages(self, name: str, student: nn.Module, teachers: list[nn.Module]) -> list[Stage]:
        node = self.plan[f"{name}-{self.recipe.seeds[0]}"]
        return staged(node, student, teachers, self.cast)


def compiled(recipe: Recipe) -> Plan:
    """The trainings of a recipe, seed by seed, the teachers first where they are to be trained."""
    plan = Plan()
    for seed in recipe.seeds:
        for name, table in recipe.taught_by.items():
            if table.train is not None and seed == _seed_of(table, recipe, seed):
                plan.add(_teacher(name, table, recipe, seed))
        for name, method in recipe.methods.items():
            plan.add(_student(name, method, recipe, seed))
    return plan


def _teacher(name: str, table: TeacherTable, recipe: Recipe, seed: int) -> Node:
    assert table.train is not None
    return Node(
        name=f"{name}-{seed}",
        network=_network(table),
        course=table.train,
        seed=seed,
        role="teacher",
        data=recipe.data.model_copy(update={"student_samples": None}),
        arithmetic=recipe.settings,
    )


def _student(name: str, table: MethodTable, recipe: Recipe, seed: int) -> Node:
    reads = methods.find(table.method).reads_teacher
    return Node(
        name=f"{name}-{seed}",
        network=_network(recipe.student),
        method=table.method,
        settings=table.settings,
        course=table.train,
        seed=seed,
        teachers=tuple(_named(n, t, recipe, seed) for n, t in recipe.taught_by.items()) if reads else (),
        data=recipe.data,
        arithmetic=recipe.settings,
        accept_weak=any(teacher.accept_weak for teacher in recipe.taught_by.values()),
    )


def _named(name: str, table: TeacherTable, recipe: Recipe, seed: int) -> str | Given:
    if table.weights is None:
        return _training_of(name, table, recipe, seed)
    return Given(**dict(_network(table)), weights=table.weights, prefix=table.prefix)


def _training_of(name: str, table: TeacherTable, recipe: Recipe, seed: int) -> str:
    return f"{name}-{_seed_of(table, recipe, seed)}"


def _seed_of(table: TeacherTable, recipe: Recipe, seed: int) -> int:
    return recipe.seeds[0] if table.one_for_all else seed


def _network(table: NetworkTable) -> NetworkTable:
    return NetworkTable(network=table.network, settings=table.settings, mean=table.mean, std=table.std)
