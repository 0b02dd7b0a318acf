"""What a term is, and how terms add up: ``CE() + 0.9 * KD(temperature=4) + Hint("block2 -> layer3")``.

A term is a description: frozen, comparable, printable, without weights of its own. What it owns while it trains
(a regressor, say) is built by ``build`` when an objective binds it to networks. So one term serves many runs.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.objective.weights import auto
from understudy.taps import CLASSIFICATION, Answer, Pair, Tap
from understudy.tasks.task import Rows, Task


class WeightSchedule(Protocol):
    """A weight that changes while training goes on; ``epoch`` counts with fractions."""

    def at(self, epoch: float) -> float: ...


@dataclass(frozen=True)
class Reads:
    """What a term looks at. A stage computes nothing that none of its terms reads.

    Args:
        student_logits, teacher_logits: class scores, which not every task has.
        student_answer, teacher_answer: the answer as it is, whatever the task.
        gradients: the answers come with their graph, the teacher's too, so that the term can ask for gradients with
            respect to its taps (gradient-based attention). No gradient ever moves the teacher's weights.
        further_taps: of the second teacher and of those after it, in their order.
        input_gradients: the inputs require a gradient, so that the term can ask for gradients with respect to them.
        teacher_samples: so many answers of the teacher with dropout at work, beside the usual one.
        dropout: its rate, before the classifier of a teacher that has no dropout of its own.

    >>> Reads(student_logits=True, teacher_logits=True).teacher_taps
    ()
    """

    student_logits: bool = False
    teacher_logits: bool = False
    student_taps: tuple[Tap, ...] = ()
    teacher_taps: tuple[Tap, ...] = ()
    gradients: bool = False
    input_gradients: bool = False
    teacher_samples: int = 0
    dropout: float = 0.0
    further_taps: tuple[tuple[Tap, ...], ...] = ()
    student_answer: bool = False
    teacher_answer: bool = False

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
        )


@dataclass(frozen=True)
class Reading:
    """One batch, as the terms see it.

    A term that works row by row sees the rows of the task as if each were a sample: ``targets`` are the rows' labels,
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
    teacher_samples: tuple[Tensor, ...] = ()  # logits of the first teacher, dropout at work
    inputs: Nested | None = None  # of the networks
    teacher_network: nn.Module | None = None  # the first teacher, to be asked again (about changed inputs)
    student_network: nn.Module | None = None
    task: Task = CLASSIFICATION
    rows: Rows | None = None  # of the student, where the batch is seen as rows

    @property
    def teacher(self) -> Answer:
        return self.teachers[0]

    @property
    def labels(self) -> Tensor:
        """The targets of a task whose targets are labels: class numbers, or distributions where samples were mixed."""
        if not isinstance(self.targets, Tensor):
            raise UserError(f"task {self.task.name!r} has no labels that are one tensor")
        return self.targets

    def __len__(self) -> int:
        """The number of samples, or of rows."""
        return nested.count(self.targets)


@dataclass(frozen=True)
class Facts:
    """What a term may need to know of the data: how far sample numbers go, each one's label, and which ones train.

    ``labels`` is empty where targets are no class numbers.

    >>> Facts(samples=3, labels=torch.tensor([0, 1, 1])).labels.tolist()
    [0, 1, 1]
    """

    samples: int
    labels: Tensor
    ids: Tensor | None = None  # all of them, where none are named


@dataclass(frozen=True)
class Shapes:
    """Traced answers of one small batch, and the networks that gave them: from these a term builds what it owns.

    The networks are there to be looked at (the shape or a copy of the teacher's classifier), not to be kept.

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


class Expression(ABC):
    """Anything that can be added and scaled: a term or a sum of weighted terms.

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
    """A term with its weight: a number, times a schedule where one was given.

    Where it is ``balanced``, the number is the size of its gradient, as a multiple of the first term's.
    """

    term: "Term"
    factor: float = 1.0
    schedule: WeightSchedule | None = None
    balanced: bool = False

    def times(self, weight: "float | WeightSchedule | auto") -> "Weighted":
        if isinstance(weight, (int, float)):
            return replace(self, factor=self.factor * weight)
        if isinstance(weight, auto):
            return replace(self, factor=self.factor * weight.size, balanced=True)
        if self.schedule is not None:
            raise UserError(f"{self.term} has a schedule of weights already; it takes one only")
        return replace(self, schedule=weight)

    def weight(self, epoch: float) -> float:
        return self.factor * (self.schedule.at(epoch) if self.schedule else 1.0)

    def __str__(self) -> str:
        plain = "" if self.factor == 1 else f"{self.factor:g} * "
        factor = f"{auto(self.factor)} * " if self.balanced else plain
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
        """Every part under a name of its own: ``ce``, ``kd``, and ``hint``, ``hint2`` where there are two."""
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
    """One loss with the taps it reads and the modules it owns. Subclasses are frozen dataclasses, and final.

    What a term owns learns with the student: from the term's ``loss``, and from its ``own_loss`` where it has one.
    Where ``adversary`` is true it plays against the student instead: it learns from ``own_loss`` alone, in a step of
    its own, first, at ``adversary_lr_scale`` times the student's learning rate. ``learn`` is for what moves without
    gradients (memories).

    ``per`` says on what a value depends, so that a term runs on every task for which it has a meaning: on one ``"row"``
    of class scores, whose sample does not matter; on one ``"sample"``; or on the whole ``"batch"``. ``on_rows`` is for
    a term across the batch that takes the rows of all samples for its batch.

    >>> from understudy.terms import CE, KD
    >>> print(CE() + 0.9 * KD(temperature=4))
    CE() + 0.9 * KD()
    """

    per: ClassVar[Literal["row", "sample", "batch"]] = "sample"
    on_rows: ClassVar[bool] = False

    adversary: ClassVar[bool] = False
    adversary_lr_scale: float = 1.0
    trains_student: ClassVar[bool] = True  # false: it only prepares what a later stage takes over

    @property
    def parts(self) -> tuple[Weighted, ...]:
        return (Weighted(self),)

    @property
    @abstractmethod
    def reads(self) -> Reads:
        """What the term looks at."""

    def misfit(self, task: Task) -> str | None:
        """Why the term has no meaning for a task, beyond what follows from ``reads`` and ``per``; None if it has."""
        return None

    def remarks(self, student: nn.Module) -> Sequence[str]:
        """What the pre-flight check warns of: what the student lacks and the term as published asks for."""
        return ()

    def build(self, shapes: Shapes) -> nn.Module | None:
        """The modules that the term owns while it trains, from the traced shapes."""
        return None

    @abstractmethod
    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        """One value per sample."""

    def own_loss(self, reading: Reading, owned: nn.Module) -> Tensor | None:
        """What the owned modules learn beside ``loss``, one value per sample; the networks' answers are detached."""
        return None

    def learn(self, reading: Reading, owned: nn.Module) -> None:
        """After the student's step, in training only, without gradients: memories and running means move here."""
        return

    def __str__(self) -> str:
        changed = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)  # type: ignore[arg-type]
            if getattr(self, f.name) != f.default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


def unfit(term: Term, task: Task) -> str | None:
    """Why a term has no meaning for a task, in words; None if it has one.

    >>> from understudy.tasks import Classification
    >>> from understudy.terms import KD
    >>> unfit(KD(), Classification()) is None
    True
    """
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
    if not term.reads.scores or not task.makes_rows:
        return False
    return task.rows_per_sample == "one" or term.per == "row" or term.on_rows


def needs_classes(task: Task) -> str | None:
    """Why a term that contrasts classes has no meaning for a task, in words; None if its targets are class numbers."""
    if task.targets_are_classes:
        return None
    return f"it needs one class number for each sample, and the targets of task {task.name!r} are none"


def as_sum(expression: Expression) -> Sum:
    """A term or a sum, as a sum.

    >>> from understudy.terms import KD
    >>> len(as_sum(KD()).terms)
    1
    """
    return Sum(expression.parts)


def per_sample(name: str, values: Tensor, batch: int) -> Tensor:
    """What a term must answer with, checked, since a mean over a wrong shape would go unseen."""
    if values.shape != torch.Size([batch]):
        raise UserError(
            f"term {name!r} answers with shape {tuple(values.shape)}, not one value for each of {batch} samples"
        )
    return values
