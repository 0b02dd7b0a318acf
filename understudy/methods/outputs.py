"""Labels, and the teacher's numbers: the mean squared or Huber distance of both networks' answers.

For answers that are numbers (coordinates, prices), where there are no class scores to soften. Logits are numbers, too,
so that the method runs on classifiers. ``bounded`` is another loss: the student's squared error against the targets,
as long as it is not smaller than the teacher's.

Reference: Chen, Choi, Yu, Han, Chandraker, "Learning efficient object detection models with knowledge distillation",
NIPS 2017, for the bounded form. The weight, 1 beside the labels, is a choice of this library.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import NonNegative, Positive
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import check_same
from understudy.objective.term import Reading, Reads, Term
from understudy.precision import wide
from understudy.tasks.task import Task

Distance = Literal["mse", "huber"]
WHAT = "the student's numbers and the teacher's"


def output_distance(
    student: Tensor, teacher: Tensor, *, weights: Tensor | None = None, form: Distance = "mse", delta: float = 1.0
) -> Tensor:
    """The distance of two networks' numbers, one value per sample: the mean over its numbers.

    ``mean_k d(s_k - t_k)``, d the square or Huber's loss

    Args:
        student, teacher: (N, K), in comparable units (``Task.numbers``).
        weights: (N, K), how much each number counts within its sample; None: all alike.
        form: ``"mse"`` or ``"huber"``.
        delta: of Huber's loss: up to this difference it is half the square.

    >>> output_distance(torch.zeros(2, 3), torch.ones(2, 3))
    tensor([1., 1.])
    """
    check_same(student, teacher, WHAT)
    apart = wide(student) - wide(teacher)
    if form == "mse":
        return _mean(apart.square(), weights)
    if form == "huber":
        return _mean(F.huber_loss(apart, torch.zeros_like(apart), reduction="none", delta=delta), weights)
    raise UserError(f"form is 'mse' or 'huber', not {form!r}")


def teacher_bounded(
    student: Tensor, teacher: Tensor, targets: Tensor, *, weights: Tensor | None = None, margin: float = 0.0
) -> Tensor:
    """The student's squared error against the targets, unless it is below the teacher's; one value per sample.

    ``e_s if e_s + margin > e_t, else 0``, with ``e = mean_k (z_k - y_k)^2``

    Args:
        student, teacher, targets: (N, K).
        weights: (N, K), how much each number counts within its sample; None: all alike.
        margin: by how much the student has to be better than the teacher before it is left alone.

    Weight in the objective: 1 beside the loss of the targets, which is a choice of this library.
    Reference: Chen, Choi, Yu, Han, Chandraker, "Learning efficient object detection models with knowledge
    distillation", NIPS 2017.
    Differences: the paper sums over the four numbers of a box; this is the mean over a sample's numbers.

    >>> zeros, ones = torch.zeros(1, 2), torch.ones(1, 2)
    >>> teacher_bounded(2 * ones, ones, zeros), teacher_bounded(0.5 * ones, ones, zeros)
    (tensor([4.]), tensor([0.]))
    """
    check_same(student, teacher, WHAT)
    check_same(student, targets, "the student's numbers and the targets")
    own = _mean((wide(student) - wide(targets)).square(), weights)
    others = _mean((wide(teacher) - wide(targets)).square(), weights)
    return unless_better(own, others, margin)


def unless_better(own: Tensor, others: Tensor, margin: float) -> Tensor:
    """The student's errors; 0 where they are less than the teacher's by the margin, and NaN where either is.

    >>> unless_better(torch.tensor([2.0, 1.0, 1.0]), torch.tensor([1.0, 2.0, torch.nan]), margin=0.0)
    tensor([2., 0., nan])
    """
    return torch.where(own + margin > others, own, 0 * (own + others))


@dataclass(frozen=True)
class Outputs(Term):
    """The distance of the student's and the teacher's numbers; see ``losses.output_distance``.

    Of every task whose answers are numbers: those of a regression in units of its scales, and logits as they are.

    Args:
        form: the mean squared difference (``"mse"``) or Huber's loss (``"huber"``).
        delta: of Huber's loss.
        bounded: instead of the distance, the student's squared error against the targets as long as it is not smaller
            than the teacher's (``losses.teacher_bounded``), for tasks whose targets are numbers.
        margin: of the bounded form.

    >>> print(0.5 * Outputs(form="huber"))
    0.5 * Outputs(form='huber')
    """

    form: Distance = "mse"
    delta: Positive = 1.0
    bounded: bool = False
    margin: NonNegative = 0.0

    @property
    def teacher_temperature(self) -> float:
        return math.inf

    @property
    def reads(self) -> Reads:
        return Reads(student_answer=True, teacher_answer=True)

    def misfit(self, task: Task) -> str | None:
        if type(task).numbers is Task.numbers:
            return f"it compares numbers, and an answer of task {task.name!r} has none"
        if self.bounded and not task.targets_are_numbers:
            return f"the bounded form compares with targets that are numbers, and those of task {task.name!r} are not"
        return None

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = (
            reading.task.numbers(answer.named, reading.targets) for answer in (reading.student, reading.teacher)
        )
        if student is None or teacher is None:
            raise UserError(f"an answer of task {reading.task.name!r} has no numbers that could be compared")
        if not self.bounded:
            return output_distance(
                student.values, teacher.values, weights=student.weights, form=self.form, delta=self.delta
            )
        if student.targets is None:
            raise UserError(f"the targets of task {reading.task.name!r} are no numbers")
        return teacher_bounded(
            student.values, teacher.values, student.targets, weights=student.weights, margin=self.margin
        )


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Over the numbers of each sample, by their weights."""
    if weights is None:
        return values.mean(1)
    return (values * weights).sum(1) / weights.sum(1).clamp_min(1e-12)


METHOD = one_stage(
    "outputs",
    Outputs,
    stage="labels and outputs",
    weight=1.0,
    label_weight=1.0,
    family="logits",
    year=2017,
    paper="Chen et al., Learning efficient object detection models with knowledge distillation",
)
