"""``understudy.distill``: train any student with any teacher and data in one call."""

import io
import multiprocessing
import shutil
import signal
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from understudy import bounds
from understudy.answers import StoredAnswers
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.files import SCRATCH
from understudy.methods import Method
from understudy.objective import evaluating
from understudy.objective.refusals import refuse_same
from understudy.objective.sharing import shared_tensors
from understudy.objective.term import Expression
from understudy.plans import TrainingCache
from understudy.plans.engines.processes import check_sendable
from understudy.plans.entry import RESULT
from understudy.plans.group import Group
from understudy.plans.training import Builders
from understudy.printable import some
from understudy.ranks import alone as by_itself
from understudy.recipe.objects import Objects
from understudy.runs import keep
from understudy.runs.call import Assistants, Call, Network, settings_of
from understudy.runs.from_plan import engine_of
from understudy.runs.given_run import GivenRun
from understudy.runs.named_answers import OutputChoices
from understudy.runs.records import Result, Row
from understudy.runs.shown import shown
from understudy.training.callbacks import Callback
from understudy.training.interrupt import Stopped, listening
from understudy.training.records import Figures, StageEnd, TrainingRecord

if TYPE_CHECKING:
    from understudy.export import Exported


class Distilled:
    """A finished run of ``distill``. Printing it shows the verdict and the table of results.

    ``student`` is the best network on validation of all methods and seeds; ``result`` is everything that was
    measured, as in ``result.json``; ``folder`` is the run folder, None without ``out``.

    >>> samples = torch.rand(40, 4), torch.arange(40) % 2
    >>> run = distill(None, torch.nn.Linear(4, 2), samples, method="alone", epochs=2)
    >>> sorted(run.result.methods), run.student(torch.rand(1, 4)).shape
    (['alone'], torch.Size([1, 2]))
    """

    def __init__(self, run: GivenRun, result: Result, student: nn.Module, scratch: "Scratch | None" = None):
        self.result, self.student = result, student
        self.folder: Path | None = None if scratch else run.folder.path
        self._run, self._scratch = run, scratch  # the scratch folder is removed together with this object

    @property
    def _row(self) -> Row:
        rows = [row for method in self.result.methods.values() for row in method.trainings]
        return next(row for row in rows if row.training == self.result.kept)

    @property
    def figures(self) -> Figures:
        """The figures of the kept student on the measured part, by name."""
        return dict(self._row.figures)

    @property
    def validation(self) -> Figures:
        """The figures of the kept student on validation; empty without a validation part."""
        return dict(self._row.validation)

    @property
    def teacher_figures(self) -> Figures:
        """The teacher's figures; of several teachers, those of their ensemble. Empty without a teacher."""
        teacher = self.result.teacher
        return {name: values.mean for name, values in teacher.figures.items()} if teacher else {}

    @property
    def stages(self) -> list[StageEnd]:
        """How each stage of the kept student's training ended."""
        path = self._run.folder.training(self.result.kept) / RESULT
        return TrainingRecord.read(path, way_out="remove it and call again").stages

    def report(self, page: str | Path | None = None) -> Path:
        """Write the report of the run and return its path, by default in the run folder."""
        from understudy.report import write_report  # imported here: it imports runs and matplotlib

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
            method, training: the student of this method or training instead of the kept one.
            options: see ``understudy.export.exporter``.
        """
        from understudy.export import export  # imported here: it imports runs

        if out is None and self.folder is None:
            raise UserError(f"the run has no folder: name a place for the file, as in run.export({to!r}, 'student')")
        folder, _ = keep.student_in(self._run.folder.path, method, training)
        student = self.student if folder == self._run.folder.path else self._run.trained(folder.name)
        given = {"data": self._run.builder.data, "teacher": self._run.first_teacher, "network": student} | options
        return export(folder, to, out=out, **given)

    def __str__(self) -> str:
        from rich.console import Console  # imported here, since it is slow to import

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
    data: object,
    *,
    method: str | Expression | Sequence[Stage] = "kd",
    config: TrainConfig | None = None,
    epochs: int | None = None,
    seeds: int | Sequence[int] = (0,),
    baseline: bool = False,
    assistants: Assistants | None = None,
    settings: Settings | Literal["auto"] | None = None,
    answers: StoredAnswers | None = None,
    output: OutputChoices | None = None,
    unlabelled: object = None,
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
    """Check everything, train ``student`` to stand in for ``teacher``, and measure the result.

    >>> samples = torch.rand(40, 4), torch.arange(40) % 2
    >>> teacher = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> run = distill(teacher, torch.nn.Linear(4, 2), samples, method="kd", epochs=2, accept_weak=True)
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
        config: epochs, batch size, optimizer, schedule and augmentation. ``epochs`` overrides only its length.
        seeds: the seeds, or their number; several give a mean and a spread.
        baseline: also train the student alone at equal budget, and judge whether distillation helps.
        assistants: networks of intermediate size, modules or names such as ``"plain4"``, each trained as the student by
            the one before it (``method="dgkd"``: by all larger ones); the last one teaches the student.
            ``"auto"`` takes the network of the student's family whose own figure, in a quick training, is nearest
            the mean of teacher's and student's.
        settings: device, precision, memory format, threads. By default (``"auto"``) they follow from what the hardware
            can do (``Settings.by_rule()``); with ``out`` a run continues with those with which it began.
        answers: ``understudy.StoredAnswers(views=8)`` runs the teacher once for each view of a sample and stores its
            outputs.
        output: which tensor is the answer of networks that return several: the name of an entry or a field, as in
            ``"logits"``, the place in a tuple, or a function of what is returned. It is for every module that returns
            something else than a tensor; where networks differ, say it by their roles, as in
            ``{"teacher": "logits", "student": 1}``.
        unlabelled: further training samples, without labels, from which a student with a teacher learns, too: inputs as
            ``data.from_inputs`` takes them, texts as a list, a folder of images, or a file with a text in each line.
        balance: weight the terms by the norms of their gradients instead of the method's weights (``balanced``).
        out: a run folder. With it, a call that was killed is resumed with equal bits.
        cache: a folder of finished trainings, which are not trained again.
        workers: trainings at once, each in its own process. Call ``distill`` under
            ``if __name__ == "__main__":`` then, as for a PyTorch ``DataLoader`` with workers.
        together: all trainings in turn in this process; those of one teacher share its forward passes.
        check: run the pre-flight check first.
        accept_weak: continue with a teacher at chance level.
        callback: called during the trainings; ``understudy.PrintEpochs()`` prints a line for each epoch.
        progress: show bars at a terminal, lines elsewhere. By default (None) bars at a terminal and a line for each
            epoch in a notebook, unless there is a callback; where nothing is shown, notes are warnings.
        method_settings: the method's own, such as ``temperature=4``.
    """
    _refuse_import_in_worker()
    call = Call(method, method_settings, config, epochs, baseline)
    for description, called in ((call.config, "config"), (settings, "settings"), (answers, "answers")):
        bounds.check(description, called)
    if answers is not None:
        answers.within(Path(out) if out is not None else None)  # or a UserError: answers need a folder that stays
    given = teacher if isinstance(teacher, (list, tuple)) else [teacher]
    for one in given:
        _require_apart(student, one)
    objects = Objects(whole=cache is not None)
    recipe = call.recipe(
        teacher,
        student,
        data,
        objects,
        seeds=seeds,
        assistants=assistants,
        settings=settings_of(settings, out, None if together else workers),
        answers=answers,
        balance=balance,
        accept_weak=accept_weak,
        output=output,
        unlabelled=unlabelled,
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
    with listening() as stop, shown(callback, progress) as watching, ExitStack() as stack:
        builders = Builders(progress=watching.downloads, objects=objects)
        for network in objects.networks.values():
            network.freeze()
            if network.taught:
                stack.enter_context(evaluating(network.given()))
        alone = not together and (workers is None or workers == 1)
        if not alone and not together:
            check_sendable(objects, [call.method])
        engine, threads = engine_of(recipe.settings, workers, together=together, objects=objects, group=group)
        with by_itself() if group else nullcontext():
            run = GivenRun(
                recipe,
                folder,
                in_place=alone and not (call.baseline and call.method.grafts),  # it may keep other weights
                builders=builders,
                callback=watching,
                stop=stop,
                cache=TrainingCache(Path(cache)) if cache is not None else None,
                engine=engine,
                threads=threads,
                group=group,
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
    """The run's result on each process: rank 0 executes the run, and the others take part in its trainings."""
    if group.rank == 0:
        with group.led():
            return run.checked(check=check)
    group.follow(run.builders, run.stop, begin=run.begin_with_kept, given={str(method): method})
    result = run.folder.result()
    if result is None:
        raise UserError("the first process, which says why, has not finished the run")
    return result


def _require_apart(student: object, teacher: object) -> None:
    """A ``UserError`` if training the student would change the teacher: they are one object, or share memory."""
    if not isinstance(student, nn.Module) or not isinstance(teacher, nn.Module):
        return
    refuse_same(student, [teacher])
    shared = shared_tensors(student, teacher)
    if shared:
        raise UserError(
            f"the student shares {some(shared)} with the teacher, so its training would change the "
            "teacher: give the student copies, copy.deepcopy(module) or tensor.clone()"
        )


def _refuse_import_in_worker() -> None:
    """A worker imports the main script; a call at its top level would start workers of its own without end."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UserError(
            'call understudy.distill(..., workers=...) under if __name__ == "__main__": each worker imports the script'
        )
