"""Curriculum temperature (Li et al., AAAI 2023)."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Mark, NonNegative, Positive
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.methods.shared.logits import Form, check_same, divergence
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.precision import wide


def curriculum_kd(
    student_logits: Tensor, teacher_logits: Tensor, temperature: Tensor, *, squared: bool = True, form: Form = "kl"
) -> Tensor:
    """CTKD: soft targets at a temperature that is learned along, against the student; one value per sample.

    ``T^2 KL(softmax(t/T) || softmax(s/T))``, T one number or one for each sample, with a gradient of its own

    Args:
        student_logits, teacher_logits: (N, C).
        temperature: T, of one element (global) or (N) or (N, 1) (by instance): as a rule
            ``bounded_temperature(reverse_gradient(raw, strength=...))``, raw a learned number or the answer of a
            small network to both logits.
        squared: multiply by T^2.
        form: ``"kl"`` or ``"ce"``, as in ``kd``.

    Weight in the objective: ``0.1 CE + 0.9 CTKD`` in the authors' CIFAR-100 recipe, means over the batch. The strength
    of the reversal grows from 0 to 1 by half a cosine over the first 10 epochs; raw starts at 1 and learns with the
    student's optimizer.
    Reference: Li et al., "Curriculum temperature for knowledge distillation", AAAI 2023.
    Differences: none known in the loss.

    >>> curriculum_kd(torch.tensor([[2.0, 0.0]]), torch.tensor([[2.0, 0.0]]), torch.tensor(4.0))
    tensor([0.])
    """
    check_same(student_logits, teacher_logits)
    if temperature.numel() not in (1, len(student_logits)):
        raise UserError(f"one temperature, or one for each of {len(student_logits)} samples; not {temperature.numel()}")
    t = wide(temperature).reshape(-1, 1)
    student = F.log_softmax(wide(student_logits) / t, dim=-1)
    # The temperature's gradient needs the teacher's logits, and inference tensors cannot be saved for backward.
    teacher = F.log_softmax(wide(teacher_logits).clone() / t, dim=-1)
    value = divergence(student, teacher, form=form)
    return value * t.squeeze(-1).square() if squared else value


def bounded_temperature(raw: Tensor, *, start: float = 1.0, span: float = 20.0) -> Tensor:
    """CTKD's temperature as a function of the learned value: ``start + span sigmoid(raw)``."""
    return start + span * torch.sigmoid(wide(raw))


def reverse_gradient(x: Tensor, *, strength: float = 1.0) -> Tensor:
    """``x`` as it is, with its gradient turned round: ``dL/dx = -strength dL/dy`` (Ganin & Lempitsky, 2015).

    A gradient reversal: the adversary learns with the same optimizer.
    """
    return x.detach() - strength * (x - x.detach())


@dataclass(frozen=True)
class CurriculumKD(Term):
    """KD at ``T = start + span sigmoid(raw)``, raw learned against the student; see ``losses.curriculum_kd``.

    The gradient of raw is turned round, at a strength that rises from 0 to 1 by half a cosine: easy first.

    Args:
        start, span: bounds of the temperature, 1 and 20.
        rise: epochs until the full strength: 10 (of 240) in the authors' code.
        by: one temperature for ``"all"``, or one for each ``"sample"``, from a small network that sees both logits.

    Differences: the authors' strength changes from epoch to epoch, here within epochs too. They released the form for
    all; the width of the other's network is ours, and no gradient passes through it to the student.

    >>> print(CurriculumKD(span=10.0))
    CurriculumKD(span=10.0)
    """

    per: ClassVar[Literal["row", "sample"]] = "row"

    start: Positive = 1.0
    span: NonNegative = 20.0
    rise: NonNegative = 10.0
    by: Literal["all", "sample"] = "all"

    @property
    def teacher_temperature(self) -> float:
        return self.start + self.span

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True)

    def build(self, shapes: Shapes) -> nn.Module:
        return OneForAll() if self.by == "all" else OneForEach(shapes.student.logits.shape[-1])

    def strength(self, epoch: float) -> float:
        """Of the reversal, from 0 to 1."""
        return 0.5 * (1 - math.cos(math.pi * min(1.0, epoch / self.rise))) if self.rise else 1.0

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        student, teacher = reading.student.logits, reading.teacher.logits
        raw = reverse_gradient(owned(student.detach(), teacher), strength=self.strength(reading.epoch))
        return curriculum_kd(student, teacher, bounded_temperature(raw, start=self.start, span=self.span))


class OneForAll(nn.Module):
    """A number that is learned, at first 1."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.ones(1))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        return self.raw


class OneForEach(nn.Module):
    """A number for each sample, at first 1, from both networks' logits."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * classes, 2 * classes)
        self.last = nn.Linear(2 * classes, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.ones_(self.last.bias)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        raw: Tensor = self.last(self.hidden(torch.cat([student, teacher], dim=-1)).relu())
        return raw


def _stages(
    config: TrainConfig,
    *,
    start: Positive = CurriculumKD.start,
    span: NonNegative = CurriculumKD.span,
    rise_epochs: Mark | None = None,
    by: Literal["all", "sample"] = CurriculumKD.by,
    weight: NonNegative = 0.9,
    label_weight: NonNegative = 0.1,
) -> list[Stage]:
    """Soft targets at a temperature that learns against the student, ever more so.

    ``label_weight CE + weight T^2 KL``, ``T = start + span sigmoid(raw)``; raw climbs where the student descends, at a
    strength that rises from 0 to 1 by half a cosine.

    Args:
        start, span: bounds of the temperature, 1 and 20 in the authors' code.
        rise_epochs: until the full strength: 10 of 240 there, by default the same share of the config.
        by: one temperature for "all" (what the authors released), or one for each "sample".
        weight, label_weight: 0.9 and 0.1 there.
    """
    rise = config.epochs / 24 if rise_epochs is None else rise_epochs
    objective = label_weight * CE() + weight * CurriculumKD(start, span, rise, by)
    return [Stage("labels and curriculum", objective, config)]


METHOD = Method(
    "ctkd", _stages, family="logits", year=2023, paper="Li et al., Curriculum temperature for knowledge distillation"
)
