"""Labels, class scores and boxes of a detector: the student's boxes learn from the teacher's where that sees something.

Scores are soft targets as in ``kd``, two options for each place and class. Boxes are compared place by place, by GIoU
or by Huber's loss of their sides, weighted by the teacher's score; or, ``bounded``, the student learns from the true
boxes as long as its own are not better than the teacher's. Boxes in space are compared by Huber's loss of all their
numbers.

Reference: Chen, Choi, Yu, Han, Chandraker, "Learning efficient object detection models with knowledge distillation",
NIPS 2017, for the bounded form and for the three parts, scores, boxes and hints. The weights are choices of this
library; a hint is a method of its own (``fitnets-joint``), or a term beside it.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import NonNegative, Positive, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.kd import KD
from understudy.methods.method import Method
from understudy.methods.outputs import unless_better
from understudy.objective.labels import Labels
from understudy.objective.term import Expression, Reading, Reads, Term
from understudy.precision import wide
from understudy.tasks import Detection, Detection3D, Task
from understudy.tasks.boxes import boxes_of, giou

Form = Literal["giou", "huber"]


def box_distance(
    student: Tensor, teacher: Tensor, weights: Tensor, *, form: Form = "giou", delta: float = 0.1
) -> Tensor:
    """How far the student's boxes are from the teacher's, one value per sample: the mean over its places, by weights.

    ``sum_p w_p d(b_s, b_t) / max(1, sum_p w_p)``, d ``1 - GIoU`` or Huber's loss

    Args:
        student, teacher: (N, P, 4), left, top, right and bottom.
        weights: (N, P), how much each place counts: the teacher's score there. Weights below 1 in all are not scaled up
            to it, so that an image in which the teacher sees nothing teaches nothing.
        form: ``"giou"``, or ``"huber"``, the mean over the four sides, in units of the teacher's width and height.
        delta: of Huber's loss: up to this difference it is half the square.

    Weight in the objective: 1 beside the loss of the targets, which is a choice of this library.
    Reference: Chen et al., "Learning efficient object detection models with knowledge distillation", NIPS 2017, for
    boxes that learn from a teacher's, and Rezatofighi et al., CVPR 2019, for GIoU; the weights are this library's.

    >>> box = torch.tensor([[[0.0, 0.0, 2.0, 2.0]]])
    >>> box_distance(box, box + torch.tensor([2.0, 0.0, 2.0, 0.0]), torch.ones(1, 1))
    tensor([1.])
    """
    _check(student, teacher, weights)
    if form == "giou":
        apart = 1 - giou(wide(student), wide(teacher))
    elif form == "huber":
        unit = _sides(teacher)
        differences = (wide(student) - wide(teacher)) / unit
        apart = F.huber_loss(differences, torch.zeros_like(differences), reduction="none", delta=delta).mean(2)
    else:
        raise UserError(f"form is 'giou' or 'huber', not {form!r}")
    return _mean(apart, weights)


def bounded_boxes(student: Tensor, teacher: Tensor, targets: Tensor, weights: Tensor, *, margin: float = 0.0) -> Tensor:
    """The squared error of the student's boxes, of those that are no better than the teacher's; one value per sample.

    ``sum_p w_p [e_s + margin > e_t] e_s / max(1, sum_p w_p)``, with ``e = ||b - y||^2`` over the four sides

    Args:
        student, teacher, targets: (N, P, 4), boxes; sides are compared in units of the target's width and height.
        weights: (N, P), 1 for the places that answer for a target, 0 for all others.
        margin: by how much a box has to be better than the teacher's before it is left alone.

    Weight in the objective: 1 beside the loss of the targets, which is a choice of this library.
    Reference: Chen et al., "Learning efficient object detection models with knowledge distillation", NIPS 2017,
    there of the offsets from an anchor.

    >>> box = torch.tensor([[[0.0, 0.0, 2.0, 2.0]]])
    >>> bounded_boxes(box + 2.0, box + 1.0, box, torch.ones(1, 1)), bounded_boxes(box, box + 1.0, box, torch.ones(1, 1))
    (tensor([4.]), tensor([0.]))
    """
    _check(student, teacher, weights)
    unit = _sides(targets)
    own, others = (((wide(boxes) - wide(targets)) / unit).square().sum(2) for boxes in (student, teacher))
    return _mean(unless_better(own, others, margin), weights)


def number_distance(student: Tensor, teacher: Tensor, weights: Tensor, *, delta: float = 0.1) -> Tensor:
    """How far the numbers of the student's boxes are from the teacher's, one value per sample.

    ``sum_p w_p mean_k huber(b_sk - b_tk) / max(1, sum_p w_p)``

    Args:
        student, teacher: (N, P, K), the numbers of the box of each place, in comparable units.
        weights: (N, P), how much each place counts: the teacher's score there.
        delta: of Huber's loss.

    Weight in the objective: 1 beside the loss of the targets, which is a choice of this library.
    Reference: Chen et al., "Learning efficient object detection models with knowledge distillation", NIPS 2017, for
    boxes that learn from a teacher's; of boxes in space, and by Huber's loss, they are this library's.

    >>> number_distance(torch.zeros(1, 2, 3), torch.ones(1, 2, 3), torch.ones(1, 2), delta=1.0)
    tensor([0.5000])
    """
    _check_numbers(student, teacher, weights)
    apart = wide(student) - wide(teacher)
    return _mean(F.huber_loss(apart, torch.zeros_like(apart), reduction="none", delta=delta).mean(2), weights)


def bounded_numbers(
    student: Tensor, teacher: Tensor, targets: Tensor, weights: Tensor, *, margin: float = 0.0
) -> Tensor:
    """The squared error of the numbers of the student's boxes, of those no better than the teacher's.

    As ``bounded_boxes``, with one value per sample, of boxes in space.

    Args:
        student, teacher, targets: (N, P, K).
        weights: (N, P, K), 1 for the known numbers of places that answer for a target, 0 for all others.
        margin: by how much a box has to be better than the teacher's before it is left alone.

    Weight in the objective: 1 beside the loss of the targets, which is a choice of this library.
    Reference: Chen et al., "Learning efficient object detection models with knowledge distillation", NIPS 2017.

    >>> box, ones = torch.zeros(1, 1, 2), torch.ones(1, 1, 2)
    >>> bounded_numbers(2 * ones, ones, box, ones), bounded_numbers(box, ones, box, ones)
    (tensor([8.]), tensor([0.]))
    """
    _check_numbers(student, teacher, weights[..., 0])
    own, others = (((wide(numbers) - wide(targets)).square() * weights).sum(2) for numbers in (student, teacher))
    return _mean(unless_better(own, others, margin), weights.amax(2))


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    weights = wide(weights)
    return (values * weights).sum(1) / weights.sum(1).clamp_min(1.0)


def _sides(boxes: Tensor) -> Tensor:
    """(N, P, 4): width, height, width, height."""
    sides = (wide(boxes[..., 2:]) - wide(boxes[..., :2])).clamp_min(1e-3)
    return torch.cat((sides, sides), 2)


def _check(student: Tensor, teacher: Tensor, weights: Tensor) -> None:
    if student.shape != teacher.shape or student.ndim != 3 or student.shape[2] != 4:
        raise UserError(f"boxes are (N, P, 4); the student's are {tuple(student.shape)}, others {tuple(teacher.shape)}")
    _check_numbers(student, teacher, weights)


def _check_numbers(student: Tensor, teacher: Tensor, weights: Tensor) -> None:
    if student.shape != teacher.shape or student.ndim != 3:
        shapes = f"the student's are {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}"
        raise UserError(f"numbers of boxes are (N, P, K); {shapes}")
    if weights.shape != student.shape[:2]:
        raise UserError(f"weights are (N, P), {tuple(student.shape[:2])} here, and not {tuple(weights.shape)}")


@dataclass(frozen=True)
class Localisation(Term):
    """The student's boxes against the teacher's, or bounded by them; see ``losses.box_distance``.

    Args:
        form: ``1 - GIoU``, or Huber's loss of the four sides; of boxes in space, which have a heading, only the latter.
        delta: of Huber's loss.
        bounded: instead, the squared error against the true boxes, of boxes that are no better than the teacher's
            (``losses.bounded_boxes``).
        margin: of the bounded form.

    >>> print(0.5 * Localisation(form="huber"))
    0.5 * Localisation(form='huber')
    """

    form: Form = "giou"
    delta: Positive = 0.1
    bounded: bool = False
    margin: NonNegative = 0.0

    @property
    def reads(self) -> Reads:
        return Reads(student_answer=True, teacher_answer=True, labels=self.bounded)

    def misfit(self, task: Task) -> str | None:
        if isinstance(task, Detection3D) and self.form == "giou" and not self.bounded:
            return "form = 'giou' compares boxes without a heading: take form = 'huber'"
        known = isinstance(task, (Detection, Detection3D))
        return None if known else f"it compares boxes, and task {task.name!r} has none"

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        task = reading.task
        if isinstance(task, Detection3D):
            return self._in_space(task, reading)
        assert isinstance(task, Detection)
        student, teacher = (task.boxes(answer.named) for answer in (reading.student, reading.teacher))
        if self.bounded:
            targets, answers = task.wanted(reading.student.named, boxes_of(reading.targets))
            return bounded_boxes(student, teacher, targets, answers.to(student.dtype), margin=self.margin)
        weights = task.scores(reading.teacher.named).amax(2)
        return box_distance(student, teacher, weights, form=self.form, delta=self.delta)

    def _in_space(self, task: Detection3D, reading: Reading) -> Tensor:
        student, teacher = (task.places_of(answer.named) for answer in (reading.student, reading.teacher))
        if self.bounded:
            targets, known = task.wanted(reading.student.named, task.objects(reading.targets))
            return bounded_numbers(student, teacher, targets, known, margin=self.margin)
        weights = task.scores(reading.teacher.named).amax(2)
        return number_distance(student, teacher, weights, delta=self.delta)


def _stages(
    config: TrainConfig,
    term: Localisation,
    *,
    weight: NonNegative = 1.0,
    score_weight: NonNegative = 1.0,
    temperature: Temperature = 1.0,
    label_weight: NonNegative = 1.0,
) -> list[Stage]:
    objective: Expression = weight * term
    if score_weight:
        objective = score_weight * KD(temperature) + objective
    if label_weight:
        objective = label_weight * Labels() + objective
    return [Stage("labels, scores and boxes", objective, config)]


METHOD = Method(
    "localisation",
    _stages,
    family="detectors",
    year=2017,
    paper="Chen et al., Learning efficient object detection models with knowledge distillation",
    term=Localisation,
)
