"""Teacher-free distillation (Yuan et al., 2020): a teacher made by hand, always right."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Term


@dataclass(frozen=True)
class VirtualTeacher(Term):
    """The divergence from a teacher made by hand, which no network is needed for; see ``losses.virtual_teacher_kd``.

    Args:
        correct: its probability of the right class, 0.99 in the authors' code; the rest goes to all others alike.
        temperature: softens those probabilities themselves, as the authors' code does, 20; None: as they are.
        student_temperature: 1 in the authors' code.

    Mixed labels mix their teachers.
    """

    correct: float = 0.99
    temperature: float | None = 20.0
    student_temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.correct < 1:
            raise UserError(f"{self}: correct is a probability between 0 and 1")
        if not min(self.temperature or 1.0, self.student_temperature) > 0 or self.temperature == 0:
            raise UserError(f"{self}: a temperature is above 0")

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return losses.virtual_teacher_kd(
            reading.student.logits,
            reading.labels,
            correct=self.correct,
            temperature=self.temperature,
            student_temperature=self.student_temperature,
        )
