"""Normalised knowledge distillation (Yang et al., 2023)."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Term


@dataclass(frozen=True)
class NKD(Term):
    """The teacher's trust in the right class, and the other classes normalised; see ``losses.nkd``.

    Args:
        gamma: weight of the other classes: 1.5 by default and on ImageNet, 3.5 in the authors' CIFAR-100 recipe.
        temperature: of the other classes: 1, in the CIFAR-100 recipe 3.

    Mixed labels count by their largest class.
    """

    gamma: float = 1.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"{self}: a temperature is above 0")
        if not self.gamma >= 0:
            raise UserError(f"{self}: gamma must not be negative")

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return losses.nkd(
            reading.student.logits,
            reading.teacher.logits,
            reading.labels,
            gamma=self.gamma,
            temperature=self.temperature,
        )
