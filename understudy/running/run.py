"""A run: every training that a recipe asks for, then one look at the test part, then the result."""

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from understudy import methods
from understudy import recipe as recipes
from understudy import student as product
from understudy.errors import UserError
from understudy.models import load_weights
from understudy.plan import Stage
from understudy.recipe import Recipe
from understudy.recipe.schema import MethodTable
from understudy.running.cast import Cast
from understudy.running.folder import METRICS, RESULT, RunFolder, read_json, write_json
from understudy.running.result import summarize
from understudy.stored import Stored
from understudy.training import checkpoints, preflight
from understudy.training.interrupt import StopRequest
from understudy.training.loop import Training
from understudy.training.preflight import Finding
from understudy.training.watch import Watcher

TEACHER = "teacher"
LAST = "student-last.safetensors"


@dataclass(frozen=True)
class Task:
    """One training of a run: a method on a seed, or the teacher's own."""

    method: str  # the name of its table in the recipe, or "teacher"
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.seed}"


class Run:
    """One execution of a recipe in a folder."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        *,
        trusted: Collection[str] = (),
        watcher: Watcher | None = None,
        stop: StopRequest | None = None,
        checkpoint_seconds: float = 20.0,
        cast: Cast | None = None,
        onnx: bool = False,
    ):
        # What nobody has measured (see understudy.running.choosing) is plain.
        self.recipe = recipe.model_copy(update={"settings": recipe.settings.plain})
        self.folder = RunFolder(out)
        self.watcher = watcher or Watcher()
        self.stop = StopRequest() if stop is None else stop  # one that nobody has made yet is false
        self.checkpoint_seconds = checkpoint_seconds
        self.onnx = onnx  # whether latencies are measured by ONNX Runtime, too
        self.cast = cast or Cast.of(recipe, trusted, self.watcher.downloads)

    def tasks(self) -> list[Task]:
        """Seed by seed, the teacher first where it is to be trained."""
        found, teacher = [], self.recipe.teacher
        for seed in self.recipe.seeds:
            if teacher is not None and teacher.train is not None and seed == self._teacher_seed(seed):
                found.append(Task(TEACHER, seed))
            found += [Task(name, seed) for name in self.recipe.methods if seed in self.recipe.seeds_of(name)]
        return found

    def check(self) -> Iterator[Finding]:
        """The pre-flight: everything that can be seen to be wrong before an epoch is spent."""
        cast, settings = self.cast, self.recipe.settings
        yield from preflight.check_data(cast.student_data, self.recipe.train.batch)
        student = cast.student(self.recipe.seeds[0])
        findings = list(preflight.check_network("student", student, cast.data, settings))
        teacher, table = None, self.recipe.teacher
        if table is not None:
            teacher = cast.teacher(self.recipe.seeds[0])
            findings += preflight.check_network(TEACHER, teacher, cast.data, settings)
        yield from findings
        if any(finding.level == "error" for finding in findings):
            return  # nothing can be learned from what follows
        if table is not None and teacher is not None:
            if table.train is not None:
                yield Finding("ok", TEACHER, f"is trained first, for {table.train.epochs} epochs")
            else:
                yield from preflight.check_teacher(
                    teacher, cast.data, settings, declared=table.accuracy, accept_weak=table.accept_weak
                )
        for name, method in self.recipe.methods.items():
            student = cast.student(self.recipe.seeds[0])  # anew, since a method may graft something on
            stages = self.stages(method, student, teacher)
            for finding in preflight.check_budget(stages, method.train):
                yield Finding(finding.level, f"{name}, {finding.subject}", finding.text)
            for stage in stages:
                for finding in preflight.check_stage(
                    stage, settings.place(student), _listed(teacher), cast.student_data, settings, stored=self.stored
                ):
                    yield Finding(finding.level, f"{name}, {finding.subject}", finding.text)

    @property
    def stored(self) -> Stored | None:
        return self.recipe.stored.within(self.folder.path) if self.recipe.stored else None

    @property
    def complete(self) -> bool:
        return read_json(self.folder.path / RESULT) is not None

    def execute(self) -> dict[str, Any]:
        """Train what is not trained yet, then measure, and write the result."""
        with self.folder.locked():
            self.folder.claim(recipes.write(self.recipe))
            tasks = self.tasks()
            self.watcher.run_begins([task.name for task in tasks])
            for task in tasks:
                self.carry_out(task)
                self.folder.gather_metrics([t.name for t in tasks])
            result = read_json(self.folder.path / RESULT)
            if result is None:
                result = summarize(self)
                self.folder.write_result(result)
        return result

    def trained(self, task: Task) -> nn.Module:
        """The network of a task that is done."""
        network = self.cast.teacher(task.seed) if task.method == TEACHER else self.cast.student(task.seed)
        product.prepare(network, self.folder.training(task.name))
        load_weights(self.cast.product(network), self.folder.training(task.name) / product.WEIGHTS)
        return self.recipe.settings.place(network)

    def teacher(self, seed: int) -> nn.Module | None:
        """The teacher of a seed, trained."""
        if self.recipe.teacher is None:
            return None
        if self.recipe.teacher.train is None:
            return self.recipe.settings.place(self.cast.teacher(seed))
        return self.trained(Task(TEACHER, self._teacher_seed(seed)))

    def carry_out(self, task: Task) -> dict[str, Any]:
        """Train what a task asks for, or go on with it, unless it is done; answers with its record."""
        folder = self.folder.training(task.name)
        record = read_json(folder / RESULT)
        if record is None or not (folder / product.WEIGHTS).exists():
            record = self._train(task, folder)
        checkpoints.clear(self.folder.checkpoints(task.name))
        self.watcher.training_ends(task.name, record)
        return record

    def _train(self, task: Task, folder: Path) -> dict[str, Any]:
        settings, cast = self.recipe.settings, self.cast
        data = cast.data if task.method == TEACHER else cast.student_data
        if task.method == TEACHER:
            assert self.recipe.teacher is not None
            assert self.recipe.teacher.train is not None
            network, teacher = cast.teacher(task.seed), None
            spec = cast.spec(self.recipe.teacher)
            stages = methods.find("alone")(self.recipe.teacher.train)
        else:
            table = self.recipe.methods[task.method]
            network, teacher = cast.student(task.seed), self._teacher_for(table, task.seed)
            spec = cast.spec(self.recipe.student)
            stages = self.stages(table, network, teacher)
        training = Training(
            network,
            _listed(teacher),
            stages,
            data,
            seed=task.seed,
            settings=settings,
            checkpoint_folder=self.folder.checkpoints(task.name),
            metrics=folder / METRICS,
            name=task.name,
            watcher=self.watcher,
            stop=self.stop,
            every=self.checkpoint_seconds,
            stored=self.stored,
        )
        began = time.monotonic()
        ended = training.run()
        leaving = cast.product(network)
        product.save(folder, leaving, product.describe(leaving, spec, cast.data.shape, cast.data.classes))
        if training.last is not None:
            network.load_state_dict(training.last)
            product.save_weights(folder / LAST, cast.product(network).state_dict())
        record = {
            "training": task.name,
            "method": task.method,
            "seed": task.seed,
            **ended,
            "objectives": {stage.name: str(stage.objective) for stage in stages},
            "session_seconds": round(time.monotonic() - began, 3),
        }
        write_json(folder / RESULT, record)
        return record

    def _teacher_for(self, table: MethodTable, seed: int) -> nn.Module | None:
        """The teacher, looked at before anything learns from it."""
        if not methods.find(table.method).reads_teacher or self.recipe.teacher is None:
            return None
        teacher, described = self.teacher(seed), self.recipe.teacher
        assert teacher is not None
        if described.train is not None:
            findings = list(
                preflight.check_teacher(
                    teacher, self.cast.data, self.recipe.settings, accept_weak=described.accept_weak
                )
            )
            preflight.passes(findings)
        return teacher

    def stages(self, table: MethodTable, student: nn.Module, teacher: nn.Module | None) -> list[Stage]:
        """What a method of the recipe does, between these two."""
        stages = self.cast.stages(table, student, teacher)
        if teacher is None and any(stage.objective.reads.teacher for stage in stages):
            raise UserError(f"method {table.method!r}: {stages[0].objective} reads a teacher: add a table [teacher]")
        return stages

    def _teacher_seed(self, seed: int) -> int:
        assert self.recipe.teacher is not None
        return self.recipe.seeds[0] if self.recipe.teacher.one_for_all else seed


def _listed(teacher: nn.Module | None) -> list[nn.Module]:
    return [] if teacher is None else [teacher]
