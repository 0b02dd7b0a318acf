"""``understudy.distill``: any teacher, any student, any data, one call."""

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from understudy import bounds
from understudy import data as datasets
from understudy.errors import FailedTrainingError, UserError
from understudy.methods import find
from understudy.models import load_weights
from understudy.models import student as product
from understudy.objective import evaluating
from understudy.objective.term import Expression
from understudy.settings import Settings
from understudy.stage import Stage
from understudy.stored import Stored
from understudy.teacher.stand_in import StandIns
from understudy.training import checkpoints, preflight
from understudy.training.course import Course
from understudy.training.evaluate import answers, together
from understudy.training.interrupt import Stopped, listening
from understudy.training.loop import Training
from understudy.training.preflight import Finding
from understudy.training.watch import Warner, Watcher

if TYPE_CHECKING:
    from understudy.assisting import Assistants
    from understudy.runs.folder import RunFolder

ASSISTANTS = "assistants"  # the folder of theirs, in the student's


@dataclass(frozen=True)
class Distilled:
    """A trained student and what it is worth; accuracies are shares, measured once, on ``measured_on``.

    Of several teachers, ``teacher_accuracy`` and ``agreement`` are about the average of their probabilities.
    """

    student: nn.Module
    accuracy: float
    teacher_accuracy: float | None
    agreement: float | None  # with the teacher's first choice
    measured_on: str
    stages: list[dict[str, Any]]
    folder: Path | None
    teacher_accuracies: list[float] = field(default_factory=list)  # each teacher's own
    assistants: list[dict[str, Any]] = field(default_factory=list)  # each one's network and accuracies

    @property
    def validation(self) -> float | None:
        """The accuracy by which the student was chosen, where there is a validation part."""
        return (self.stages[-1].get("validation") or {}).get("accuracy")


def distill(
    teacher: nn.Module | Sequence[nn.Module] | None,
    student: nn.Module,
    data: Any,
    *,
    method: str | Expression | Sequence[Stage] = "kd",
    assistants: "Assistants | None" = None,
    course: Course | None = None,
    epochs: int | None = None,
    seed: int = 0,
    settings: Settings | Literal["auto"] | None = None,
    out: str | Path | None = None,
    check: bool = True,
    accept_weak: bool = False,
    watcher: Watcher | None = None,
    balance: bool = False,
    stored: Stored | None = None,
    **method_settings: Any,
) -> Distilled:
    """Train ``student`` to stand in for ``teacher``, after a pre-flight check of everything.

    >>> result = understudy.distill(teacher, student, data, method="kd", epochs=30)  # doctest: +SKIP
    >>> result.student, result.accuracy  # doctest: +SKIP

    Args:
        teacher: any module that answers with logits, or several, for a method that reads them all; they are not
            changed. None for ``method="alone"``.
        student: any module; it is trained in place.
        data: ``understudy.data.load("cifar10")``, a PyTorch ``Dataset``, a pair of them (train, test), or tensors
            ``(x, y)``. Images come between 0 and 1: wrap a network that wants them normalised in
            ``understudy.models.Normalized``.
        method: a name of ``understudy.methods``, a sum of terms, or stages of your own.
        assistants: networks of middle size, modules or names such as ``"plain4"``, each trained as the student is, by
            the one before it (``method="dgkd"``: by all that are larger); the student learns from the last one.
            ``"auto"`` takes the network of the student's family whose own accuracy, in a quick training, is nearest
            the mean of teacher's and student's.
        course: how long, in which steps, on which views. ``epochs`` alone changes only that.
        settings: device, precision, memory format, threads. ``"auto"`` measures which are fastest here, where the run
            is long enough to be worth it; with ``out`` a run goes on with those that it began with.
        out: a run folder. With it, a call that was killed goes on where it was, bit for bit.
        check: run the pre-flight first.
        accept_weak: go on with a teacher that answers at chance level.
        watcher: who is told how the training goes: ``understudy.Lines()`` prints a line for each epoch, and
            ``understudy.Watcher`` is for you to inherit from. Otherwise what is worth a line is a warning.
        balance: weigh the terms by the sizes of their gradients, not by the method's numbers (``balanced``).
        stored: ``understudy.Stored(views=8)`` asks the teacher once for each view of a sample and keeps its answers.
        method_settings: the method's own, such as ``temperature=4``.
    """
    if not isinstance(method, (str, Expression)) and (course is not None or epochs is not None):
        raise UserError("course and epochs are not taken beside stages of your own: each stage holds its own course")
    course = course or Course()
    course = replace(course, epochs=epochs) if epochs is not None else course
    _check_names(method, method_settings)
    for description, called in ((course, "course"), (settings, "settings"), (stored, "stored")):
        bounds.check(description, called)
    work = _Work(datasets.as_data(data), settings or Settings(), seed, check, accept_weak, watcher, balance, stored)
    teachers = [] if teacher is None else [teacher] if isinstance(teacher, nn.Module) else list(teacher)
    folder = Path(out) if out is not None else None
    told: list[dict[str, Any]] = []
    if assistants is None and isinstance(method, str) and find(method).needs_assistants:
        assistants = "auto"
    if assistants:
        teachers, told = _assisted(assistants, teachers, student, work, method, method_settings, course, folder)
    return _trained(teachers, student, work, method, method_settings, course, folder, told)


def _check_names(method: str | Expression | Sequence[Stage], own: Mapping[str, Any]) -> None:
    """What belongs to the course is no setting of a method."""
    if not isinstance(method, (str, Expression)):
        return  # stages of one's own hold their courses
    settings = find(method).settings if isinstance(method, str) else {}
    for name in (described.name for described in fields(Course)):
        if name in own and name not in settings:
            raise UserError(f"{name} belongs to the course: course=understudy.Course({name}=...)")


@dataclass(frozen=True)
class _Work:
    """What all trainings of a call share."""

    data: datasets.Data
    settings: Settings | Literal["auto"]
    seed: int
    check: bool
    accept_weak: bool
    watcher: Watcher | None
    balance: bool
    stored: Stored | None
    stand_ins: StandIns = field(default_factory=StandIns)


def _assisted(
    assistants: "Assistants",
    teachers: list[nn.Module],
    student: nn.Module,
    work: _Work,
    method: str | Expression | Sequence[Stage],
    own: dict[str, Any],
    course: Course,
    folder: Path | None,
) -> tuple[list[nn.Module], list[dict[str, Any]]]:
    """Train the assistants; answers with the student's teachers, and with who helped."""
    from understudy.assisting import assist

    if not isinstance(method, str) or not find(method).reads_teacher:
        raise UserError("assistants learn by a method with a teacher, by its name, as in method='takd'")
    if not teachers:
        raise UserError("assistants learn from a teacher, and there is none")

    def train(
        taught_by: Sequence[nn.Module], network: nn.Module, by: str, of_own: Mapping[str, Any], on: Course, name: str
    ) -> Distilled:
        place = folder / ASSISTANTS / name if folder else None
        try:
            return _trained(list(taught_by), network, work, by, dict(of_own), on, place, [])
        except FailedTrainingError as failed:
            raise FailedTrainingError(f"assistant {name}: {failed}", training=name, reason=failed.reason) from failed

    found = assist(
        assistants, teachers, student, work.data, train, method=method, own=own, course=course, seed=work.seed
    )
    return found.teachers, found.told


def _trained(
    teachers: list[nn.Module],
    student: nn.Module,
    work: _Work,
    method: str | Expression | Sequence[Stage],
    own: dict[str, Any],
    course: Course,
    out: Path | None,
    assistants: list[dict[str, Any]],
) -> Distilled:
    """One training of a call, in its folder."""
    from understudy.files import read_json  # here, since these are slow to import
    from understudy.plans.entry import METRICS, RESULT  # here, since these are slow to import
    from understudy.runs.calls import described, settled
    from understudy.runs.folder import RunFolder

    whole = work.data
    stages = _stages(method, course, own, student, teachers[0] if teachers else None, whole)
    if work.balance:
        stages = [stage.balanced() for stage in stages]
    folder = RunFolder(out) if out is not None else None
    watcher = work.watcher or Warner()
    settings = settled(work.settings, teachers, student, stages, whole, work.stored, folder, watcher)
    teachers = [settings.place(network) for network in teachers]
    settings.place(student)
    stored = work.stored.within(folder.path if folder else None) if work.stored else None
    record = described(method, own, stages, work.seed, settings, teachers, student, stored, assistants, whole)
    with folder.locked() if folder else nullcontext(), listening() as stop, ExitStack() as stack:
        for taught_by in teachers:
            stack.enter_context(evaluating(taught_by))
        if folder:
            folder.look(record)
            done = read_json(folder.path / RESULT)
            if done is not None:
                load_weights(student, folder.path / product.WEIGHTS)
                return Distilled(student.eval(), folder=folder.path, **done)
        if work.check:
            findings = list(_findings(student, teachers, stages, settings, stored, work))
            preflight.passes(findings)
            for finding in findings:
                if _worth_a_line(finding, answers_kept=stored is not None):
                    watcher.note(f"{finding.subject}: {finding.text}")
        if folder:
            folder.claim(record)
        training = Training(
            student,
            teachers,
            stages,
            whole,
            seed=work.seed,
            settings=settings,
            checkpoint_folder=folder.path / "checkpoints" if folder else None,
            metrics=folder.path / METRICS if folder else None,
            watcher=watcher,
            stop=stop,
            stored=stored,
            stand_ins=work.stand_ins,
        )
        try:
            ended = training.run()["stages"]
        except Stopped as stopped:
            saved = f"the same call goes on from {folder.path}" if folder else "with out= it could be gone on with"
            raise KeyboardInterrupt(f"stopped by {signal.Signals(stopped.signal_number).name}; {saved}") from None
        result = _measure(student.eval(), teachers, whole, settings, ended, folder.path if folder else None)
        result = replace(result, assistants=assistants)
        if folder:
            _write(result, folder, whole)
    return result


def _write(result: Distilled, folder: "RunFolder", data: datasets.Data) -> None:
    product.save(folder.path, result.student, product.describe(result.student, None, data.shape, data.classes))
    plain = asdict(replace(result, student=nn.Identity(), folder=None))
    from understudy.files import write_json
    from understudy.plans.entry import RESULT

    write_json(folder.path / RESULT, {key: value for key, value in plain.items() if key not in ("student", "folder")})
    checkpoints.clear(folder.path / "checkpoints")


def _stages(
    method: str | Expression | Sequence[Stage],
    course: Course,
    own: dict[str, Any],
    student: nn.Module,
    teacher: nn.Module | None,
    data: datasets.Data,
) -> list[Stage]:
    from understudy.recipe.build import stages as stages_of

    if isinstance(method, str):
        return stages_of(method, course, own, student, teacher, data)
    if own:
        raise UserError(f"{', '.join(own)}: settings belong to a method by name; terms and stages hold their own")
    if isinstance(method, Expression):
        return [Stage("own terms", method, course)]
    return list(method)


def _findings(
    student: nn.Module,
    teachers: list[nn.Module],
    stages: list[Stage],
    settings: Settings,
    stored: Stored | None,
    work: _Work,
) -> Iterator[Finding]:
    data = work.data
    yield from preflight.check_data(data, stages[0].course.batch)
    findings = list(preflight.check_network("student", student, data, settings))
    names = ["teacher"] if len(teachers) == 1 else [f"teacher{number + 1}" for number in range(len(teachers))]
    for name, teacher in zip(names, teachers, strict=True):
        findings += preflight.check_network(name, teacher, data, settings)
    yield from findings
    if any(finding.level == "error" for finding in findings):
        return  # nothing can be learned from what follows
    for name, teacher in zip(names, teachers, strict=True):
        yield from preflight.check_teacher(teacher, data, settings, accept_weak=work.accept_weak, name=name)
    for stage in stages:
        yield from preflight.check_stage(
            stage,
            student,
            teachers,
            data,
            settings,
            seed=work.seed,
            stored=stored,
            timed=stored is not None,
            stand_ins=work.stand_ins,
        )


def _worth_a_line(finding: Finding, *, answers_kept: bool) -> bool:
    """Data and teacher are the caller's own, and what is said of a stage as a whole, its training says again.

    What stored answers cost and gain is for whoever asked for them, though nothing is wrong with it.
    """
    if finding.subject == preflight.ABOUT_IMAGES:
        return True
    if not finding.subject.startswith("stage") or "," not in finding.subject:
        return False
    return finding.level == "warning" or (answers_kept and finding.subject.endswith(preflight.ABOUT_STORED))


def _measure(
    student: nn.Module,
    teachers: list[nn.Module],
    data: datasets.Data,
    settings: Settings,
    ended: list[dict[str, Any]],
    folder: Path | None,
) -> Distilled:
    measured_on, part = data.measured
    with settings.in_force():
        logits, labels = answers(student, part, settings)
        taught = [answers(teacher, part, settings)[0] for teacher in teachers]
    right = logits.argmax(1) == labels
    chosen = together(taught).argmax(1) if taught else None
    return Distilled(
        student,
        right.double().mean().item(),
        _share(chosen, labels),
        _share(chosen, logits.argmax(1)),
        measured_on,
        ended,
        folder,
        [(answer.argmax(1) == labels).double().mean().item() for answer in taught],
    )


def _share(chosen: Tensor | None, of: Tensor) -> float | None:
    return None if chosen is None else (chosen == of).double().mean().item()
