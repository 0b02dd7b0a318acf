"""Soft targets whose wrong classes are brought to the sum 1 in both networks.

``CE - t_y log s_y - gamma T^2 sum_c q_t,c log q_s,c``, q the softened answers among the other classes.

Reference: Yang et al., "From knowledge distillation to self-knowledge distillation: a unified approach with normalized
loss and customized soft labels", ICCV 2023.
Weight: 1, of both parts together.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from understudy.bounds import NonNegative, Temperature
from understudy.methods.method import one_stage
from understudy.methods.shared.logits import LogitTerm, among, check_same, divergence, split
from understudy.objective.term import Reading
from understudy.precision import wide


def nkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    gamma: float = 1.5,
    temperature: float = 1.0,
) -> Tensor:
    """Normalised KD: the right class weighted by the teacher's trust in it, the others normalised; per sample.

    ``-p_t log p_s - gamma T^2 sum_c q_t,c log q_s,c``, p the probability of the right class (unsoftened), q the
    softened answer among the other classes alone

    Args:
        student_logits, teacher_logits: (N, C).
        labels: class numbers (N), or distributions (N, C), of which the largest class counts.
        gamma: weight of the other classes: 1.5 on ImageNet and by default, 3.5 in the authors' CIFAR-100 recipe.
        temperature: T of the other classes: 1 on ImageNet and by default, 3 in the authors' CIFAR-100 recipe.

    Weight in the objective: ``CE + NKD``, means over the batch.
    Reference: Yang et al., "From knowledge distillation to self-knowledge distillation: a unified approach with
    normalized loss and customized soft labels", ICCV 2023.
    Differences: none known from the authors' code as it is; before its commit 9466b3f the right class stayed among the
    others. Both parts are cross-entropies: the least value is not 0.

    >>> import torch
    >>> nkd(torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([0]))
    tensor([1.4059])
    """
    check_same(student_logits, teacher_logits)
    right, others = split(labels, student_logits)
    student, teacher = wide(student_logits), wide(teacher_logits)
    trust = teacher.softmax(-1).gather(-1, right)
    target = -(trust * student.log_softmax(-1).gather(-1, right)).squeeze(-1)
    if others.shape[-1] == 1:  # of two classes: the only other one has a share of 1 among the others
        return target
    softened = among(student / temperature, others), among(teacher / temperature, others)
    return target + gamma * temperature**2 * divergence(*softened, form="ce")


@dataclass(frozen=True)
class NKD(LogitTerm):
    """The teacher's trust in the right class, and the other classes normalised; see ``losses.nkd``.

    Args:
        gamma: weight of the other classes: 1.5 by default and on ImageNet, 3.5 in the authors' CIFAR-100 recipe.
        temperature: of the other classes: 1, in the CIFAR-100 recipe 3.

    Mixed labels count by their largest class.

    >>> print(NKD(gamma=3.5, temperature=3.0))
    NKD(gamma=3.5, temperature=3.0)
    """

    reads_labels: ClassVar[bool] = True

    gamma: NonNegative = 1.5
    temperature: Temperature = 1.0

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return nkd(
            reading.student.logits,
            reading.teacher.logits,
            reading.labels,
            gamma=self.gamma,
            temperature=self.temperature,
        )


METHOD = one_stage(
    "nkd",
    NKD,
    stage="labels and normalised soft targets",
    weight=1.0,
    family="logits",
    year=2023,
    paper="Yang et al., From knowledge distillation to self-knowledge distillation",
)
