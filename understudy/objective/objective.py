"""An objective: terms bound to a student and its teachers, callable in any training loop."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cache, partial, reduce
from operator import or_
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from understudy import bounds, nested
from understudy.errors import UserError, warn_caller
from understudy.nested import Nested
from understudy.objective.balance import Balance
from understudy.objective.mc_dropout import Dropouts
from understudy.objective.notices import notices
from understudy.objective.readings import (
    common_dtype,
    detached,
    in_rows,
    no_less_precise,
    requiring_gradient,
    rows_of,
    widened,
    with_gradient,
    without_teachers_graph,
)
from understudy.objective.refusals import (
    refuse,
    refuse_observing,
    refuse_place,
    refuse_same,
    refuse_targets,
    refuse_unlabelled,
)
from understudy.objective.second_derivatives import differentiable_twice
from understudy.objective.side_stream import Beside
from understudy.objective.term import (
    Expression,
    Facts,
    Reading,
    Reads,
    Shapes,
    Term,
    as_sum,
    no_targets,
    per_sample,
    takes_rows,
    unfit,
    without_targets,
)
from understudy.objective.unmoved import Unmoved
from understudy.objective.whole import WholeBatch
from understudy.ranks import is_sharded, ranks
from understudy.taps import CLASSIFICATION, Answer, Observation, Tap, TappedNetwork, call, eagerly, inner
from understudy.taps import evaluating as evaluating
from understudy.tasks.task import Task, Values

if TYPE_CHECKING:
    from understudy.objective.step import Step

Asker = Callable[[Nested], Answer]  # maps the inputs of a batch to a teacher's answer


class Outcome(NamedTuple):
    """The result of one batch. The caller runs ``loss.backward()``.

    >>> objective = Objective(understudy.terms.CE(), student=torch.nn.Linear(4, 3))
    >>> outcome = objective(torch.rand(2, 4), torch.tensor([0, 2]))
    >>> outcome.loss.shape, list(outcome.terms)
    (torch.Size([]), ['ce'])
    """

    loss: Tensor
    terms: dict[str, Tensor]  # each term's mean, before its weight, detached
    weighted: dict[str, Tensor]  # each term's weighted part of the loss, with its graph
    answer: Values  # the student's, detached; empty in a stage that is cut below it


class Objective(nn.Module):
    """Terms bound to networks.

    >>> from understudy.terms import CE, KD
    >>> teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    >>> objective = Objective(CE() + 0.9 * KD(temperature=4), student=student, teacher=teacher)
    >>> optimizer = torch.optim.SGD([*student.parameters(), *objective.owned.parameters()], lr=0.1)
    >>> objective(torch.rand(2, 4), torch.tensor([0, 2])).loss.backward()

    ``owned`` are modules that train with the student (regressors); ``adversaries`` are modules that train against it
    (discriminators), with their own optimizer and ``adversary_loss``. The networks are in neither.
    The teacher runs in evaluation mode and without gradients; nothing is computed that no term reads. ``remarks``
    says for each term what is not as published for these networks.

    Args:
        terms: a term or a sum of weighted terms.
        student, teacher: any modules; several teachers as a list. A term that reads "the" teacher reads the first.
        example: a small batch of inputs, from which shapes are traced. Needed where a term reads taps or owns modules.
        teaching: a context manager for the teachers' forward passes, such as an autocast.
        queue: a CUDA stream for the teachers' forward passes; by default they run in the current stream.
        facts: facts of the data, for terms with a memory of single samples.
        task: the task of the targets and answers; classification by default.
        watch: warn at the first call of mistakes that raise no error (``objective.notices``), and later of parameters
            that have gradients and that no optimizer moves. A trainer that checks, and makes the optimizers, needs
            neither.
        in_step: the caller averages all gradients over the processes, and runs a sharded student within ``in_pass``.
        unlabelled: some samples have no target, as ``task.without_labels`` makes them (class -1, NaN). ``Labels``
            leaves them out: their loss is 0, and the mean over the batch counts them. For all other terms the teacher's
            answer to a sample stands in the place of its target.
    """

    def __init__(
        self,
        terms: Expression,
        *,
        student: nn.Module,
        teacher: nn.Module | Sequence[nn.Module] | None = None,
        example: Nested | None = None,
        facts: Facts | None = None,
        teaching: Callable[[], AbstractContextManager[object]] = nullcontext,
        queue: Beside | None = None,
        task: Task = CLASSIFICATION,
        watch: bool = True,
        in_step: bool = False,
        unlabelled: bool = False,
    ):
        super().__init__()
        self._queue = queue or Beside(torch.device("cpu"))
        self._teaching = teaching
        self.terms = as_sum(terms)
        self.parts = self.terms.named()
        self.task = task
        for name, part in self.parts.items():
            bounds.check(part.term, f"term {name!r}")
            if (part.term.adversary or _overrides(part.term, "learn")) and not part.term.reads.batch:
                raise UserError(f"term {name!r} has an adversary or a memory, so it must read with Reads(batch=True)")
            if reason := unfit(part.term, task):
                raise UserError(f"term {name!r} does not fit the task: {reason}")
        self._by_row = {name for name, part in self.parts.items() if takes_rows(part.term, task)}
        reads = self.terms.reads
        across = (part.term.reads for part in self.parts.values() if part.term.reads.batch)
        self._whole_reads = reduce(or_, across, Reads())
        teachers = [] if teacher is None else [teacher] if isinstance(teacher, nn.Module) else list(teacher)
        if reads.teacher and not teachers:
            needing = next(name for name, part in self.parts.items() if part.term.reads.teacher)
            raise UserError(f"term {needing!r} reads a teacher, and there is none: pass teacher=")
        if example is None and (reads.student_taps or reads.teacher_taps or reads.teacher_samples or self._owners()):
            raise UserError(
                "a term reads taps or dropout's samples, or owns modules, so shapes must be traced: "
                "pass example=, a small batch of inputs"
            )
        refuse_same(student, teachers)
        # Tuples, so that the networks are not registered: their parameters are not this module's.
        self.cut = reads.student and not reads.student_output
        cut = self.cut and (in_step or not is_sharded(student))  # FSDP2 counts on a forward pass that ends
        self._student = (TappedNetwork(student, reads.student_taps, cut=cut, called="the student", task=task),)
        self._dropouts: Dropouts | None = None
        if example is not None and reads.teacher_samples:
            self._dropouts = Dropouts(teachers[0], example, reads.dropout)
        beside = (self._dropouts.tap,) if self._dropouts and self._dropouts.tap else ()
        self._teachers = tuple(_asked(reads, teachers, beside, task))
        self._askers: tuple[Asker, ...] = tuple(partial(self._ask, teacher) for teacher in self._teachers)
        self.owned, self.adversaries = nn.ModuleDict(), nn.ModuleDict()
        self.remarks: dict[str, tuple[str, ...]] = {}
        self._dtype: torch.dtype | None = None  # of all values that terms see, if a network is not in float32
        self.balance = Balance(self.parts) if any(part.balanced for part in self.parts.values()) else None
        self.in_step, self._placed, self.unlabelled = in_step, False, unlabelled
        if unlabelled:
            refuse_unlabelled(self)
        refuse(self)
        if example is not None:
            self._build(example, facts)
            refuse(self)  # what is owned is known now
        if self.balance:
            self.balance.to(next(self.student.parameters()).device)
        self.whole: WholeBatch | None = None  # where several processes train
        self._unmoved = Unmoved(self.student, self.owned, self.adversaries) if watch else None
        self._unnoticed, self._epoch_given = watch, True

    def as_module(self, adversaries: torch.optim.Optimizer | None = None) -> "Step":
        """The whole step as one module, to be wrapped by DistributedDataParallel, ``fully_shard`` or a trainer.

        Args:
            adversaries: the optimizer of ``adversaries``, where there are any; it steps within the module's call.

        >>> from understudy.terms import CE
        >>> step = Objective(CE(), student=torch.nn.Linear(4, 3)).as_module()
        >>> step(torch.rand(2, 4), torch.tensor([0, 2])).loss.shape
        torch.Size([])
        """
        from understudy.objective.step import Step  # here, since a step is made of an objective

        return Step(self, adversaries)

    @property
    def _ddp_params_and_buffers_to_ignore(self) -> list[str]:
        """What DistributedDataParallel asks the module that it wraps: an objective does not hold its student."""
        if ranks() is not None:
            raise UserError(
                "DistributedDataParallel(objective) does not average the student's gradients: "
                "wrap objective.as_module() instead"
            )
        return []

    @property
    def student(self) -> nn.Module:
        return self._student[0].network

    @property
    def has_adversaries(self) -> bool:
        return len(self.adversaries) > 0

    if TYPE_CHECKING:  # the type of nn.Module's call is unknown

        def __call__(
            self,
            inputs: Nested,
            targets: Nested | None = None,
            *,
            epoch: float | None = None,
            ids: Tensor | None = None,
        ) -> Outcome: ...

    def forward(
        self, inputs: Nested, targets: Nested | None = None, *, epoch: float | None = None, ids: Tensor | None = None
    ) -> Outcome:
        """The loss of one batch; where no term reads targets, they can be left out.

        Schedules of weights read ``epoch``, which may be fractional; without it they stay at epoch 0.
        """
        return self.judge(self.read(inputs, targets, epoch=epoch, ids=ids))

    def read(
        self,
        inputs: Nested,
        targets: Nested | None = None,
        *,
        epoch: float | None = None,
        ids: Tensor | None = None,
        answers: Sequence[Answer] | Callable[[], Sequence[Answer]] | None = None,
        student: Answer | None = None,
    ) -> Reading:
        """The networks' answers to one batch; ``judge`` makes their loss, ``adversary_loss`` that of the adversaries.

        ``answers`` are the teachers' answers to these inputs if they exist already (from ``ask``), or a function that
        returns them. ``student`` is the student's answer if it exists already (from ``observing``).
        """
        if targets is None:
            targets = no_targets(inputs)
        self._epoch_given, epoch = epoch is not None, epoch or 0.0
        if not self._placed:
            self._check_place(targets, observed=student is not None)
        if self.terms.reads.input_gradients:
            inputs = requiring_gradient(inputs)
        with self._queue():
            given = self.ask(inputs) if answers is None else answers
            teachers = tuple(given() if callable(given) else given)
            if not self.terms.reads.gradients:  # gradients are taken with respect to the original values
                teachers = tuple(map(no_less_precise if self._dtype is None else self._converted, teachers))
            samples = self._samples(inputs, teachers)
        if student is None:
            student = self.answer(inputs) if self.terms.reads.student else Answer(None, {}, self.task)
        if self._dtype is not None and not self.terms.reads.gradients:
            student = self._converted(student)
        self._queue.join()
        network = self._teachers[0].network if self._teachers else None
        if network is not None and self.terms.reads.teacher_network:
            self._teachers[0].evaluate()  # where its answers were given, ``ask`` has not done it
        labelled = None
        if self.unlabelled and not without_targets(targets):
            labelled, targets = self._completed(targets, student, teachers)
        reading = Reading(
            targets, student, teachers, epoch, ids, samples, inputs, network, self.student, self.task, labelled=labelled
        )
        if self.whole is None or not self._whole_reads.batch:
            return reading
        return replace(reading, whole=self.whole.reading(reading, self._whole_reads))

    def _completed(self, targets: Nested, student: Answer, teachers: Sequence[Answer]) -> tuple[Tensor, Nested]:
        """Which samples have a target, and the targets with the teachers' answers in the place of missing ones.

        Where no term reads a teacher's answer, ``Labels`` alone reads targets, and any that can be read will do.
        """
        known, task = self.task.has_label(targets), self.task
        answers = [teacher.named for teacher in teachers if teacher.output is not None]
        if not answers and student.output is None:
            return known, targets
        answer = task.together(answers) if answers else student.detached().named
        with torch.no_grad():
            return known, task.completed_by(targets, answer)

    @property
    def teachers(self) -> tuple[TappedNetwork, ...]:
        """The teachers that some term reads, each with its taps."""
        return self._teachers

    def answer(self, inputs: Nested) -> Answer:
        """The student's answer to one batch."""
        with self._differentiable_twice():
            return call(self._student[0], inputs)

    @contextmanager
    def observing(self) -> Iterator[Observation]:
        """Within it, the caller runs the student once; the observation then holds its inputs and its answer.

        So terms are added to a loss of which the loop's own code runs the student's forward pass:

        >>> from understudy.terms import KD
        >>> teacher, student = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
        >>> objective = Objective(KD(), student=student, teacher=teacher)
        >>> with objective.observing() as seen:
        ...     own_loss = student(torch.rand(2, 4)).square().mean()
        >>> loss = own_loss + objective.judge(objective.read(seen.inputs, student=seen.answer)).loss
        """
        refuse_observing(self)
        taps = self.terms.reads.student_taps
        with TappedNetwork(self.student, taps, called="the student", task=self.task).observing() as observation:
            yield observation

    def ask(self, inputs: Nested) -> tuple[Answer, ...]:
        """The answers of the teachers to one batch."""
        return tuple(asker(inputs) for asker in self._askers)

    def stand_in(self, askers: Sequence[Asker | None]) -> None:
        """Replace the teachers' forward passes by these functions (None keeps one); their answers must be equal.

        A term that reads the teacher's network, or calls it, still gets the teacher.
        """
        pairs = zip(askers, self._askers, strict=True)
        self._askers = tuple(usual if asker is None else asker for asker, usual in pairs)

    def adversary_loss(self, reading: Reading) -> Tensor:
        """The loss of all adversaries (discriminators) together; take their step before the student's."""
        seen = self._seen(reading)
        with self._draws(reading):
            losses = [self._own_loss(name, adversary, seen(name)) for name, adversary in self.adversaries.items()]
        return torch.stack([loss for loss in losses if loss is not None]).sum()

    def learn(self, reading: Reading) -> None:
        """Update memories and running means, after the student's step and without gradients."""
        with torch.no_grad(), self._draws(reading):
            seen = self._seen(reading)
            for name, owned in (*self.owned.items(), *self.adversaries.items()):
                if _overrides(self.parts[name].term, "learn"):
                    self.parts[name].term.learn(detached(seen(name)), owned)

    @property
    def learns(self) -> bool:
        """Whether ``learn`` does anything."""
        return any(_overrides(part.term, "learn") for part in self.parts.values())

    def remembered(self, reading: Reading) -> Reading:
        """What ``learn`` needs of a reading, without its graph."""
        if reading.whole is None:
            return detached(reading)
        whole = detached(reading.whole)
        return replace(whole, whole=whole)

    def judge(self, reading: Reading) -> Outcome:
        """The loss of answers that are there already (stored teacher answers, a forward pass of the caller's)."""
        watching = self.training and not torch.compiler.is_compiling()
        if self._unmoved is not None and watching:
            self._unmoved = self._unmoved.look()
        means: dict[str, Tensor] = {}
        plain = widened(without_teachers_graph(reading)) if self.terms.reads.gradients else reading
        seen, with_graph, idle = self._seen(plain), self._seen(reading), self._idle(reading.epoch)
        for name, part in self.parts.items():
            if name in idle:
                means[name] = torch.zeros((), device=nested.device(reading.targets))
                continue
            with self._draws(reading, part.term):
                means[name] = self._mean(name, part.term, (with_graph if part.term.reads.gradients else seen)(name))
        weighted = self._weighted(means, reading.epoch)
        total = reduce(torch.add, weighted.values())
        for name, owned in self.owned.items():
            with self._draws(reading, self.parts[name].term):
                own = self._own_loss(name, owned, seen(name))
            total = total if own is None else total + own
        if self._unnoticed and watching and torch.is_grad_enabled():
            self._unnoticed = False
            for notice in notices(self, reading, epoch_given=self._epoch_given):
                warn_caller(notice)
        answer = {name: value.detach() for name, value in reading.student.named.items()}
        return Outcome(total, {name: mean.detach() for name, mean in means.items()}, weighted, answer)

    def _seen(self, reading: Reading) -> Callable[[str], Reading]:
        """The reading for each term: this process's batch, the whole batch, or rows of class scores, made once."""
        whole = reading.whole
        if not self._by_row and whole is None:
            return lambda name: reading
        rows = cache(lambda of_whole: in_rows(whole if of_whole and whole is not None else reading))

        def seen(name: str) -> Reading:
            of_whole = whole is not None and self.parts[name].term.reads.batch
            if name in self._by_row:
                return rows(of_whole)
            return whole if of_whole and whole is not None else reading

        return seen

    def _draws(self, reading: Reading, term: Term | None = None) -> AbstractContextManager[None]:
        """What is drawn for the whole batch is the same on all ranks."""
        alone = self.whole is None or reading.whole is None or (term is not None and not term.reads.batch)
        return nullcontext() if alone or self.whole is None else self.whole.draws()

    @contextmanager
    def on_one_rank(self) -> Iterator[None]:
        """A context in which each rank reads a batch by itself, as one process does."""
        whole, self.whole = self.whole, None
        try:
            yield
        finally:
            self.whole = whole

    def _check_place(self, targets: Nested, *, observed: bool) -> None:
        """Once, at the first call: whether gradients will be averaged as they must, and the targets fit."""
        if not self.in_step and not observed:
            refuse_place(self)
        if not torch.compiler.is_compiling():
            refuse_targets(self, targets)
        self._placed = True

    def _mean(self, name: str, term: Term, reading: Reading) -> Tensor:
        """A term's mean over the batch; for a term on rows, first the mean over each sample's rows."""
        values = per_sample(name, self._loss(name, term, reading), len(reading))
        return values.mean() if reading.rows is None else reading.rows.fold(values).mean()

    def _idle(self, epoch: float) -> set[str]:
        """The terms of weight 0: their values are not computed, and the log shows 0 with weight 0.

        Balanced terms are always computed, and so are all terms if every weight is 0.
        """
        idle = {name for name, part in self.parts.items() if part.weight(epoch) == 0}
        return idle if self.balance is None and len(idle) < len(self.parts) else set()

    def _weighted(self, means: dict[str, Tensor], epoch: float) -> dict[str, Tensor]:
        """Each term's part of the loss."""
        if self.balance is None:
            weights = {name: part.weight(epoch) for name, part in self.parts.items()}
            # Not 1 * mean: torch.compile of PyTorch 2.14 takes that for the mean that ``Outcome.terms`` holds detached,
            # and loses the gradient (pytorch/pytorch#195357).
            return {name: mean if weights[name] == 1 else weights[name] * mean for name, mean in means.items()}
        if self.training and torch.is_grad_enabled():
            self.balance.look(means, self.student, self.whole.ranks if self.whole else None)
        scales = self.balance.scales()
        return {name: part.weight(epoch) * scales[name] * means[name] for name, part in self.parts.items()}

    def _loss(self, name: str, term: Term, reading: Reading) -> Tensor:
        if name in self.adversaries:
            with _held(self.adversaries[name]) as adversary:
                return term.loss(reading, adversary)
        return term.loss(reading, self.owned[name] if name in self.owned else None)  # noqa: SIM401 - no get there

    def _own_loss(self, name: str, owned: nn.Module, reading: Reading) -> Tensor | None:
        if not _overrides(self.parts[name].term, "own_loss"):
            return None
        values = self.parts[name].term.own_loss(detached(reading), owned)
        if values is None:
            return None
        values = per_sample(name, values, len(reading))
        return values.mean() if reading.rows is None else reading.rows.fold(values).mean()

    def weights(self, epoch: float) -> dict[str, float]:
        """The factor of each term; for terms under ``auto()``, its current value."""
        scales = self.balance.scales() if self.balance else dict.fromkeys(self.parts, 1.0)
        return {name: part.weight(epoch) * float(scales[name]) for name, part in self.parts.items()}

    def _owners(self) -> list[str]:
        return [name for name, part in self.parts.items() if _overrides(part.term, "build")]

    def _build(self, example: Nested, facts: Facts | None) -> None:
        student = _trace(self._student[0], example)
        teacher = _trace(self._teachers[0], example) if self._teachers else Answer(None, {}, self.task)
        if reason := self._misfit(student, teacher):
            raise UserError(reason)
        self._dtype = common_dtype(student, teacher)
        if self._dtype is not None:
            student, teacher = self._converted(student), self._converted(teacher)
        network = inner(self._teachers[0].network) if self._teachers else None
        further = self._further(example)
        shapes = Shapes(student, teacher, inner(self.student), network, facts, example, further)
        rows = cache(lambda: replace(shapes, student=rows_of(student, None)[0], teacher=rows_of(teacher, None)[0]))
        for name, part in self.parts.items():
            seen = rows() if name in self._by_row else shapes
            module = part.term.build(seen)
            if remarks := tuple(part.term.remarks(replace(seen, weight=None if part.balanced else part.factor))):
                self.remarks[name] = remarks
            if module is not None:
                (self.adversaries if part.term.adversary else self.owned)[name] = module.to(student.device, self._dtype)

    def _further(self, example: Nested) -> tuple[tuple[Answer, nn.Module], ...]:
        """The further teachers, each with its traced answer, which is empty if none of its taps is read."""
        further = []
        for teacher in self._teachers[1:]:
            answer = _trace(teacher, example) if teacher.taps else Answer(None, {}, self.task)
            further.append((answer if self._dtype is None else self._converted(answer), inner(teacher.network)))
        return tuple(further)

    def _converted(self, answer: Answer) -> Answer:
        return answer.each(lambda value: value.to(self._dtype) if value.is_floating_point() else value)

    def _misfit(self, student: Answer, teacher: Answer) -> str | None:
        """Why the two networks' answers cannot be compared, if some term compares them."""
        compared = any(
            part.term.reads.student_output and part.term.reads.teacher_output for part in self.parts.values()
        )
        if not compared or teacher.output is None or student.output is None or self.task.rows_per_sample == "one":
            return None
        return self.task.fits(student.named, teacher.named)

    def _ask(self, teacher: TappedNetwork, inputs: Nested) -> Answer:
        teacher.evaluate()
        if self.terms.reads.gradients:  # also of a teacher whose weights ask for none
            inputs = nested.each(with_gradient, inputs)
        with torch.set_grad_enabled(self.terms.reads.gradients), self._teaching(), self._differentiable_twice():
            return call(teacher, inputs)

    def _differentiable_twice(self) -> AbstractContextManager[None]:
        """A context in which gradients of a network have gradients, where a term differentiates them."""
        return differentiable_twice() if self.terms.reads.gradients else nullcontext()

    def _samples(self, inputs: Nested, teachers: Sequence[Answer]) -> tuple[Tensor, ...]:
        if self._dropouts is None:
            return ()
        count, tap = self.terms.reads.teacher_samples, self._dropouts.tap
        if self.whole is None or tap is None:
            return tuple(self._dropouts.draw(inputs, teachers[0], self._teaching()) for _ in range(count))
        whole = Answer(None, {tap: self.whole.ranks.gathered(teachers[0][tap])}, self.task)
        with self.whole.draws():
            drawn = [self._dropouts.draw(inputs, whole, self._teaching()) for _ in range(count)]
        return tuple(map(self.whole.ranks.own, drawn))


def _overrides(term: Term, method: str) -> bool:
    return getattr(type(term), method) is not getattr(Term, method)


@contextmanager
def _held(adversary: nn.Module) -> Iterator[nn.Module]:
    """Freezes an adversary, so that the student's loss has gradients through it but not for it."""
    learning = [parameter for parameter in adversary.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield adversary
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _asked(reads: Reads, teachers: Sequence[nn.Module], beside: tuple[Tap, ...], task: Task) -> Iterator[TappedNetwork]:
    """The teachers that some term reads, each with its taps."""
    others, further = teachers[1:], reads.further_taps
    if len(further) > len(others):
        raise UserError(f"taps are named for {len(further)} further teachers, and there are {len(others)}")
    if reads.teacher:
        taps = (*reads.teacher_taps, *beside)
        cut = bool(taps) and not reads.teacher_output
        yield TappedNetwork(teachers[0], taps, cut=cut, called="the teacher", task=task)
    if reads.teacher_output or further:
        for number, network in enumerate(others):
            own = further[number] if number < len(further) else ()
            cut = bool(own) and not reads.teacher_output
            yield TappedNetwork(network, own, cut=cut, called="a further teacher", task=task)


def _trace(tapped: TappedNetwork, example: Nested) -> Answer:
    """One full, uncompiled forward pass, so that a tap that cannot be read raises its error here."""
    whole = TappedNetwork(tapped.network, tapped.taps, called=tapped.called, task=tapped.task)
    with torch.no_grad(), evaluating(whole.network), eagerly(whole.network):
        return call(whole, example)
