"""The labels, each sample weighted by how sure the teacher is: ``w_n CE``.

Nothing else of the teacher is learned: the paper's control for what dark knowledge is worth. To be born again, the
student takes a teacher of its own architecture.

Settings:
    weight: of the only term; the weights of each batch's samples have the mean 1.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from understudy.methods.method import one_stage
from understudy.methods.shared.logits import check_same
from understudy.objective.labels import cross_entropy
from understudy.objective.term import Reading, Reads, Term
from understudy.precision import wide


def cwtm(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """Born-again networks, CWTM: the labels' loss, weighted by how sure the teacher is; one value per sample.

    ``N w_n / (sum_m w_m) CE(s_n, y_n)``, w the teacher's largest probability; the mean over the batch is the paper's
    weighted mean

    Args:
        student_logits, teacher_logits: (N, C).
        labels: class numbers (N) or distributions (N, C).

    Weight in the objective: 1, alone. The teacher gives nothing but the weights.
    Reference: Furlanello et al., "Born-again neural networks", ICML 2018.
    Differences: no code of the authors was found. The weights carry no gradient.

    >>> cwtm(torch.zeros(1, 2), torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    tensor([0.6931])
    """
    check_same(student_logits, teacher_logits)
    sure = wide(teacher_logits).softmax(-1).amax(-1).detach()
    return sure / sure.mean() * cross_entropy(student_logits, labels)


@dataclass(frozen=True)
class CWTM(Term):
    """The labels' cross-entropy, weighted by how sure the teacher is of its answer; see ``losses.cwtm``.

    "Confidence-weighted by the teacher's maximum": all that the teacher gives is a weight for each sample.

    >>> print(CWTM())
    CWTM()
    """

    per: ClassVar[Literal["row", "sample"]] = "row"

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True, batch=True, labels=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return cwtm(reading.student.logits, reading.teacher.logits, reading.labels)


METHOD = one_stage(
    "born-again-cwtm",
    CWTM,
    stage="weighted labels",
    family="self",
    year=2018,
    paper="Furlanello et al., Born-again neural networks, confidence weighted by teacher max",
    labels=False,
    weight=1.0,
)
