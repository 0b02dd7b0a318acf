"""Curriculum temperature (Li et al., 2023): soft targets at a temperature that learns to make them hard to meet."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from understudy import losses
from understudy._losses._logits import bounded_temperature, reverse_gradient
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Shapes, Term


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
    """

    start: float = 1.0
    span: float = 20.0
    rise: float = 10.0
    by: Literal["all", "sample"] = "all"

    def __post_init__(self) -> None:
        if not (self.start > 0 and self.span >= 0):
            raise UserError(f"{self}: temperatures are above 0: start above 0, span not negative")
        if not self.rise >= 0:
            raise UserError(f"{self}: rise must not be negative")
        if self.by not in ("all", "sample"):
            raise UserError(f"{self}: by is 'all' or 'sample', not {self.by!r}")

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
        return losses.curriculum_kd(student, teacher, bounded_temperature(raw, start=self.start, span=self.span))


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
