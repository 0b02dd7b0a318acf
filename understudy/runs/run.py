"""A run: all trainings of a recipe, then its result, for which the test part is read once."""

import contextlib
import math
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from understudy import files, methods
from understudy import recipe as recipes
from understudy.answers import StoredAnswers
from understudy.config import hardware
from understudy.config.train import TrainConfig
from understudy.data.unlabelled import repeated
from understudy.errors import FailedTrainingError, UserError
from understudy.models import from_teacher
from understudy.models import student as product
from understudy.models.library_weights import unlike_its_weights
from understudy.plans import Node, Plan, TrainingCache
from understudy.plans.engines import Here, MakeEngine
from understudy.plans.entry import METRICS, RESULT
from understudy.plans.execution import Execution
from understudy.plans.group import Group
from understudy.plans.training import Builders
from understudy.ranks import one_process
from understudy.recipe import Recipe
from understudy.recipe.build import Builder
from understudy.recipe.objects import OBJECT
from understudy.recipe.schema import NetworkTable
from understudy.runs import budget, samples
from understudy.runs.assistants import chosen, trials
from understudy.runs.compile import compiled, teachers_of, training_of
from understudy.runs.durations import Forecast
from understudy.runs.folder import RECIPE, SAMPLES, RunFolder
from understudy.runs.networks import RunNetworks
from understudy.runs.preview import Preview
from understudy.runs.records import Result
from understudy.runs.result import summarize
from understudy.taps import inner
from understudy.trackers import by_name
from understudy.training import preflight
from understudy.training.callbacks import Callback, Callbacks
from understudy.training.filling import Filled
from understudy.training.interrupt import StopRequest
from understudy.training.loop import Training
from understudy.training.preflight import Finding
from understudy.training.records import TrainingRecord

GATHERING = 20  # times what it takes to gather the log of all trainings passes before it is done again
WHOLE = "all"  # the subject of findings about all trainings together


class Run(RunNetworks):
    """One execution of a recipe in a folder.

    Args:
        cache: a folder from which finished trainings are taken, and to which they are added.
        engine: runs the trainings; by default one after another in this process.
        threads: of each training, where the recipe names none; by default PyTorch's choice.
        builders: builders with loaded data.
        borrowed: the folders of trainings elsewhere, by name.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        *,
        trusted: Collection[str] = (),
        callback: Callback | None = None,
        stop: StopRequest | None = None,
        checkpoint_seconds: float = 20.0,
        onnx: bool = False,
        cache: TrainingCache | None = None,
        engine: MakeEngine = Here,
        threads: int | None = None,
        builders: Builders | None = None,
        borrowed: Mapping[str, Path] | None = None,
        group: Group | None = None,
    ):
        one_process("a run")
        self.folder = RunFolder(out, borrowed or {})
        trackers = (by_name(name, out) for name in recipe.trackers)
        self.callback = Callbacks(callback or Callback(), *trackers) if recipe.trackers else callback or Callback()
        self.stop = StopRequest() if stop is None else stop  # a new request is false
        self.checkpoint_seconds = checkpoint_seconds
        self.onnx, self.group = onnx, group
        self.builders = builders or Builders(trusted, self.callback.downloads)
        self.recipe = self.builders.answered(recipe)
        self.builder = self.builders.of(self.recipe.data)
        self.plan = compiled(self.recipe, self.decided())
        self.notes: list[str] = []
        self.fills = False  # it stores answers, whatever the recipe says of adding some
        self._failed: set[str] = set()  # short trainings that failed
        self._engine = engine
        self.execution = Execution(
            self.folder,
            self.builders,
            threads=threads or hardware.threads_each(),
            cache=cache,
            callback=self.callback,
            trusted=self.builders.trusted,
            every=checkpoint_seconds,
        )
        self.execution.submit(*self.plan)

    @staticmethod
    def first(recipe: Recipe, builder: Builder) -> Plan:
        """The trainings that are known before any is done, by which the number of workers is chosen."""
        undecided = [name for name, table in recipe.methods.items() if table.assistants == "auto"]
        plan = compiled(recipe, [name for name in recipe.methods if name not in undecided])
        for node in (node for name in undecided for node in trials(recipe, name, builder)):
            plan.add(node)
        return plan

    def check(self) -> Iterator[Finding]:
        """The pre-flight: all checks that are possible without training, at the threads of a training."""
        settings = self.recipe.settings
        with replace(settings, threads=settings.threads or self.execution.threads).in_force():
            yield from self._checks()

    def _checks(self) -> Iterator[Finding]:
        builder, settings, tables = self.builder, self.recipe.settings, self.recipe.taught_by
        seed, preview, seconds = self.recipe.seeds[0], self.preview(), dict[str, float | None]()
        yield from preflight.check_data(self.student_data, self.recipe.train.batch)
        if self.recipe.data.unlabelled is not None:
            yield from self._check_unlabelled()
        for one in budget.shorter(self.recipe, self.builder):
            remedy = f"methods.{one.method}.train.epochs = {one.epochs} makes them equal"
            yield Finding("warning", one.method, f"{one.text}: {remedy}")
        findings = list(preflight.check_network("student", self.student(seed), builder.data, settings))
        teachers = dict(zip(tables, preview.networks(teachers_of(self.recipe, seed)), strict=True))
        for name, teacher in teachers.items():
            given = tables[name].train is None
            findings += preflight.check_network(name, teacher, builder.data, settings, teaches=given)
            if given and (reason := unlike_its_weights(teacher, builder.data.example(2, settings.torch_device))):
                findings.append(Finding("warning", f"{name}{preflight.ABOUT_INPUTS}", reason))
        for name, table in self.helpers().items():
            findings += preflight.check_network(name, builder.network(table, seed, "student"), builder.data, settings)
        for line in self.beginnings():
            findings.append(Finding("ok", line.partition(": ")[0], line.partition(": ")[2], worth=True))
        findings += self._check_start(list(teachers.values()))
        yield from findings
        if any(finding.level == "error" for finding in findings):
            return  # further checks are useless
        for name, table in tables.items():
            if table.train is not None:
                yield Finding("ok", name, f"is trained first, for {table.train.epochs} epochs", worth=True)
                node = preview.plan[training_of(name, table, self.recipe, seed)]
                seconds[_of_any_seed(node)] = yield from self._check_training(name, node, preview)
                continue
            if preflight.misfit(teachers[name], builder.data, settings):
                continue  # as was said
            weak = table.accept_weak
            yield from preflight.check_teacher(
                teachers[name], builder.data, settings, declared=table.accuracy, accept_weak=weak, name=name
            )
        for name in self.recipe.methods:
            learning = self.recipe.methods[name]
            if reason := methods.find(learning.method).unfit(builder.data.task, learning.settings):
                fitting = methods.proposed(builder.data.task)
                yield Finding("error", name, f"the method does not fit the task: {reason}. Those that fit: {fitting}")
                continue
            if not builder.data.task.labelled and (labels := methods.find(learning.method).labels(learning.settings)):
                yield Finding("ok", name, f"the data have no labels: the loss {labels} is left out", worth=True)
            *assistants, student = preview.chain(name)
            for node in assistants:
                called = f"{name}, assistant {node.network.network.removeprefix(OBJECT)}"
                seconds[_of_any_seed(node)] = yield from self._check_training(called, node, preview)
            seconds[_of_any_seed(student)] = yield from self._check_training(name, student, preview)
        yield from self.estimate(seconds)

    def _check_unlabelled(self) -> Iterator[Finding]:
        """Whether a method learns from the samples without labels, and whether those of validation are among them."""
        seen, subject = self.builder.seen(self.recipe.data), preflight.ABOUT_UNLABELLED
        if not any(methods.find(table.method).is_taught(table.settings) for table in self.recipe.methods.values()):
            text = "no method has a teacher, so nothing is learned from samples without labels"
            yield Finding("error", subject, f"{text}: leave them out, or take kd or another method")
            return
        labelled = len(seen.train) - seen.unlabelled
        text = f"students with a teacher see {seen.unlabelled:,} samples without labels beside {labelled:,} with labels"
        yield Finding("ok", subject, text, worth=True)
        if seen.validation is not None and (count := repeated(seen, seen.validation)):
            text = f"{count:,} of the {len(seen.validation):,} samples of the validation part are among them"
            yield Finding("warning", subject, f"{text}: take them out, or epochs are selected by what was learned")

    def beginnings(self) -> list[str]:
        """What networks begin with, where that is not fresh weights and images as they come."""
        tables: dict[str, tuple[NetworkTable, bool]] = {
            name: (table, table.train is not None) for name, table in self.recipe.taught_by.items()
        }
        tables |= {name: (table, True) for name, table in self.helpers().items()}
        tables["student"] = self.recipe.student, True
        about = {name: self.builder.about(table, trained=trained) for name, (table, trained) in tables.items()}
        lines = [f"{name}: {line}" for name, said in about.items() for line in said]
        if len(self.recipe.seeds) > 1 and self.recipe.student.begins_trained:
            lines.append(
                "student: each seed begins with the same weights; seeds differ in a head that was left out, the order "
                "and augmentation of samples, dropout, and what terms own"
            )
        return lines

    def _check_start(self, teachers: Sequence[nn.Module]) -> Iterator[Finding]:
        """Which weights the student starts with."""
        chosen = self.recipe.student.from_teacher
        if chosen is None or not teachers:
            return
        student = self.student(self.recipe.seeds[0])
        try:
            copied = from_teacher(student, teachers[0], chosen.layers, at=chosen.at)
        except UserError as error:
            yield Finding("error", "student", f"from_teacher: {error}")
            return
        drawn = [name for name in inner(student).state_dict() if name not in copied]
        rest = f"drawn at random: {', '.join(drawn[:5])}" + (", ..." if len(drawn) > 5 else "") if drawn else "all"
        layers = ", ".join(map(str, chosen.layers))
        text = f"starts from layers {layers} of the teacher: {len(copied)} weights are copied, {rest}"
        yield Finding("ok", "student", text, worth=True)

    def preview(self) -> Preview:
        """Check the trainings of the recipe."""
        return Preview(self.recipe, self.builder, self.builders.stand_ins)

    def _check_training(self, subject: str, node: Node, preview: Preview) -> Generator[Finding, None, float | None]:
        """The last value is the estimated number of seconds, None without an estimate."""
        seconds, sound = 0.0, True
        try:
            training = preview.training(node)
        except UserError as error:  # the other methods are checked as well
            yield Finding("error", subject, str(error))
            return None
        for finding in self._findings(training, node.config):
            yield replace(finding, subject=f"{subject}, {finding.subject}")
            seconds, sound = seconds + finding.seconds, sound and finding.level != "error"
        return seconds if sound else None

    def estimate(self, seconds: Mapping[str, float | None]) -> Iterator[Finding]:
        """The estimate for the whole run, where each of its trainings was measured on some seed."""
        whole = [seconds.get(_of_any_seed(node)) for node in self.plan]
        auto = any(table.assistants == "auto" for table in self.recipe.methods.values())
        if not auto and None not in whole:
            total = sum(filter(None, whole))
            several = f"{len(whole)} trainings" if len(whole) > 1 else "1 training"
            text = f"{several}, roughly {preflight.duration(total)}" + (" one after another" if len(whole) > 1 else "")
            yield Finding("ok", WHOLE, text, total, worth=True)

    def _findings(self, training: Training, config: TrainConfig) -> Iterator[Finding]:
        asked = self.recipe.answers
        named = asked is not None and asked.folder is not None  # that of a run may be filled when it begins
        stored = self.stored and replace(self.stored, fill=self.stored.fill or self.fills or not named)
        yield from preflight.check_budget(training.stages, config)
        for stage in training.stages:
            yield from preflight.check_stage(
                stage,
                training.student,
                training.teachers,
                training.data,
                training.settings,
                seed=training.seed,
                stored=stored,
                stand_ins=training.stand_ins,
            )

    @property
    def stored(self) -> StoredAnswers | None:
        return self.recipe.answers.within(self.folder.path) if self.recipe.answers else None

    @property
    def complete(self) -> bool:
        return self.folder.result() is not None

    def execute(self) -> Result:
        """Run the missing trainings, measure, and write the result."""
        with self.folder.locked():
            files.remove_leftovers(self.folder.path)
            self._adopt_lost()
            self.folder.claim(recipes.write(self.recipe))
            self.begin()
            self.callback.run_begins(self.plan.names, self.builder.data.task.selecting)
            self.settle()
            self.carry_out(self.plan.names)
            path, result = self.folder.path / RESULT, self.folder.result()
            if result is None and path.exists():
                self.callback.note(f"{path} is damaged: everything is measured again")
            elif result is not None and not self._belongs(result):
                self.callback.note(f"{path} is not of these trainings: everything is measured again")
                result = None
            if result is None or self.outdated(result):
                result = self.summary()
                self.folder.write_result(result)
            else:
                result = self._mended(result)
        return result

    def _belongs(self, result: Result) -> bool:
        """Whether a result belongs to the present trainings, by their logs and the kept student."""
        if result.kept not in self.plan.names:
            return False
        training, digests = self.folder.training(result.kept), result.digests
        return all(
            digests.get(path.name) in (None, files.sha256(path))
            for path in (self.folder.path / METRICS, training / product.WEIGHTS, training / product.DESCRIPTION)
        )

    def _adopt_lost(self) -> None:
        """Where a run's recipe is missing, check its trainings and checkpoints instead."""
        folder = self.folder
        if not folder.lost_recipe:
            return
        there, planned = folder.trainings, self.plan.names
        if there and planned and not set(there) & set(planned):
            raise UserError(
                f"{folder.path} has no {RECIPE}, and holds other trainings ({', '.join(there[:5])}) than this recipe "
                "asks for: give the recipe that began it, or choose another --out"
            )
        self.execution.compare_with_folder()
        self.callback.note(
            f"{folder.path} has no {RECIPE}: its trainings and checkpoints fit this recipe, and are gone on with"
        )

    def _mended(self, result: Result) -> Result:
        """Restore damaged files of a finished run, and report them."""
        folder = self.folder.path
        if self.folder.keep(result.kept):
            self.callback.note(f"the student in {folder} was damaged: copied from {result.kept}")
        if wrong := samples.damaged(folder, result.samples):
            self.callback.note(f"{folder / SAMPLES} was damaged ({len(wrong)} of its pictures): drawn again")
            samples.mend(folder, self.builder.data.measured[1], wrong)
        if result.digests != (digests := self._digests()):  # the folder of the data may differ in the recipe
            result = result.model_copy(update={"digests": digests})
            self.folder.write_result(result)
        return result

    def _digests(self) -> dict[str, str]:
        """The digests of the files by which a result is matched with its folder."""
        names = (RECIPE, METRICS, product.WEIGHTS, product.DESCRIPTION)
        return {name: files.sha256(self.folder.path / name) for name in names}

    def begin(self) -> None:
        """Called when the folder belongs to this run, before any training."""

    def decided(self) -> list[str]:
        """The methods whose trainings are known before any is done."""
        return [name for name, table in self.recipe.methods.items() if table.assistants != "auto"]

    def helpers(self) -> dict[str, NetworkTable]:
        """The networks between teacher and student, each once, by their names in the check."""
        tables = [table.assistants for table in self.recipe.methods.values() if table.assistants != "auto"]
        return {
            f"assistant {assistant.network.removeprefix(OBJECT)}": assistant
            for assistants in tables
            for assistant in assistants
        }

    def foresee(self) -> int:
        """Add the trainings of open choices to the plan, and return the number of possible others."""
        more = 0
        for name in [name for name in self.recipe.methods if name not in self.decided()]:
            nodes = [node for node in trials(self.recipe, name, self.builder) if node.name not in self.folder.failed()]
            self.execution.submit(*nodes)
            trained = {node.name: record for node in nodes if (record := self.execution.record(node.name))}
            if len(trained) == len(nodes):
                self.execution.submit(*compiled(self._decided_by(trained, name), [name]))
            else:
                more += 2 * len(self.recipe.seeds_of(name))  # of its assistant and its own
        self.plan = self.execution.plan
        return more

    def forecast(self, to_train: Collection[str], more: int) -> Forecast | None:
        """The part of these trainings and ``more`` others that fits the budget; None without a budget."""
        return None

    def _decided_by(self, trained: Mapping[str, TrainingRecord], name: str) -> Recipe:
        """The recipe with a method's assistant, as the records of its quick trainings have it."""
        return chosen(self.recipe, [name], self.builder, lambda _: trained)[0]

    def settle(self) -> None:
        """Make the open choices of the recipe: the assistants of ``"auto"``."""
        undecided = [name for name in self.recipe.methods if name not in self.decided()]
        if undecided:
            recipe, notes = chosen(self.recipe, undecided, self.builder, self.trained_beside)
            self.notes += notes
            self.remember_failed()
            self.adopt(recipe)

    def trained_beside(self, nodes: Sequence[Node]) -> dict[str, TrainingRecord]:
        """The records of trainings that are not the recipe's own, without failed ones."""
        self._failed.update(self.folder.failed())
        wanted = [node for node in nodes if node.name not in self._failed]
        self.execution.submit(*wanted)
        return self.carry_out([node.name for node in wanted], self._set_aside)

    def _set_aside(self, failure: FailedTrainingError) -> None:
        self._failed.add(failure.training)
        self.callback.note(str(failure))

    def remember_failed(self) -> None:
        """Record the failed trainings after a choice, since a repetition could change the choice."""
        self.folder.write_failed(self._failed)

    def adopt(self, recipe: Recipe) -> None:
        """Continue with a recipe without open choices."""
        self.recipe, self.plan = recipe, compiled(recipe)
        self.execution.submit(*self.plan)

    def summary(self) -> Result:
        """Make the result. The test part is read here, once."""
        result = summarize(self)
        self.folder.keep(result.kept)
        notes = [*result.notes, *self.beginnings(), *self.notes]
        if of_before := self.execution.of_before:
            names = ", ".join(of_before)
            notes.append(f"trained with other code, data or settings than when this was measured: {names}")
        return result.model_copy(update={"notes": notes, "digests": self._digests()})

    def outdated(self, result: Result) -> bool:
        """Whether an existing result is out of date."""
        return False

    def store_answers(self) -> list[Filled]:
        """Store the teachers' answers that the recipe's trainings read; teachers of the recipe are trained first.

        Trainings that learn from an assistant are passed over, with a note.
        """
        if self.recipe.answers is None:
            raise UserError("the recipe has no table [answers], which says what is stored: add --set answers.views=8")
        with self.folder.locked():
            files.remove_leftovers(self.folder.path)
            self._adopt_lost()
            self.folder.claim(recipes.write(self.recipe))
            self.begin()
            taught = [node for node in self.plan if node.teachers]
            nodes = [node for node in taught if all(self.plan[name].role == "teacher" for name in node.learns_from)]
            for node in taught:
                if node not in nodes:
                    self.callback.note(f"{node.name} learns from an assistant, which distill trains: nothing is stored")
            self.carry_out(list(dict.fromkeys(name for node in nodes for name in node.learns_from)))
            with self._engine(self.builders, self.callback, self.stop) as self.execution.engine:
                stored = [filled for node in nodes for filled in self.execution.store_answers(node.name)]
        if not stored:
            raise UserError("no stage of the recipe reads answers that can be stored")
        return stored

    def carry_out(
        self, names: Collection[str], failed: Callable[[FailedTrainingError], None] | None = None
    ) -> dict[str, TrainingRecord]:
        """Train these nodes and their teachers, unless they are done, and return the records.

        A failed training ends the run, unless ``failed`` is given, which is called with it.
        """
        if any(name not in self.execution.plan for name in names):
            self.settle()
        with self._engine(self.builders, self.callback, self.stop) as self.execution.engine:
            gathered, took = -math.inf, 0.0
            try:
                for _ in self.execution.results(names, failed):
                    if (began := time.monotonic()) - gathered >= GATHERING * took:
                        self.folder.gather_metrics(self.plan.names)
                        gathered, took = (ended := time.monotonic()), ended - began
            except BaseException:
                with contextlib.suppress(OSError, UserError):
                    self.folder.gather_metrics(self.plan.names)
                raise
            self.folder.gather_metrics(self.plan.names)
        return {name: self.execution.done[name] for name in names if name in self.execution.done}


def _of_any_seed(node: Node) -> str:
    """The name of a training without its seed."""
    return node.name.removesuffix(f"-{node.seed}")
