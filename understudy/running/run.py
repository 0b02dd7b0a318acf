"""A run: every training that a recipe asks for, then one look at the test part, then the result."""

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from understudy import recipe as recipes
from understudy.plan import Stage
from understudy.plans import Store
from understudy.plans.entry import RESULT, read_json
from understudy.recipe import Recipe
from understudy.recipe.schema import NetworkTable, TeacherTable
from understudy.running.choosing import chosen
from understudy.running.compiling import TEACHER, compiled, link, training_of
from understudy.running.engines import Engine, Here
from understudy.running.execution import Execution
from understudy.running.folder import RunFolder
from understudy.running.result import summarize
from understudy.running.work import Casts, staged
from understudy.training import preflight
from understudy.training.interrupt import StopRequest
from understudy.training.preflight import Finding
from understudy.training.watch import Watcher

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
        self.plan = compiled(recipe, self.decided())
        self.notes: list[str] = []
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
        for name, table in self.helpers().items():
            findings += preflight.check_network(name, cast.network(table, seed, "student"), cast.data, settings)
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
                self.settle()
                for _ in self.execution.results():
                    self.folder.gather_metrics(self.plan.names)
            result = read_json(self.folder.path / RESULT)
            if result is None or self.outdated(result):
                result = self.summary()
                self.folder.write_result(result)
        return result

    def decided(self) -> list[str]:
        """The methods whose trainings are known before any is done."""
        return [name for name, table in self.recipe.methods.items() if table.assistants != "auto"]

    def helpers(self) -> dict[str, NetworkTable]:
        """The networks between teacher and student, each once, by what they are called in the check."""
        tables = [table.assistants for table in self.recipe.methods.values() if table.assistants != "auto"]
        return {f"assistant {assistant.network}": assistant for assistants in tables for assistant in assistants}

    def settle(self) -> None:
        """Find out what is left open in the recipe: which assistants ``"auto"`` stands for."""
        open_ones = [name for name in self.recipe.methods if name not in self.decided()]
        if open_ones:
            recipe, self.notes = chosen(self.recipe, open_ones, self.cast, self.execution)
            self.adopt(recipe)

    def adopt(self, recipe: Recipe) -> None:
        """Go on with a recipe in which nothing is open any more."""
        self.recipe, self.plan = recipe, compiled(recipe)
        self.execution.submit(*self.plan)

    def summary(self) -> dict[str, Any]:
        """The result; the test part is opened here, once."""
        result = summarize(self)
        result["notes"] += self.notes
        return result

    def outdated(self, result: Mapping[str, Any]) -> bool:
        """Whether a result that is there says less than could be said now."""
        return False

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
            else self.trained(training_of(name, table, self.recipe, seed))
            for name, table in self.recipe.taught_by.items()
        }

    def _fresh_teacher(self, table: TeacherTable, seed: int) -> nn.Module:
        """With its weights, or fresh where it is yet to be trained."""
        if table.weights is None:
            return self.cast.network(table, seed, TEACHER)
        return self.cast.given(table, table.weights, table.prefix, seed)

    def _stages(self, name: str, student: nn.Module, teachers: list[nn.Module]) -> list[Stage]:
        table, seed = self.recipe.methods[name], self.recipe.seeds_of(name)[0]
        return staged(link(name, self.recipe.student, table, self.recipe, seed, ()), student, teachers, self.cast)
