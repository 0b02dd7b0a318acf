"""Born-again networks' confidence-weighted labels (Furlanello et al., 2018)."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.objective.term import Reading, Reads, Term


@dataclass(frozen=True)
class CWTM(Term):
    """The labels' cross-entropy, weighted by how sure the teacher is of its answer; see ``losses.cwtm``.

    "Confidence-weighted by the teacher's maximum": all that the teacher gives is a weight for each sample.
    """

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return losses.cwtm(reading.student.logits, reading.teacher.logits, reading.labels)
