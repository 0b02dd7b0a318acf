"""Terms and their sums: ``CE() + 0.9 * KD(temperature=4) + Hint("block2 -> layer3")``.

A term is a description: frozen, comparable, printable, without weights. An objective that binds it to networks
builds its modules (such as a regressor) with ``build``, so one term serves many runs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from numbers import Real
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.bounds import LARGEST, NonNegative, Positive, ShareBelowOne, Whole
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.objective.weights import auto, plain
from understudy.printable import shown
from understudy.taps import CLASSIFICATION, Answer, Pair, Tap
from understudy.tasks.task import Rows, Task


class WeightSchedule(Protocol):
    """A weight that changes during training; ``epoch`` may be fractional."""

    def at(self, epoch: float) -> float: ...


@dataclass(frozen=True)
class Reads:
    """The values that a term reads. A stage computes only values that its terms read.

    Args:
        student_logits, teacher_logits: class scores, which not every task has.
        student_answer, teacher_answer: the answer, of any task.
        gradients: the answers keep their graph, also the teacher's, so that the term can take gradients with
            respect to its taps (gradient-based attention). No gradient ever moves the teacher's weights.
        further_taps: the taps of the second and of further teachers, in their order.
        input_gradients: the inputs require a gradient, so that the term can take gradients with respect to them.
        teacher_samples: the number of answers of the teacher under dropout, beside the usual one.
        dropout: its rate before the classifier, for a teacher without dropout modules.
        batch: a value depends on the other samples of the batch (relations, memories, batch norm, random draws). In a
            training on several processes the term then receives the whole batch. Required of adversaries and of terms
            that override ``learn``.
        inputs: with ``batch``, the inputs of the whole batch, too.
        labels: the labels, or other targets, which data may be without.
        student_network, teacher_network: the network itself, which the term calls, copies, or takes weights of beside
            the step. Refused where its parameters are sharded.

    >>> Reads(student_logits=True, teacher_logits=True).teacher_taps
    ()
    """

    student_logits: bool = False
    teacher_logits: bool = False
    student_taps: tuple[Tap, ...] = ()
    teacher_taps: tuple[Tap, ...] = ()
    gradients: bool = False
    input_gradients: bool = False
    teacher_samples: Whole = 0
    dropout: ShareBelowOne = 0.0
    further_taps: tuple[tuple[Tap, ...], ...] = ()
    student_answer: bool = False
    teacher_answer: bool = False
    batch: bool = False
    inputs: bool = False
    labels: bool = False
    student_network: bool = False
    teacher_network: bool = False

    @classmethod
    def pairs(cls, pairs: tuple[Pair, ...]) -> "Reads":
        return cls(student_taps=tuple(p.student for p in pairs), teacher_taps=tuple(p.teacher for p in pairs))

    @property
    def scores(self) -> bool:
        """Whether class scores are read."""
        return self.student_logits or self.teacher_logits or self.teacher_samples > 0

    @property
    def student_output(self) -> bool:
        """Whether the student runs to its end."""
        return self.student_logits or self.student_answer

    @property
    def teacher_output(self) -> bool:
        """Whether the teacher runs to its end."""
        return self.teacher_logits or self.teacher_answer

    @property
    def student(self) -> bool:
        return self.student_output or bool(self.student_taps)

    @property
    def teacher(self) -> bool:
        return self.teacher_output or bool(self.teacher_taps) or self.teacher_samples > 0

    def __or__(self, other: "Reads") -> "Reads":
        return Reads(
            self.student_logits or other.student_logits,
            self.teacher_logits or other.teacher_logits,
            tuple(dict.fromkeys(self.student_taps + other.student_taps)),
            tuple(dict.fromkeys(self.teacher_taps + other.teacher_taps)),
            self.gradients or other.gradients,
            self.input_gradients or other.input_gradients,
            max(self.teacher_samples, other.teacher_samples),
            max(self.dropout, other.dropout),
            tuple(
                tuple(dict.fromkeys(ours + theirs))
                for ours, theirs in zip_longest(self.further_taps, other.further_taps, fillvalue=())
            ),
            self.student_answer or other.student_answer,
            self.teacher_answer or other.teacher_answer,
            self.batch or other.batch,
            self.inputs or other.inputs,
            self.labels or other.labels,
            self.student_network or other.student_network,
            self.teacher_network or other.teacher_network,
        )


@dataclass(frozen=True)
class Reading:
    """One batch: the input of the terms.

    A term that works by rows gets the task's rows as if each were a sample: ``targets`` are the rows' labels,
    and the answers' ``logits`` are their scores.

    >>> from understudy.taps import Answer
    >>> student, teacher = Answer(torch.zeros(2, 3), {}), Answer(torch.ones(2, 3), {})
    >>> reading = Reading(torch.tensor([0, 2]), student, (teacher,), epoch=0.0)
    >>> len(reading.teachers)
    1
    """

    targets: Nested  # nested tensors
    student: Answer
    teachers: tuple[Answer, ...]
    epoch: float
    ids: Tensor | None = None
    teacher_samples: tuple[Tensor, ...] = ()  # logits of the first teacher under dropout
    inputs: Nested | None = None  # of the networks
    teacher_network: nn.Module | None = None  # the first teacher, for further forward passes (of changed inputs)
    student_network: nn.Module | None = None
    task: Task = CLASSIFICATION
    rows: Rows | None = None  # of the student, if the reading is in rows
    whole: "Reading | None" = None  # on several processes, the whole batch for the terms with ``Reads(batch=True)``
    labelled: Tensor | None = None  # (N,) bool, which targets are no answer of the teacher's; None: all of them

    @property
    def teacher(self) -> Answer:
        return self.teachers[0]

    @property
    def labels(self) -> Tensor:
        """The targets of a task whose targets are labels: class numbers, or distributions where samples were mixed."""
        if not self.task.labelled:
            raise UserError("the data have no labels, and a term reads them: it must say Reads(labels=True)")
        if not isinstance(targets := self.given_targets, Tensor):
            raise UserError(f"task {self.task.name!r} has no labels that are one tensor")
        return targets

    @property
    def given_targets(self) -> Nested:
        """The targets; a ``UserError`` where the objective was called without any."""
        if self.rows is None and without_targets(self.targets):
            raise UserError("a term reads the targets, and the objective was called without any: pass targets=")
        return self.targets

    def __len__(self) -> int:
        """The number of samples, or of rows."""
        return nested.count(self.targets)


def no_targets(inputs: Nested) -> Tensor:
    """What stands for the targets of a batch that has none: nothing for each sample."""
    return torch.zeros(nested.count(inputs), 0, device=nested.device(inputs))


def without_targets(targets: Nested) -> bool:
    """Whether these are ``no_targets``."""
    return isinstance(targets, Tensor) and targets.ndim == 2 and targets.shape[1] == 0


@dataclass(frozen=True)
class Facts:
    """Facts of the data for terms: the number of samples, the label of each, and which of them train.

    ``labels`` is empty where targets are no class numbers.

    >>> Facts(samples=3, labels=torch.tensor([0, 1, 1])).labels.tolist()
    [0, 1, 1]
    """

    samples: int
    labels: Tensor
    ids: Tensor | None = None  # None: all of them


@dataclass(frozen=True)
class Shapes:
    """Traced answers of one small batch, and the networks: a term builds its modules from them.

    The networks may be read (the shape or a copy of the teacher's classifier), but not kept.

    >>> from understudy.taps import Answer
    >>> network, answer = torch.nn.Linear(4, 3), Answer(torch.zeros(2, 3), {})
    >>> Shapes(answer, answer, network, network).facts is None
    True
    """

    student: Answer
    teacher: Answer
    student_network: nn.Module
    teacher_network: nn.Module | None
    facts: Facts | None = None
    inputs: Nested | None = None  # the batch that was traced
    further: tuple[tuple[Answer, nn.Module], ...] = ()  # each further teacher, traced if its taps are read
    weight: float | None = None  # of the term, before a schedule; None where it is measured


class Expression(ABC):
    """Base class of what can be added and scaled: a term or a sum of weighted terms.

    >>> from understudy.terms import CE, KD
    >>> print(2 * (CE() + 0.5 * KD(temperature=4)))
    2 * CE() + KD()
    """

    @property
    @abstractmethod
    def parts(self) -> "tuple[Weighted, ...]": ...

    def __add__(self, other: "Expression") -> "Sum":
        if not isinstance(other, Expression):
            return NotImplemented
        return Sum(self.parts + other.parts)

    def __mul__(self, weight: "float | WeightSchedule | auto") -> "Sum":
        return Sum(tuple(part.times(weight) for part in self.parts))

    __rmul__ = __mul__


@dataclass(frozen=True)
class Weighted:
    """A term with its weight: a number, times a schedule if there is one.

    If it is ``balanced``, the number is the size of its gradient, as a multiple of the first term's.
    """

    term: "Term"
    factor: NonNegative = 1.0
    schedule: WeightSchedule | None = None
    balanced: bool = False

    def times(self, weight: "float | WeightSchedule | auto") -> "Weighted":
        if isinstance(weight, (int, float, Real)):  # NumPy's numbers are real ones
            if not 0 <= weight <= LARGEST or self.factor * weight > LARGEST:  # NaN, too
                raise UserError(f"the weight {shown(weight)} of {self.term}: give one from 0 to {LARGEST:g}")
            return replace(self, factor=self.factor * float(weight))
        if isinstance(weight, auto):
            return replace(self, factor=self.factor * weight.size, balanced=True)
        if not callable(getattr(weight, "at", None)):
            raise UserError(
                f"the weight of {self.term} is a {type(weight).__name__}: give a number, a schedule such as "
                "linear(4, 1, epochs=10), or auto(); for a weight that learns take outcome.weighted"
            )
        if self.schedule is not None:
            raise UserError(f"{self.term} has a schedule of weights already; it takes one only")
        return replace(self, schedule=weight)

    def weight(self, epoch: float) -> float:
        return self.factor * (self.schedule.at(epoch) if self.schedule else 1.0)

    def __str__(self) -> str:
        factor = "" if self.factor == 1 else f"{plain(self.factor)} * "
        factor = f"{auto(self.factor)} * " if self.balanced else factor
        return f"{factor}{self.term}" + (f" * {self.schedule}" if self.schedule else "")


@dataclass(frozen=True)
class Sum(Expression):
    """Weighted terms, in the order in which they were written.

    >>> from understudy.terms import CE, KD
    >>> len((CE() + KD()).terms)
    2
    """

    terms: tuple[Weighted, ...]

    @property
    def parts(self) -> tuple[Weighted, ...]:
        return self.terms

    @property
    def reads(self) -> Reads:
        reads = Reads()
        for part in self.terms:
            reads = reads | part.term.reads
        return reads

    def named(self) -> dict[str, Weighted]:
        """Every part by a unique name: ``ce``, ``kd``, and ``hint``, ``hint2`` if there are two."""
        names: dict[str, Weighted] = {}
        for part in self.terms:
            name = base = type(part.term).__name__.lower()
            count = 1
            while name in names:
                count += 1
                name = f"{base}{count}"
            names[name] = part
        return names

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms))


class Term(Expression):
    """A loss with the taps that it reads and the modules that it owns. Subclasses are frozen dataclasses, and final.

    The modules of a term train with the student: on the term's ``loss``, and on its ``own_loss`` if it has one.
    If ``adversary`` is true, they train against the student instead: on ``own_loss`` alone, in a separate step
    before the student's, at ``adversary_lr_scale`` times its learning rate. ``learn`` updates buffers without
    gradients (memories).

    ``per`` is the unit that a value belongs to, so that a term runs on every task to which it applies: one ``"row"``
    of class scores, of any sample, or one ``"sample"``. A term whose values depend on the other samples of the batch,
    too, says ``Reads(batch=True)``.

    >>> from understudy.terms import CE, KD
    >>> print(CE() + 0.9 * KD(temperature=4))
    CE() + 0.9 * KD()
    """

    per: ClassVar[Literal["row", "sample"]] = "sample"

    adversary: ClassVar[bool] = False
    adversary_lr_scale: Positive = 1.0
    trains_student: ClassVar[bool] = True  # false: it only trains modules for a later stage

    @property
    def parts(self) -> tuple[Weighted, ...]:
        return (Weighted(self),)

    @property
    @abstractmethod
    def reads(self) -> Reads:
        """The values that the term reads."""

    @property
    def teacher_temperature(self) -> float:
        """The highest temperature at which the teacher's logits become probabilities; infinite if they stay numbers."""
        return getattr(self, "temperature", 1.0)

    @property
    def likeliest(self) -> int | None:
        """How many of the teacher's likeliest classes its logits are read of; None: all."""
        return None

    def misfit(self, task: Task) -> str | None:
        """Why the term does not apply to a task, beyond what follows from ``reads`` and ``per``; None if it does."""
        return None

    def build(self, shapes: Shapes) -> nn.Module | None:
        """The modules of the term, built from the traced shapes."""
        return None

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        """What the pre-flight check warns of, a line each: what is not as published for these two networks."""
        return ()

    @abstractmethod
    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        """One value per sample."""

    def own_loss(self, reading: Reading, owned: nn.Module) -> Tensor | None:
        """A further loss of the owned modules, one value per sample; the networks' answers are detached."""
        return None

    def learn(self, reading: Reading, owned: nn.Module) -> None:
        """Update memories and running means: after the student's step, in training only, without gradients."""
        return

    def __str__(self) -> str:
        changed = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)  # type: ignore[arg-type]
            if getattr(self, f.name) != f.default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


def unfit(term: Term, task: Task) -> str | None:
    """Why a term does not apply to a task, in words; None if it does.

    >>> from understudy.tasks import Classification
    >>> from understudy.terms import KD
    >>> unfit(KD(), Classification()) is None
    True
    """
    if term.reads.labels and not task.labelled:
        return "it reads labels, and the data have none"
    if reason := term.misfit(task):
        return reason
    if not term.reads.scores or task.rows_per_sample == "one":
        return None
    others = "take one on features (fitnets, at, rkd, ...)"
    if task.rows_per_sample is None:
        return f"it reads class scores, and an answer of task {task.name!r} has none: {others}, or 'outputs'"
    if takes_rows(term, task):
        return None
    rows = f"an answer of task {task.name!r} has several rows of class scores for each sample"
    return (
        f"it reads one row of class scores for each sample, and {rows}: take one row by row (kd, dkd, ...) or {others}"
    )


def takes_rows(term: Term, task: Task) -> bool:
    """Whether a term is given the rows of class scores that a task makes of its answers.

    >>> from understudy.tasks import Classification, MultiLabel
    >>> from understudy.terms import KD
    >>> takes_rows(KD(), MultiLabel()), takes_rows(KD(), Classification())
    (True, False)
    """
    return term.reads.scores and task.makes_rows and (task.rows_per_sample == "one" or term.per == "row")


def needs_classes(task: Task, *, distributions: bool = False) -> str | None:
    """Why a term that contrasts classes has no meaning for a task, in words; None if its targets are class numbers.

    Args:
        distributions: whether distributions over the classes serve as well.
    """
    if task.targets_are_classes or (distributions and task.targets_are_distributions):
        return None
    return f"it needs one class number for each sample, and the targets of task {task.name!r} are none"


def as_sum(expression: Expression) -> Sum:
    """A term or a sum, as a sum.

    >>> from understudy.terms import KD
    >>> len(as_sum(KD()).terms)
    1
    """
    if not isinstance(expression, Expression):
        raise UserError(f"terms are added, as in CE() + 0.9 * KD(), and not {shown(expression)}")
    return Sum(expression.parts)


def per_sample(name: str, values: Tensor, batch: int) -> Tensor:
    """Checks that a term returned one value per sample, since a mean over a wrong shape would go unnoticed."""
    if values.shape != torch.Size([batch]):
        raise UserError(
            f"term {name!r} answers with shape {tuple(values.shape)}, not one value for each of {batch} samples"
        )
    return values
