"""``understudy.distill``: any teacher, any student, any data, one call; a run like any other."""

import io
import json
import multiprocessing
import shutil
import signal
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import safetensors.torch
from torch import nn

from understudy import bounds, methods
from understudy import data as datasets
from understudy import recipe as recipes
from understudy.answers import StoredAnswers
from understudy.config import hardware
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data.sources import InMemory
from understudy.errors import UserError
from understudy.files import DIGEST, SCRATCH, fits, read_json, sealed, sha256, write_json
from understudy.methods import Method
from understudy.models import load_weights
from understudy.models import student as product
from understudy.models.fingerprints import brief, of_network, of_samples, of_values
from understudy.objective import evaluating
from understudy.objective.term import Expression
from understudy.plans import TrainingCache
from understudy.plans.engines.processes import check_sendable
from understudy.plans.entry import RESULT
from understudy.plans.group import Group
from understudy.plans.training import Casts
from understudy.ranks import alone as by_itself
from understudy.recipe import Recipe
from understudy.recipe.objects import OBJECT, GivenMethod, GivenNetwork, Objects
from understudy.recipe.schema import AssistantTable, DataTable, MethodTable, NetworkTable, TeacherTable
from understudy.runs import keep
from understudy.runs.compile import assistant_of, student_of
from understudy.runs.folder import GIVEN, RunFolder
from understudy.runs.planned import engine_of
from understudy.runs.records import Result, Row
from understudy.runs.run import Run
from understudy.runs.shown import shown
from understudy.taps import Pair, Tap
from understudy.training import preflight
from understudy.training.callbacks import Callback
from understudy.training.interrupt import Stopped, listening
from understudy.training.preflight import Finding
from understudy.training.records import Figures, StageEnd, TrainingRecord

if TYPE_CHECKING:
    from understudy.export import Exported

DIGESTS = "digests.json"  # of the given weights
STARTED = "the weights with which the networks came are not known: choose another out, or put a copy back"

BASELINE = "alone"
Network = nn.Module | str | Callable[[], nn.Module]
Assistants = Sequence[Network] | Literal["auto"]


class Distilled:
    """A finished run of ``distill``: printed, it is the verdict and the table of results.

    ``student`` is the network that was kept, on validation, of all methods and seeds; ``result`` is everything that was
    measured, as it stands in ``result.json``; ``folder`` is the run folder, None where none was asked for.

    >>> samples = torch.rand(40, 4), torch.arange(40) % 2
    >>> run = distill(None, torch.nn.Linear(4, 2), samples, method="alone", epochs=1)
    >>> sorted(run.result.methods), run.student(torch.rand(1, 4)).shape
    (['alone'], torch.Size([1, 2]))
    """

    def __init__(self, run: "GivenRun", result: Result, student: nn.Module, scratch: "Scratch | None" = None):
        self.result, self.student = result, student
        self.folder: Path | None = None if scratch else run.folder.path
        self._run, self._scratch = run, scratch  # the scratch folder is removed together with this object

    @property
    def _row(self) -> Row:
        rows = [row for method in self.result.methods.values() for row in method.trainings]
        return next(row for row in rows if row.training == self.result.kept)

    @property
    def figures(self) -> Figures:
        """The figures of the kept student on the part that the run was measured on, by name."""
        return dict(self._row.figures)

    @property
    def validation(self) -> Figures:
        """The figures by which the student was kept; empty without a validation part."""
        return dict(self._row.validation)

    @property
    def teacher_figures(self) -> Figures:
        """The teacher's; of several, those of what they answer together. Empty without a teacher."""
        teacher = self.result.teacher
        return {name: values.mean for name, values in teacher.figures.items()} if teacher else {}

    @property
    def stages(self) -> list[StageEnd]:
        """How each stage of the kept student's training ended."""
        path = self._run.folder.training(self.result.kept) / RESULT
        return TrainingRecord.read(path, way_out="remove it and call again").stages

    def report(self, page: str | Path | None = None) -> Path:
        """Write the page of the run; answers with its path, in the run folder unless another place is named."""
        from understudy.report import write_report  # late: it stands above runs, and draws by matplotlib

        if page is None and self.folder is None:
            raise UserError("the run has no folder: name a place for the page, as in run.report('report.html')")
        return write_report(self._run.folder.path, page=Path(page) if page is not None else None)

    def export(
        self,
        to: str,
        out: str | Path | None = None,
        *,
        method: str | None = None,
        training: str | None = None,
        **options: Any,
    ) -> "Exported":
        """Write the student for another runtime, proved on the run's data: ``"onnx"``, ``"int8"``, ``"torch"``, ...

        Args:
            out: a file or a folder; by default the folder of the student.
            method, training: another student than the one that was kept: that of a method, or of a training.
            options: see ``understudy.export.exporter``.
        """
        from understudy.export import export  # late: it stands above runs

        if out is None and self.folder is None:
            raise UserError(f"the run has no folder: name a place for the file, as in run.export({to!r}, 'student')")
        folder, _ = keep.student_in(self._run.folder.path, method, training)
        student = self.student if folder == self._run.folder.path else self._run.trained(folder.name)
        given = {"data": self._run.cast.data, "teacher": self._run.first_teacher, "network": student} | options
        return export(folder, to, out=out, **given)

    def __str__(self) -> str:
        from rich.console import Console  # late, as all that shows results: it is slow to import

        from understudy.report.text import show, show_students

        console = Console(width=120, record=True, file=io.StringIO())
        show(self.result, console)
        if self.folder is not None:
            show_students(self.result, self.folder, console)
        return console.export_text().rstrip()

    def __repr__(self) -> str:
        place = f" in {self.folder}" if self.folder else ""
        return f"<understudy run{place}: kept {self.result.kept}>"


class Scratch:
    """A folder that is removed together with this object, or at the end of the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=SCRATCH))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def distill(
    teacher: Network | Sequence[Network] | None,
    student: Network,
    data: Any,
    *,
    method: str | Expression | Sequence[Stage] = "kd",
    config: TrainConfig | None = None,
    epochs: int | None = None,
    seeds: int | Sequence[int] = (0,),
    baseline: bool = False,
    assistants: Assistants | None = None,
    settings: Settings | Literal["auto"] | None = None,
    answers: StoredAnswers | None = None,
    balance: bool = False,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    together: bool = False,
    check: bool = True,
    accept_weak: bool = False,
    callback: Callback | None = None,
    progress: bool | None = None,
    **method_settings: Any,
) -> Distilled:
    """Train ``student`` to stand in for ``teacher``, after a check of everything, and measure what it is worth.

    >>> samples = torch.rand(40, 4), torch.arange(40) % 2
    >>> teacher = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> run = distill(teacher, torch.nn.Linear(4, 2), samples, method="kd", epochs=1, accept_weak=True)
    >>> run.student
    Linear(in_features=4, out_features=2, bias=True)

    Args:
        teacher: a module, or a function that makes one, or several, for a method that reads them all; they are not
            changed. The folder of a run or of a student stands for the student in it. The name of a network such as
            ``"resnet56"`` stands for one that is trained first, on ``config``. None for ``method="alone"``.
        student: a module, the name of a network such as ``"resnet8"``, or a function without arguments that makes one.
            A module is trained in place and holds the kept weights in the end; for every seed it begins with the
            weights with which it came. A name or a function gives each seed weights of its own.
        data: ``understudy.data.load("cifar10")``, a PyTorch ``Dataset``, a pair of them (train, test), tensors
            ``(x, y)``, the path of a folder of images, or the name of a data set. Images come between 0 and 1: wrap a
            module that wants them normalised in ``understudy.models.Normalized``.
        method: a name of ``understudy.methods``, a sum of terms, or stages of your own.
        config: how long, in which steps, on which views. ``epochs`` alone changes only that.
        seeds: the seeds to train on, or how many; what is reported then has a mean and a spread.
        baseline: train the student alone, too, at equal budget, and judge whether distillation helps.
        assistants: networks of middle size, modules or names such as ``"plain4"``, each trained as the student is, by
            the one before it (``method="dgkd"``: by all that are larger); the student learns from the last one.
            ``"auto"`` takes the network of the student's family whose own figure, in a quick training, is nearest
            the mean of teacher's and student's.
        settings: device, precision, memory format, threads. By default (``"auto"``) they follow from what the hardware
            can do (``Settings.by_rule()``); with ``out`` a run goes on with those that it began with.
        answers: ``understudy.StoredAnswers(views=8)`` asks the teacher once for each view of a sample and keeps what it
            answers.
        balance: weigh the terms by the sizes of their gradients, not by the method's numbers (``balanced``).
        out: a run folder. With it, a call that was killed goes on where it was, bit for bit.
        cache: a folder of finished trainings; what is there already is not trained again.
        workers: trainings at once, each in a process of its own. Call ``distill`` under
            ``if __name__ == "__main__":`` then, as for a PyTorch ``DataLoader`` with workers.
        together: all trainings at once in this process, in turn; those of one teacher share its passes.
        check: run the pre-flight check first.
        accept_weak: go on with a teacher that answers at chance level.
        callback: called as the trainings go on: ``understudy.PrintEpochs()`` prints a line for each epoch.
        progress: show bars at a terminal, lines elsewhere. By default (None) bars at a terminal and a line for each
            epoch in a notebook, unless there is a callback; where nothing is shown, notes are warnings.
        method_settings: the method's own, such as ``temperature=4``.
    """
    _refuse_import_in_worker()
    call = _Call(method, method_settings, config, epochs, baseline)
    for description, called in ((call.config, "config"), (settings, "settings"), (answers, "answers")):
        bounds.check(description, called)
    if answers is not None:
        answers.within(Path(out) if out is not None else None)  # or a UserError: answers need a folder that stays
    given = teacher if isinstance(teacher, (list, tuple)) else [teacher]
    if isinstance(student, nn.Module) and any(one is student for one in given):
        raise UserError("the student is the teacher itself, one object: train a copy of it, copy.deepcopy(teacher)")
    objects = Objects(whole=cache is not None)
    recipe = Recipe(
        seeds=_seeds(seeds),
        data=_data(data, objects),
        **_teachers(teacher, objects, call.config, accept_weak=accept_weak),
        student=_network(student, "student", objects),
        train=call.config,
        methods=call.tables(_assistants(assistants, call, objects, teacher), balance=balance),
        settings=_settings(settings, out, None if together else workers),
        answers=answers,
    )
    group = Group.started()
    if group is not None and (together or workers not in (None, 1)):
        raise UserError("several processes take each training together: leave workers and together out")
    follows = group is not None and group.rank > 0
    scratch = None if out is not None or follows else Scratch()
    folder = scratch.path if scratch else Path(out or "")
    if group is not None:
        folder = group.folder(folder)
    if follows:
        callback, progress = Callback(), False
    with listening() as stop, shown(callback, progress) as told, ExitStack() as stack:
        casts = Casts(progress=told.downloads, objects=objects)
        for network in objects.networks.values():
            network.freeze()
            if network.taught:
                stack.enter_context(evaluating(network.given()))
        alone = not together and (workers is None or workers == 1)
        if not alone and not together:
            check_sendable(objects, [call.method])
        with by_itself() if group else nullcontext():
            run = GivenRun(
                recipe,
                folder,
                in_place=alone and not (call.baseline and call.method.grafts),  # another's weights may be kept in it
                casts=casts,
                callback=told,
                stop=stop,
                cache=TrainingCache(Path(cache)) if cache is not None else None,
                **engine_of(recipe.settings, workers, together=together, objects=objects, group=group),
            )
        try:
            result = run.checked(check=check) if group is None else _checked_in(group, run, call.method, check=check)
        except Stopped as stopped:
            saved = f"the same call goes on from {out}" if out is not None else "with out= it could be gone on with"
            raise KeyboardInterrupt(f"stopped by {signal.Signals(stopped.signal_number).name}; {saved}") from None
        distilled = Distilled(run, result, run.kept(result), scratch)
        if group is not None:
            group.meet()  # before the first process may remove its folder
        return distilled


def _checked_in(group: Group, run: "GivenRun", method: Method, *, check: bool) -> Result:
    """The run's result, on each process: the first one carries the run out, and the others train with it."""
    if group.rank == 0:
        with group.led():
            return run.checked(check=check)
    group.follow(run.casts, run.stop, begin=run.begin_with_kept, given={str(method): method})
    result = run.folder.result()
    if result is None:
        raise UserError("the first process, which says why, has not finished the run")
    return result


class GivenRun(Run):
    """A run of networks and data that were given as objects.

    Args:
        in_place: whether a module that was given is trained itself in the first seed's training.
    """

    def __init__(self, recipe: Recipe, out: Path, *, in_place: bool, **options: Any):
        super().__init__(recipe, out, **options)
        self.objects: Objects = self.casts.objects
        for name, training in self._trained_objects().items():
            self.objects[name].in_place = training if in_place else None
        if len(recipe.seeds) > 1 and recipe.student.network in self.trained_modules:
            self.notes.append(
                "the student was given as a module: each seed begins with the same weights, and seeds differ in the "
                "order and augmentation of samples, dropout, and what terms own; give a function or a name for fresh "
                "weights"
            )

    def checked(self, *, check: bool) -> Result:
        """Look at the folder and at everything that can go wrong, then execute."""
        self.folder.look(recipes.write(self.recipe))
        self.begin_with_kept()
        if check and not self.complete:
            findings = list(self.check())
            preflight.passes(findings)
            for line in _lines(findings, self.recipe):
                self.callback.note(line)
        return self.execute()

    def begin(self) -> None:
        """Keep the weights with which modules came, from which every seed begins and a stopped run goes on."""
        for name, network in self.trained_modules.items():
            path = self._weights_of(name)
            if not path.exists():
                product.save_weights(path, network.template.state_dict())
        digests = {path.name: sha256(path) for path in map(self._weights_of, self.trained_modules)}
        if digests and self._given_digests() != digests:
            write_json(self.folder.path / GIVEN / DIGESTS, sealed(digests))

    def _given_digests(self) -> dict[str, object]:
        """The SHA-256 of each file of given weights; empty where there are none yet."""
        path = self.folder.path / GIVEN / DIGESTS
        content = read_json(path)
        if path.exists() and (content is None or not fits(content)):
            raise UserError(f"{path} is damaged: {STARTED}")
        return {name: digest for name, digest in (content or {}).items() if name != DIGEST}

    @property
    def measuring(self) -> float:
        """A call that trains for a moment is not measured for seconds."""
        trained = sum(float(record.get("seconds") or 0.0) for record in self.execution.done.values())
        return min(1.0, max(0.02, trained / 60))

    def kept(self, result: Result) -> nn.Module:
        """The student that was kept, in the module that was given; modules of assistants hold their weights, too."""
        for name, training in self._trained_objects().items():
            module = self.objects[name].module
            if module is not None:
                kept = result.kept if name == self.recipe.student.network else training
                product.prepare(module, self.folder.training(kept))
                load_weights(module, self.folder.training(kept) / product.WEIGHTS)
                module.eval()
        given = self.objects.networks.get(self.recipe.student.network)
        module = given.module if given else None
        return module if module is not None else self.trained(result.kept).eval()

    @property
    def first_teacher(self) -> nn.Module | None:
        return next((network.given() for network in self.objects.networks.values() if network.taught), None)

    @property
    def trained_modules(self) -> dict[str, GivenNetwork]:
        """The modules that are trained here, by their names in the plan."""
        found = self.objects.networks.items()
        return {name: network for name, network in found if network.module is not None and not network.taught}

    def _trained_objects(self) -> dict[str, str]:
        """Of every object that is trained, the training of the first seed."""
        name, seed = list(self.recipe.methods)[-1], self.recipe.seeds[0]
        listed = self.recipe.methods[name].assistants
        found = {
            assistant.network: assistant_of(name, place, assistant.network, seed)
            for place, assistant in enumerate(listed if listed != "auto" else (), start=1)
        }
        found[self.recipe.student.network] = student_of(name, seed)
        return {network: training for network, training in found.items() if network in self.objects.networks}

    def begin_with_kept(self) -> None:
        """Let modules begin with the weights with which they came when the run began."""
        for name, network in self.trained_modules.items():
            path = self._weights_of(name)
            if path.exists():
                if self._given_digests().get(path.name) not in (None, sha256(path)):
                    raise UserError(f"{path} is damaged: {STARTED}")
                network.begin_with(safetensors.torch.load_file(path))

    def _weights_of(self, name: str) -> Path:
        return self.folder.path / GIVEN / f"{name.removeprefix(OBJECT)}.safetensors"


class _Call:
    """The method of a call with its settings and its config."""

    def __init__(
        self,
        method: str | Expression | Sequence[Stage],
        own: Mapping[str, Any],
        config: TrainConfig | None,
        epochs: int | None,
        baseline: bool,
    ):
        self.given = method if isinstance(method, str) else GivenMethod.of(method)
        self.method = methods.find(self.given)
        self.name = self.method.name
        stages = None if isinstance(method, (str, Expression)) else list(method)
        if stages is not None and (config is not None or epochs is not None):
            raise UserError(
                "config and epochs are not taken beside stages of your own: each stage holds its own config"
            )
        config = config or (_course_of(stages) if stages else TrainConfig())
        self.config = replace(config, epochs=epochs) if epochs is not None else config
        if own and not isinstance(method, str):
            raise UserError(f"{', '.join(own)}: settings belong to a method by name; terms and stages hold their own")
        _check_names(self.method, own)
        self.settings = {name: _plain(self.name, name, value) for name, value in own.items()}
        self.baseline = baseline and self.name != BASELINE

    def tables(self, assistants: Any, *, balance: bool) -> dict[str, MethodTable]:
        """The methods of the run; the student alone first, where it is compared with."""
        own = MethodTable(
            method=self.given, settings=self.settings, train=self.config, balance=balance, assistants=assistants
        )
        alone = {BASELINE: MethodTable(method=BASELINE, train=self.config)} if self.baseline else {}
        return {**alone, self.name: own}


def _course_of(stages: Sequence[Stage]) -> TrainConfig:
    """The budget of several stages: all of their epochs, on the last one's config."""
    return replace(stages[-1].config, epochs=sum(stage.config.epochs for stage in stages))


def _check_names(method: Method, own: Mapping[str, Any]) -> None:
    """What belongs to the call or to the config is no setting of a method."""
    for name in (described.name for described in fields(TrainConfig)):
        if name in own and name not in method.settings:
            raise UserError(f"{name} belongs to the training configuration: config=understudy.TrainConfig({name}=...)")
    if "seed" in own and "seed" not in method.settings:
        raise UserError(f"a call has seeds: seeds=[{own['seed']}]")
    method.check_names(own)


def _plain(method: str, name: str, value: Any) -> Any:
    """A setting as plain data, as a recipe would hold it."""

    def told(thing: Any) -> Any:
        if isinstance(thing, (Pair, Tap)):
            return str(thing)
        if callable(getattr(thing, "tolist", None)):  # numbers of NumPy, small tensors
            return thing.tolist()
        raise TypeError(type(thing).__name__)

    try:
        return json.loads(json.dumps(value, default=told))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"method {method!r}: {name} = {value!r}: a setting is a plain value, not a {type(value).__name__}; "
            "for anything else pass terms, as in method=CE() + KD()"
        ) from error


def _settings(settings: Settings | Literal["auto"] | None, out: str | Path | None, workers: int | None) -> Settings:
    """The settings that are given, those with which the run began, or those that follow by rule."""
    if settings is not None and settings != "auto":
        return settings
    begun = RunFolder(Path(out)).settings() if out is not None else None
    return begun or Settings.by_rule(threads=hardware.threads_each(workers or 1))


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(seeds, int) and seeds < 1:
        raise UserError(f"seeds={seeds}: give a number of seeds above 0, or the seeds themselves, as in seeds=[0]")
    listed = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
    if not listed or len(set(listed)) != len(listed) or min(listed) < 0:
        raise UserError(f"seeds={seeds!r}: give each seed once, a whole number from 0 on")
    return listed


def _data(data: Any, objects: Objects) -> DataTable:
    """The data under a name that says what they hold."""
    given = objects.data = datasets.as_data(data)
    parts = [part for part in (given.train, given.validation) if part is not None]
    source = given.train.source
    samples = of_samples(source) if isinstance(source, InMemory) else ""  # others may take long to read
    digest = brief([*(of_values(part.ids) for part in parts), of_values(source.targets), samples])
    return DataTable(name=f"{OBJECT}{digest}", validation=len(given.validation) if given.validation else 0)


def _network(network: Network, called: str, objects: Objects) -> NetworkTable:
    if isinstance(network, str):
        return NetworkTable(network=network)
    given = GivenNetwork.of(called, network)
    return NetworkTable(network=objects.add(given), settings=given.facts())


def _teachers(
    teacher: Network | Sequence[Network] | None, objects: Objects, config: TrainConfig, *, accept_weak: bool
) -> dict[str, Any]:
    """The teachers as a recipe has them: one, several, or none; a name alone is a network that is trained first."""
    several = isinstance(teacher, (list, tuple))
    listed: list[Network] = (
        [] if teacher is None else list(cast(Sequence[Network], teacher)) if several else [cast(Network, teacher)]
    )
    tables = []
    for number, network in enumerate(listed, start=1):
        called = "teacher" if len(listed) == 1 else f"teacher{number}"
        if isinstance(network, str) and not (Path(network) / product.DESCRIPTION).is_file():
            tables.append(TeacherTable(network=network, train=config, one_for_all=True, accept_weak=accept_weak))
            continue
        if isinstance(network, str):
            network = product.load(network)
        given = GivenNetwork.of(called, network, taught=True)
        name, weights = objects.add(given), f"{OBJECT}{of_network(given.given())}"
        tables.append(TeacherTable(network=name, settings=given.facts(), weights=weights, accept_weak=accept_weak))
    return {"teacher": tables[0]} if len(tables) == 1 else {"teachers": tuple(tables)}


def _assistants(assistants: Assistants | None, call: _Call, objects: Objects, teacher: Any) -> Any:
    if assistants is None and call.method.needs_assistants:
        assistants = "auto"
    if not assistants:
        return ()
    if not call.method.reads_teacher or isinstance(call.given, Method):
        raise UserError("assistants learn by a method with a teacher, by its name, as in method='takd'")
    if teacher is None:
        raise UserError("assistants learn from a teacher, and there is none")
    if assistants == "auto":
        if isinstance(teacher, (list, tuple)) and len(teacher) > 1:
            raise UserError("choosing an assistant needs a single teacher: name the assistants")
        if objects.data is not None and objects.data.validation is None:
            raise UserError("choosing an assistant needs a validation part: name the assistants, or give one")
        return assistants
    tables = [_network(network, f"assistant{place}", objects) for place, network in enumerate(assistants, start=1)]
    return tuple(AssistantTable(**dict(table)) for table in tables)


def _lines(findings: Sequence[Finding], recipe: Recipe) -> Iterator[str]:
    """Those of the findings that are worth a line to a caller.

    Data and teacher are the caller's own, and what is said of a stage as a whole, its training says again. What stored
    answers cost and gain is for callers who asked for them, though nothing is wrong with it.
    """
    several = len(recipe.methods) > 1
    for finding in findings:
        subject = finding.subject
        for name in recipe.methods:
            subject = subject if several else subject.removeprefix(f"{name}, ")
        stage = next((part for part in (subject, subject.partition(", ")[2]) if part.startswith("stage")), "")
        detail = "," in stage
        worth = detail and finding.level == "warning"
        worth |= detail and recipe.answers is not None and finding.subject.endswith(preflight.ABOUT_STORED)
        if worth or finding.subject == preflight.ABOUT_IMAGES:
            yield f"{subject}: {finding.text}"


def _refuse_import_in_worker() -> None:
    """A worker imports the main script; a call at its top level would start workers of its own without end."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UserError(
            'call understudy.distill(..., workers=...) under if __name__ == "__main__": each worker imports the script'
        )
