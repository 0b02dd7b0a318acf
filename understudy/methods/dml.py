"""Untrained networks learn together, no trained teacher: ``CE + KL(p || s)``, for each.

The paper's weights and temperature are 1. The peers are thrown away at the end.

Settings:
    weight: of the peers' answers to the student; what the peers learn has weight 1.
    peers: how many networks learn along.
    architecture: of the peers, "student" or "teacher": the teacher's architecture, not its weights.
    temperature: of all answers.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import Interval, Temperature
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.copies import fresh, inputs_of, logits_of, prepared
from understudy.methods.shared.logits import check_stack, divergence, softened
from understudy.objective.labels import cross_entropy
from understudy.objective.term import Reading, Reads, Shapes, Term


def mutual_kl(
    student_logits: Tensor,
    peers_logits: Tensor,
    *,
    temperature: float = 1.0,
    reduce: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """Deep mutual learning: the divergence from each peer that learns along; one value per sample.

    ``1/(K-1) sum_k T^2 KL(softmax(p_k/T) || softmax(s/T))`` over the K - 1 peers

    Args:
        student_logits: (N, C).
        peers_logits: of the other networks, (K - 1, N, C); no gradient goes to them.
        temperature: T; the paper has 1.
        reduce: ``"mean"`` over the peers (paper), or ``"sum"`` (the authors' code; function matching).

    Weight in the objective: ``CE + DML`` with weight 1, means over the batch, for every network of the cohort.
    Reference: Zhang, Xiang, Hospedales, Lu, "Deep mutual learning", CVPR 2018.
    Differences: the authors' code (TensorFlow, re-identification) sums over the peers.

    >>> peers = torch.tensor([[[1.0, 1.0]]])
    >>> mutual_kl(torch.tensor([[1.0, 1.0]]), peers)
    tensor([0.])
    """
    check_stack(student_logits, peers_logits, what="the peers' logits")
    if reduce not in ("mean", "sum"):
        raise UserError(f"reduce is 'mean' or 'sum', not {reduce!r}")
    student = softened(student_logits, temperature)
    peers = softened(peers_logits.detach(), temperature)
    each = divergence(student.expand_as(peers), peers, form="kl") * temperature**2
    return each.mean(0) if reduce == "mean" else each.sum(0)


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

    >>> print(DML(peers=2))
    DML(peers=2)
    """

    peers: Annotated[int, Interval(ge=1, le=100)] = 1
    architecture: Literal["student", "teacher"] = "student"
    temperature: Temperature = 1.0
    reduce: Literal["mean", "sum"] = "mean"

    @property
    def reads(self) -> Reads:
        # Shapes hold the teacher only where something of it is read.
        of_teacher = self.architecture == "teacher"
        network = Reads(student_network=not of_teacher, teacher_network=of_teacher)
        return network | Reads(student_logits=True, teacher_logits=of_teacher, labels=True)

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
            values = values + cross_entropy(answer, reading.labels) + self._mutual(answer, others)
        return values

    def _mutual(self, logits: Tensor, others: Tensor) -> Tensor:
        return mutual_kl(logits, others, temperature=self.temperature, reduce=self.reduce)

    def _answers(self, reading: Reading, owned: nn.Module) -> list[Tensor]:
        like = reading.student_network if self.architecture == "student" else reading.teacher_network
        inputs = prepared(like, inputs_of(reading, "DML"))
        return [logits_of(peer, inputs) for peer in owned.children()]


METHOD = one_stage(
    "dml",
    DML,
    stage="labels and peers",
    family="several networks",
    year=2018,
    paper="Zhang et al., Deep mutual learning",
    weight=1.0,
    reads_teacher=False,
)
