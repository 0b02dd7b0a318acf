"""Born-again networks' shuffled dark knowledge (Furlanello et al., 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Term


@dataclass(frozen=True)
class DKPP(Term):
    """Soft targets of which all but the largest probability change places; see ``losses.dkpp``.

    "Dark knowledge with permuted predictions": what the teacher knows of single wrong classes is destroyed.

    Args:
        temperature: the paper has none.

    Differences: drawn anew for every sample of every batch, from PyTorch's generator, which the trainer seeds for
    every step; how often the paper draws is not known to us.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"{self}: a temperature is above 0")

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        teacher = reading.teacher.logits
        samples, classes = teacher.shape
        permutation = torch.rand(samples, classes - 1, device=teacher.device).argsort(-1)
        return losses.dkpp(reading.student.logits, teacher, permutation, temperature=self.temperature)
