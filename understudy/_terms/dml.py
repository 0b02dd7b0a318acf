"""Deep mutual learning (Zhang et al., 2018): networks that learn together, from the labels and from each other."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.methods.shared.copies import fresh, inputs_of, logits_of, prepared
from understudy.objective.term import Reading, Reads, Shapes, Term


@dataclass(frozen=True)
class DML(Term):
    """The student learns from peers, untrained as it is, and they learn from the labels, from it and from each other.

    ``1/(K-1) sum_k T^2 KL(p_k || s)``, and for each peer ``CE + 1/(K-1) sum KL(others || p_k)``; see
    ``losses.mutual_kl``

    Args:
        peers: how many learn along, K - 1.
        architecture: of the peers: the student's, or the teacher's (whose weights are not read). Their weights are
            drawn anew.
        temperature: the paper's 1.
        reduce: "mean" over the others (paper) or "sum" (the authors' code).

    Reference: Zhang, Xiang, Hospedales, Lu, "Deep mutual learning", CVPR 2018.
    Differences: all step at once, from answers of the same moment; the authors' code steps one after the other. A peer
    answers twice for each batch, once to teach and once to learn: dropout draws twice, batch statistics move twice.
    """

    peers: int = 1
    architecture: Literal["student", "teacher"] = "student"
    temperature: float = 1.0
    reduce: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        if self.peers < 1:
            raise UserError(f"{self}: there is one peer at least")
        if self.architecture not in ("student", "teacher"):
            raise UserError(f"DML: architecture is 'student' or 'teacher', not {self.architecture!r}")
        if self.temperature <= 0:
            raise UserError(f"{self}: a temperature is above 0")
        if self.reduce not in ("mean", "sum"):
            raise UserError(f"DML: reduce is 'mean' or 'sum', not {self.reduce!r}")

    @property
    def reads(self) -> Reads:
        # Shapes hold the teacher only where something of it is read.
        return Reads(student_logits=True, teacher_logits=self.architecture == "teacher")

    def build(self, shapes: Shapes) -> nn.Module:
        network = shapes.student_network if self.architecture == "student" else shapes.teacher_network
        assert network is not None
        return nn.ModuleList(fresh(network) for _ in range(self.peers))

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        with torch.no_grad():
            answers = torch.stack(self._answers(reading, owned))
        return self._mutual(reading.student.logits, answers)

    def own_loss(self, reading: Reading, owned: nn.Module) -> Tensor:
        answers = self._answers(reading, owned)
        values = torch.zeros(len(reading.labels), device=reading.labels.device)
        for number, answer in enumerate(answers):
            others = torch.stack([reading.student.logits, *answers[:number], *answers[number + 1 :]])
            values = values + losses.cross_entropy(answer, reading.labels) + self._mutual(answer, others)
        return values

    def _mutual(self, logits: Tensor, others: Tensor) -> Tensor:
        return losses.mutual_kl(logits, others, temperature=self.temperature, reduce=self.reduce)

    def _answers(self, reading: Reading, owned: nn.Module) -> list[Tensor]:
        like = reading.student_network if self.architecture == "student" else reading.teacher_network
        inputs = prepared(like, inputs_of(reading, "DML"))
        return [logits_of(peer, inputs) for peer in owned.children()]
