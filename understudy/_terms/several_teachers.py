"""Several teachers at once (You et al., 2017): the average of their soft targets, or their vote."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Term


@dataclass(frozen=True)
class SeveralTeachers(Term):
    """Soft targets averaged over all teachers; with one teacher, ``KD``; see ``losses.ensemble_kd``.

    Args:
        temperature: of all.
        weights: of the teachers, in their order; brought to the sum 1. None: all alike.
        average: of the softened ``"probabilities"`` (You et al.), or of the ``"logits"`` (Ba & Caruana's ensembles).
    """

    temperature: float = 4.0
    weights: tuple[float, ...] | None = None
    average: Literal["probabilities", "logits"] = "probabilities"

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"{self}: a temperature is above 0")
        if self.weights is not None and not (self.weights and min(self.weights) >= 0 and sum(self.weights) > 0):
            raise UserError(f"{self}: weights must not be negative, nor all 0")
        if self.average not in ("probabilities", "logits"):
            raise UserError(f"{self}: average is 'probabilities' or 'logits', not {self.average!r}")

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        if self.weights is not None and len(self.weights) != len(reading.teachers):
            raise UserError(f"{self}: {len(self.weights)} weights for {len(reading.teachers)} teachers")
        return losses.ensemble_kd(
            reading.student.logits,
            torch.stack([teacher.logits for teacher in reading.teachers]),
            temperature=self.temperature,
            weights=self.weights,
            average=self.average,
        )


@dataclass(frozen=True)
class Vote(Term):
    """Cross-entropy with the class that most teachers answer; with one, with its answer; ``losses.vote_cross_entropy``.

    You et al. vote on the order of triplets of features; this is the same idea on answers.
    """

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return losses.vote_cross_entropy(
            reading.student.logits, torch.stack([teacher.logits for teacher in reading.teachers])
        )
