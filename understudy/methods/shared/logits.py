"""Code for methods on class scores: the term that reads them, checks of shapes, divergence, the label's class."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.objective.term import Reads, Term
from understudy.precision import wide
from understudy.tasks.classification import require_classes as require_classes

Form = Literal["kl", "ce"]
Reduce = Literal["sum", "mean"]


@dataclass(frozen=True)
class LogitTerm(Term):
    """A term on the class scores of the student and of its teacher, row by row."""

    per: ClassVar[Literal["row", "sample"]] = "row"
    reads_labels: ClassVar[bool] = False

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True, labels=self.reads_labels)


def softened(logits: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of ``logits / temperature`` over the last dimension, at least in float32.

    At 1 nothing is divided: with thousands of classes, each pass over the logits counts.

    >>> softened(torch.zeros(1, 2), temperature=4.0)
    tensor([[-0.6931, -0.6931]])
    """
    logits = wide(logits)
    return F.log_softmax(logits if temperature == 1 else logits / temperature, dim=-1)


def divergence(student: Tensor, teacher: Tensor, *, form: Form) -> Tensor:
    """From log-probabilities (N, C): the KL or the cross-entropy of each sample."""
    require_classes(student)
    if form == "ce":
        return -weighed(teacher.exp(), student).sum(-1)
    if form == "kl":
        return weighed(teacher.exp(), teacher - student).sum(-1)
    raise UserError(f"form is 'kl' or 'ce', not {form!r}")


def weighed(probabilities: Tensor, values: Tensor) -> Tensor:
    """Values times probabilities; what has no probability counts nothing, even if it is infinite (a masked class).

    A probability that is NaN has a product that is NaN, so that a network that answers with NaN is noticed.
    """
    return torch.where(probabilities == 0, 0.0, probabilities * values)


def check_same(one: Tensor, other: Tensor, what: str = "the student's logits and the teacher's") -> None:
    """Shapes that differ would broadcast without a word."""
    _check_rows(one, what)
    if one.shape != other.shape:
        raise UserError(f"{what} differ in shape: {tuple(one.shape)} and {tuple(other.shape)}")


def check_stack(student: Tensor, stack: Tensor, what: str) -> None:
    """``stack`` holds several answers (K, N, C) to the inputs of one answer of the student (N, C)."""
    _check_rows(student, "the student's logits")
    if stack.ndim != student.ndim + 1 or stack.shape[1:] != student.shape:
        wanted = ", ".join(map(str, student.shape))
        raise UserError(f"{what} have the shape {tuple(stack.shape)}; the student's logits ask for (K, {wanted})")


def _check_rows(logits: Tensor, what: str) -> None:
    """A softmax over the last dimension of a map would be one over its width."""
    if logits.ndim > 2:
        raise UserError(
            f"{what} have the shape {tuple(logits.shape)}, and must have (N, C): make a row of each place "
            "(logits.movedim(1, -1).flatten(0, -2)), or name a task that does (Objective(..., task=Segmentation()))"
        )


def one_hot(numbers: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 at each class, else 0. ``F.one_hot`` looks at the values, which a gradient of each sample does not allow."""
    zeros = torch.zeros(*numbers.shape, classes, dtype=dtype, device=numbers.device)
    return zeros.scatter(-1, numbers.unsqueeze(-1), 1.0)


def class_numbers(labels: Tensor) -> Tensor:
    """The class of each sample, (N): labels as they are, and of distributions (N, C), as mixup makes them, the largest.

    >>> class_numbers(torch.tensor([[0.2, 0.8], [0.9, 0.1]]))
    tensor([1, 0])
    """
    distributions = labels.is_floating_point()
    if labels.ndim != (2 if distributions else 1):
        raise UserError(
            f"labels of {str(labels.dtype).removeprefix('torch.')} and shape {tuple(labels.shape)}: give class numbers "
            "(N), as whole numbers (labels.long()), or distributions (N, C)"
        )
    return labels.argmax(1) if distributions else labels


def split(labels: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of each sample's right class (N, 1), and of its other classes in their order (N, C - 1).

    Labels are class numbers (N), or distributions (N, C), which count by their largest class.
    """
    classes = class_numbers(labels)
    require_classes(logits)
    if logits.ndim != 2 or classes.shape != logits.shape[:1]:
        raise UserError(f"labels {tuple(labels.shape)} do not name one class for each of logits {tuple(logits.shape)}")
    right = classes.unsqueeze(-1)
    position = torch.arange(logits.shape[-1] - 1, device=logits.device)
    return right, position + (position >= right)


def among(logits: Tensor, others: Tensor) -> Tensor:
    """Log-probabilities among the other classes alone, (N, C - 1)."""
    return F.log_softmax(logits.gather(-1, others), dim=-1)


def kl_among(student: Tensor, teacher: Tensor) -> Tensor:
    """``KL(teacher || student)`` among some classes alone, whose logits these are; 0 for a single one.

    A single class has all of the probability in both answers.

    >>> kl_among(torch.tensor([[3.0]]), torch.tensor([[5.0]]))
    tensor([0.])
    """
    if student.shape[-1] == 1:
        return 0 * student.squeeze(-1)
    return divergence(F.log_softmax(student, dim=-1), F.log_softmax(teacher, dim=-1), form="kl")


def reduced(values: Tensor, logits: Tensor, reduce: Reduce) -> Tensor:
    """Halves of sums over the classes as they are, or as whole means."""
    return values if reduce == "sum" else values * (2 / logits.shape[-1])
