"""Soft targets whose wrong classes change places at random: ``KL(pi(t) || s)``.

The teacher's trust in its answer stays, what it knows of the other classes is gone: the paper's second control for
what dark knowledge is worth. Labels are not read. To be born again, the student takes a teacher of its own
architecture.

Settings:
    temperature: the paper has none.
    weight: of the only term.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import Temperature
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import Form, check_same, divergence, softened, split
from understudy.objective.term import Reading, Reads, Term


def dkpp(
    student_logits: Tensor, teacher_logits: Tensor, permutation: Tensor, *, temperature: float = 1.0, form: Form = "kl"
) -> Tensor:
    """Born-again networks, DKPP: KD whose dark knowledge is shuffled: the teacher's other classes change places.

    ``T^2 KL(pi(softmax(t/T)) || softmax(s/T))``, pi keeps the largest probability in its place and permutes the others

    Args:
        student_logits, teacher_logits: (N, C).
        permutation: of 0 to C - 2 for each sample, (N, C - 1): the i-th of the other classes gets the probability of
            the ``permutation[i]``-th, both counted without the teacher's answer.
        temperature: T; the paper has none.
        form: ``"kl"`` or ``"ce"``, as in ``kd``.

    Weight in the objective: 1, alone; mean over the batch.
    Reference: Furlanello et al., "Born-again neural networks", ICML 2018.
    Differences: the caller draws the permutations; no code of the authors was found that says how often they are
    drawn.

    >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
    >>> dkpp(logits, logits, torch.tensor([[1, 0]]))
    tensor([0.])
    """
    check_same(student_logits, teacher_logits)
    teacher = softened(teacher_logits, temperature)
    top, others = split(teacher.argmax(-1), teacher)
    check_same(permutation, others, what="the permutation and the classes that it moves")
    student = softened(student_logits, temperature)
    shuffled = torch.cat([teacher.gather(-1, top), teacher.gather(-1, others).gather(-1, permutation)], dim=-1)
    in_order = student.gather(-1, torch.cat([top, others], dim=-1))
    return divergence(in_order, shuffled, form=form) * temperature**2


@dataclass(frozen=True)
class DKPP(Term):
    """Soft targets with all probabilities but the largest permuted; see ``losses.dkpp``.

    "Dark knowledge with permuted predictions": the teacher's ranking of the wrong classes is destroyed.

    Args:
        temperature: the paper has none.

    Differences: drawn anew for every sample of every batch, from PyTorch's generator, which the trainer seeds for
    every step.

    >>> print(DKPP())
    DKPP()
    """

    per: ClassVar[Literal["row", "sample"]] = "row"

    temperature: Temperature = 1.0

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True, batch=True)  # draws are for the whole batch

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        teacher = reading.teacher.logits
        samples, classes = teacher.shape
        permutation = torch.rand(samples, classes - 1, device=teacher.device).argsort(-1)
        return dkpp(reading.student.logits, teacher, permutation, temperature=self.temperature)


METHOD = one_stage(
    "born-again-dkpp",
    DKPP,
    stage="permuted soft targets",
    family="self",
    year=2018,
    paper="Furlanello et al., Born-again neural networks, dark knowledge with permuted predictions",
    labels=False,
    weight=1.0,
)
