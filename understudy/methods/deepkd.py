"""Soft targets in two parts, of the label and of the other classes, each with a momentum of its own (DeepKD, 2025).

``label_weight CE + weight (target_weight T^2 KL(b_t || b_s) + others_weight (1 - t_y) T^2 KL(q_t || q_s))``, which for
weights of 1 are the soft targets of ``kd``. The gradient of each of the three parts has its own momentum: the training
configuration's plus ``labels_momentum``, ``target_momentum`` and ``others_momentum``. A step goes backwards once for
each momentum. ``top`` keeps of the other classes those that are most probable to the teacher.

Reference: Huang et al., "DeepKD: a deeply decoupled and denoised knowledge distillation trainer", NeurIPS 2025.
Momenta, weights: those of the authors' configurations of KD for CIFAR-100: +0.075, -0.075 and +0.075 beside 0.9, half
of the cross-entropy and all of the soft targets. For its form with DKD (``others_weight = 8``, ``by_teacher = false``)
they add 0.05 to the momentum of the other classes, and warm both parts up.
Differences: the authors' code multiplies the batch's mean over the other classes with its mean of ``1 - t_y``; here
each sample has its own, as in KD's decomposition. It adds the weight decay to the gradient of the target's part, here
it is in that of the labels, and has no Nesterov momentum. Its optimizer gives the labels' gradient the momentum of the
target's part wherever that part has a gradient, so that ``momentum_tog`` takes no effect; here the labels have their
own, as in the configurations. The paper raises ``top`` during training; the released code has a fixed number, 0 by
default (all classes), as here. ``top`` counts the other classes alone, in the code the label, too, where it is among
them.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import Tensor, nn

from understudy.bounds import Count, Interval, Mark, NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.dkd import binary
from understudy.methods.dot import require_sgd
from understudy.methods.method import Method
from understudy.methods.shared.logits import LogitTerm, check_same, divergence, kl_among, split
from understudy.methods.shared.stages import warmed_up
from understudy.objective.labels import CE
from understudy.objective.term import Reading
from understudy.precision import wide

Added = Annotated[float, Interval(gt=-1, lt=1)]


def target_kd(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 4.0) -> Tensor:
    """The soft targets' part of the label's class, one value per sample.

    ``T^2 KL(b_t || b_s)``, b the softened probabilities of the label's class and of all others together

    Args:
        student_logits, teacher_logits: (N, C).
        labels: class numbers (N), or distributions (N, C), of which the largest class counts.
        temperature: T, of both.

    Weight in the objective: 1, beside ``others_kd``; the two add up to ``kd``.
    Reference: Zhao et al., "Decoupled knowledge distillation", CVPR 2022; Huang et al., "DeepKD", NeurIPS 2025.

    >>> target_kd(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]))
    tensor([0.])
    """
    check_same(student_logits, teacher_logits)
    right, others = split(labels, student_logits)
    student, teacher = wide(student_logits) / temperature, wide(teacher_logits) / temperature
    return temperature**2 * divergence(binary(student, right, others), binary(teacher, right, others), form="kl")


def others_kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    top: int | None = None,
    by_teacher: bool = True,
) -> Tensor:
    """The soft targets' part of the other classes than the label's, one value per sample.

    ``(1 - t_y) T^2 KL(q_t || q_s)``, q the softened answer among the other classes alone, t_y the teacher's softened
    probability of the label's class

    Args:
        student_logits, teacher_logits: (N, C).
        labels: class numbers (N), or distributions (N, C), of which the largest class counts.
        temperature: T, of both.
        top: of the other classes only so many, those that are most probable to the teacher.
        by_teacher: with the factor ``1 - t_y``, as in KD; without it, as in DKD.

    Weight in the objective: 1 with ``by_teacher``, 8 without.
    Reference: Zhao et al., "Decoupled knowledge distillation", CVPR 2022; Huang et al., "DeepKD", NeurIPS 2025.
    Differences: see ``understudy.methods.deepkd``.

    >>> others_kd(torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([0]), top=2)
    tensor([0.])
    """
    check_same(student_logits, teacher_logits)
    right, others = split(labels, student_logits)
    student, teacher = wide(student_logits) / temperature, wide(teacher_logits) / temperature
    own, guide = student.gather(-1, others), teacher.gather(-1, others)
    if top is not None:
        if top > guide.shape[-1]:
            raise UserError(f"top = {top} is more than the {guide.shape[-1]} classes beside the label's")
        guide, kept = guide.topk(top, dim=-1)
        own = own.gather(-1, kept)
    value = temperature**2 * kl_among(own, guide)
    return value * (1 - teacher.softmax(-1).gather(-1, right).squeeze(-1)) if by_teacher else value


@dataclass(frozen=True)
class TargetKD(LogitTerm):
    """The soft targets' part of the label's class; see ``losses.target_kd``.

    >>> print(TargetKD() + OthersKD(top=10))
    TargetKD() + OthersKD(top=10)
    """

    reads_labels: ClassVar[bool] = True

    temperature: Temperature = 4.0

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return target_kd(reading.student.logits, reading.teacher.logits, reading.labels, temperature=self.temperature)


@dataclass(frozen=True)
class OthersKD(LogitTerm):
    """The soft targets' part of the other classes; see ``losses.others_kd``.

    Args:
        temperature: of both networks.
        top: only so many of the other classes, those that are most probable to the teacher.
        by_teacher: weighted by the teacher's probability of the other classes, as in KD; not so in DKD.

    >>> print(OthersKD(by_teacher=False))
    OthersKD(by_teacher=False)
    """

    reads_labels: ClassVar[bool] = True

    temperature: Temperature = 4.0
    top: Count | None = None
    by_teacher: bool = True

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return others_kd(
            reading.student.logits,
            reading.teacher.logits,
            reading.labels,
            temperature=self.temperature,
            top=self.top,
            by_teacher=self.by_teacher,
        )


def _stages(
    config: TrainConfig,
    *,
    temperature: Temperature = 4.0,
    top: Count | None = None,
    by_teacher: bool = True,
    label_weight: NonNegative = 0.5,
    target_weight: NonNegative = 1.0,
    others_weight: NonNegative = 1.0,
    warmup_epochs: Mark = 0.0,
    labels_momentum: Added = 0.075,
    target_momentum: Added = -0.075,
    others_momentum: Added = 0.075,
) -> list[Stage]:
    require_sgd(config, "deepkd")
    target = warmed_up(target_weight * TargetKD(temperature), config, warmup_epochs)
    others = warmed_up(others_weight * OthersKD(temperature, top, by_teacher), config, warmup_epochs)
    return [
        Stage(
            "labels and soft targets apart",
            label_weight * CE() + target + others,
            config,
            momenta=(labels_momentum, target_momentum, others_momentum),
        )
    ]


METHOD = Method(
    "deepkd",
    _stages,
    family="logits",
    year=2025,
    paper="Huang et al., DeepKD: a deeply decoupled and denoised knowledge distillation trainer",
)
