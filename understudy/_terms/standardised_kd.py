"""Logit standardisation (Sun et al., 2024)."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Term


@dataclass(frozen=True)
class StandardisedKD(Term):
    """Soft targets of logits with mean 0 and deviation 1, so that scale is free; see ``losses.standardised_kd``.

    Args:
        temperature: the base temperature, 2.
        squared: multiply by its square.
    """

    temperature: float = 2.0
    squared: bool = True

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"{self}: a temperature is above 0")

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return losses.standardised_kd(
            reading.student.logits, reading.teacher.logits, temperature=self.temperature, squared=self.squared
        )
