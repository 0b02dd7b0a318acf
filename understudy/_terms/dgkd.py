"""Every larger network guides the smaller one (DGKD, Son et al., 2021)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Term


@dataclass(frozen=True)
class DGKD(Term):
    """The labels, and the soft targets of all teachers, some left out at random; see ``losses.dgkd``.

    Args:
        weight: of the soft targets; the labels have ``1 - weight``, once for each teacher.
        temperature: of all.
        form: ``"code"`` counts the labels once in all.
        survival: each teacher takes part in a mini-batch with this probability (the paper's stochastic DGKD, 0.75
            there). A mini-batch that all of them sit out learns from the labels alone.
        drop: or leave out exactly so many of each mini-batch, as the authors' code does (1); one always stays.

    Draws come from PyTorch's generator, which the trainer seeds for every step.
    """

    weight: float = 1.0
    temperature: float = 5.0
    form: Literal["paper", "code"] = "paper"
    survival: float = 1.0
    drop: int = 0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"{self}: a temperature is above 0")
        if not 0 <= self.weight <= 1:
            raise UserError(f"{self}: weight is the share of the soft targets, from 0 to 1")
        if self.form not in ("paper", "code"):
            raise UserError(f"{self}: form is 'paper' or 'code', not {self.form!r}")
        if not 0 < self.survival <= 1:
            raise UserError(f"{self}: survival is a probability above 0")
        if self.drop < 0 or (self.drop and self.survival < 1):
            raise UserError(f"{self}: drop is how many are left out; give it or survival, not both")

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return losses.dgkd(
            reading.student.logits,
            torch.stack([teacher.logits for teacher in reading.teachers]),
            reading.labels,
            weight=self.weight,
            temperature=self.temperature,
            kept=self._kept(len(reading.teachers), reading.labels.device),
            form=self.form,
        )

    def _kept(self, guides: int, device: torch.device) -> Tensor | None:
        if self.drop:
            return torch.randperm(guides, device=device) >= min(self.drop, guides - 1)
        return torch.rand(guides, device=device) < self.survival if self.survival < 1 else None
