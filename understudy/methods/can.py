"""A discriminator tells the logits apart (conditional adversarial networks, Xu, Hsu, Huang, 2018).

``CE + ||s - t||_1 + 1/2 (L_A - L_DS)``. All weights are the paper's and fixed; the 1/2 is within the adversarial term.
In each step the discriminator moves first, at a hundredth of the student's rate (1e-3 beside 0.1). The paper trains for
200 epochs with SGD at 0.1, momentum 0.9, weight decay 1e-4, batch 128, a tenth of the rate from epochs 80 and 160 on,
and dropout 0.3 in the networks.

``weight`` is that of the adversarial term, beside its own 1/2; ``l1_weight`` and ``l1_reduction`` are those of the
logits' difference, summed over the classes as published: with 100 classes it dwarfs the rest; "mean" does not. The
games "wgan" and "lsgan" are what the paper tried and dropped as slow and unstable.

All losses are to be minimised, the discriminator's too. They take the discriminator's outputs; gradients reach whatever
made these, so the discriminator's step wants the student's answers detached, and the student's step wants the
discriminator's parameters left alone.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Layers, NonNegative, Positive, ShareBelowOne
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.methods.shared.logits import LogitTerm
from understudy.objective.labels import CE, cross_entropy
from understudy.objective.term import Reading, Shapes
from understudy.precision import wide

Game = Literal["can", "wgan", "lsgan"]
REAL, FAKE = -2, -1  # the last two of the discriminator's outputs, after those of the classes


def can_discriminator(on_student: Tensor, on_teacher: Tensor, labels: Tensor) -> Tensor:
    """The discriminator's loss of conditional adversarial distillation: right source and right label, for both.

    ``-1/2 (L_A + L_DS)``, ``L_A = log P(Real | D(t)) + log P(Fake | D(s))``, ``L_DS = log P(l | D(t)) + log P(l |
    D(s))``; the paper maximises ``1/2 (L_A + L_DS)``, the mean over the samples of this is its negative

    Args:
        on_student, on_teacher: the discriminator's answers to the logits of each, (N, C+2): C labels, Real, Fake.
        labels: class numbers (N), or distributions (N, C).

    Reference: Xu, Hsu, Huang, "Training shallow and thin networks for acceleration via knowledge distillation with
    conditional adversarial networks", ICLR 2018 workshop, equation 5.
    Differences: none known. P over labels and P over {Real, Fake} are two distributions, as in an auxiliary-classifier
    GAN; the paper says that a joint one of 2C classes did almost the same.

    >>> on_student, on_teacher = torch.zeros(1, 4), torch.zeros(1, 4)
    >>> can_discriminator(on_student, on_teacher, torch.tensor([0]))
    tensor([1.3863])
    """
    source = -_log_source(on_teacher, REAL) - _log_source(on_student, FAKE)
    label = cross_entropy(_classes(on_teacher), labels) + cross_entropy(_classes(on_student), labels)
    return 0.5 * (source + label)


def can_student(on_student: Tensor, labels: Tensor, *, saturating: bool = True) -> Tensor:
    """The student's loss of conditional adversarial distillation: pass for the teacher, with the right label.

    ``1/2 (log P(Fake | D(s)) - log P(l | D(s)))``: of the paper's ``L_GAN = 1/2 (L_A - L_DS)`` what depends on the
    student. L_DS turns its sign between the players, as both want labels right. The paper's whole objective is
    ``CE + || s - t ||_1 + L_GAN``, all weights 1

    Args:
        on_student: the discriminator's answer to the student's logits, (N, C+2): C labels, Real, Fake.
        labels: class numbers (N), or distributions (N, C).
        saturating: the minimax form, as published, whose gradient fades where the discriminator is sure of Fake (and
            which has no lower bound). Without: ``-log P(Real | D(s))`` in place of ``log P(Fake | D(s))``.

    Reference: Xu, Hsu, Huang, ICLR 2018 workshop, equation 7.
    Differences: the parts of L_GAN on the teacher's logits are left out: to the student they are constant.

    >>> can_student(torch.zeros(1, 4), torch.tensor([0]))
    tensor([0.])
    """
    source = _log_source(on_student, FAKE) if saturating else -_log_source(on_student, REAL)
    return 0.5 * (source + cross_entropy(_classes(on_student), labels))


def logits_l1(student_logits: Tensor, teacher_logits: Tensor, *, reduction: Literal["sum", "mean"] = "sum") -> Tensor:
    """The absolute difference of two logits.

    ``|| s - t ||_1``, summed over the classes, or their mean

    Args:
        student_logits, teacher_logits: (N, C).
        reduction: "sum" is the paper's, with weight 1: with 100 classes it dwarfs the other terms. "mean" is 1/C of it.

    Reference: Xu, Hsu, Huang, ICLR 2018 workshop, equation 6.
    Differences: none; the paper averages over the samples only.

    >>> logits_l1(torch.zeros(1, 2), torch.tensor([[1.0, -2.0]]))
    tensor([3.])
    """
    if student_logits.shape != teacher_logits.shape:
        raise UserError(
            f"the student's logits {tuple(student_logits.shape)} and the teacher's {tuple(teacher_logits.shape)} "
            "differ in shape: both need the same classes"
        )
    difference = (wide(student_logits) - wide(teacher_logits)).abs().flatten(1)
    return difference.sum(1) if reduction == "sum" else difference.mean(1)


def wgan_critic(on_student: Tensor, on_teacher: Tensor, gradient: Tensor, *, penalty: float = 10.0) -> Tensor:
    """The critic's loss of a Wasserstein GAN with gradient penalty.

    ``D(s) - D(t) + lambda (|| g || - 1)^2``, ``g`` the gradient of D at a point between s and t

    Args:
        on_student, on_teacher: the critic's values, (N) or (N, 1).
        gradient: of the critic's value by its input, at a random point between both inputs of each sample, (N, ...);
            computed with ``create_graph=True``, or the penalty trains nothing.
        penalty: lambda, the paper's 10.

    Reference: Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017. CAN's authors tried and dropped
    it (slow, unstable).
    Differences: none known; which form of WGAN CAN's authors tried is not said.

    >>> wgan_critic(torch.tensor([1.0]), torch.tensor([3.0]), torch.ones(1, 1))
    tensor([-2.])
    """
    length: Tensor = torch.linalg.vector_norm(wide(gradient).flatten(1), dim=1)
    return _score(on_student) - _score(on_teacher) + penalty * (length - 1).square()


def wgan_student(on_student: Tensor) -> Tensor:
    """The student's loss against a Wasserstein critic.

    ``-D(s)``

    Args:
        on_student: the critic's values of the student's answers, (N) or (N, 1).

    Reference: Arjovsky, Chintala, Bottou, "Wasserstein GAN", ICML 2017.

    >>> wgan_student(torch.tensor([1.0]))
    tensor([-1.])
    """
    return -_score(on_student)


def lsgan_discriminator(on_student: Tensor, on_teacher: Tensor) -> Tensor:
    """The discriminator's loss of a least-squares GAN: 1 for the teacher's answers, 0 for the student's.

    ``1/2 (D(t) - 1)^2 + 1/2 D(s)^2``

    Args:
        on_student, on_teacher: the discriminator's values, (N) or (N, 1).

    Reference: Mao et al., "Least squares generative adversarial networks", ICCV 2017, its 0-1 coding. CAN's authors
    tried and dropped it (slow, unstable).

    >>> lsgan_discriminator(torch.tensor([0.0]), torch.tensor([1.0]))
    tensor([0.])
    """
    return 0.5 * ((_score(on_teacher) - 1).square() + _score(on_student).square())


def lsgan_student(on_student: Tensor) -> Tensor:
    """The student's loss against a least-squares discriminator.

    ``1/2 (D(s) - 1)^2``

    Args:
        on_student: the discriminator's values of the student's answers, (N) or (N, 1).

    Reference: Mao et al., "Least squares generative adversarial networks", ICCV 2017.

    >>> lsgan_student(torch.tensor([0.0]))
    tensor([0.5000])
    """
    return 0.5 * (_score(on_student) - 1).square()


def _classes(outputs: Tensor) -> Tensor:
    return outputs[:, :REAL]


def _log_source(outputs: Tensor, which: int) -> Tensor:
    """The logarithm of P(Real) or P(Fake)."""
    if outputs.ndim != 2 or outputs.shape[1] < 3:
        raise UserError(
            f"the discriminator answers with {tuple(outputs.shape)}, not with C labels, Real and Fake: (N, C+2)"
        )
    return F.log_softmax(wide(outputs[:, REAL:]), dim=1)[:, which]


def _score(values: Tensor) -> Tensor:
    if values.numel() != len(values):
        raise UserError(f"one value for each sample is wanted, (N) or (N, 1), not {tuple(values.shape)}")
    return wide(values).flatten()


class Block(nn.Module):
    """``ReLU(a + Dropout(BN(Linear(a))))``."""

    def __init__(self, width: int, dropout: float, norm: type[nn.Module]):
        super().__init__()
        self.step = nn.Sequential(nn.Linear(width, width), norm(width), nn.Dropout(dropout))

    def forward(self, a: Tensor) -> Tensor:
        return torch.relu(a + self.step(a))


def discriminator(
    classes: int, *, outputs: int, layers: int = 3, dropout: float = 0.3, batch_norm: bool = True
) -> nn.Module:
    """The paper's residual MLP over logits, ``layers`` linear layers in all; without batch norm, layer norm in blocks.

    A gradient penalty is for each sample by itself, and batch norm would mix them.
    """
    norm = nn.BatchNorm1d if batch_norm else nn.LayerNorm
    first: list[nn.Module] = [nn.BatchNorm1d(classes)] if batch_norm else []
    blocks = [Block(classes, dropout, norm) for _ in range(layers - 1)]
    return nn.Sequential(*first, *blocks, nn.Linear(classes, outputs))


@dataclass(frozen=True)
class CAN(LogitTerm):
    """The student's logits are to pass for the teacher's before a discriminator, which learns along as its adversary.

    ``1/2 (log P(Fake | D(s)) - log P(l | D(s)))``; see ``losses.can_student`` and ``losses.can_discriminator``. D is
    ``BN, (ReLU(a + Dropout(BN(Linear(a))))) x 2, Linear`` as wide as there are classes, with C + 2 answers

    Args:
        game: "can" is the paper's; "wgan" (with gradient penalty) and "lsgan" are what it tried and dropped: D then
            answers with one value, and no labels are read.
        layers: linear layers of D, the last of which answers. The paper's table has 1 to 4; 4 was unstable.
        dropout: in D.
        saturating: the paper's minimax form; without, the student raises ``log P(Real)`` instead (game "can").
        penalty: of the gradient (game "wgan").
        adversary_lr_scale: D's learning rate as a share of the student's: 1e-3 beside 0.1. Its schedule is the
            student's.

    Reference: Xu, Hsu, Huang, "Training shallow and thin networks for acceleration via knowledge distillation with
    conditional adversarial networks", ICLR 2018 workshop.
    Differences: the paper leaves open, and this decides: "3-layer" counts the answering layer; D sees the teacher's and
    the student's logits in two batches, through one input norm; D is in training mode while the student steps, so that
    its dropout is the game's noise and its running statistics, which only validation reads, move then too; D's
    momentum and weight decay are the student's. The critic of "wgan" has layer norm in its blocks and no input norm.

    >>> print(CAN(layers=2))
    CAN(layers=2)
    """

    game: Game = "can"
    layers: Layers = 3
    dropout: ShareBelowOne = 0.3
    saturating: bool = True
    penalty: NonNegative = 10.0
    adversary_lr_scale: Positive = 0.01
    adversary: ClassVar[bool] = True

    def build(self, shapes: Shapes) -> nn.Module:
        classes, theirs = shapes.student.logits.shape[1], shapes.teacher.logits.shape[1]
        if classes != theirs:
            raise UserError(f"CAN compares logits: the student has {classes} classes, the teacher {theirs}")
        outputs, batch_norm = classes + 2 if self.game == "can" else 1, self.game != "wgan"
        return discriminator(classes, outputs=outputs, layers=self.layers, dropout=self.dropout, batch_norm=batch_norm)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        judged = owned(wide(reading.student.logits))
        if self.game == "can":
            return can_student(judged, reading.labels, saturating=self.saturating)
        return wgan_student(judged) if self.game == "wgan" else lsgan_student(judged)

    def own_loss(self, reading: Reading, owned: nn.Module) -> Tensor:
        student, teacher = wide(reading.student.logits), wide(reading.teacher.logits)
        on_teacher, on_student = owned(teacher), owned(student)
        if self.game == "can":
            return can_discriminator(on_student, on_teacher, reading.labels)
        if self.game == "lsgan":
            return lsgan_discriminator(on_student, on_teacher)
        return wgan_critic(on_student, on_teacher, _slope(owned, student, teacher), penalty=self.penalty)


def _slope(critic: nn.Module, student: Tensor, teacher: Tensor) -> Tensor:
    """The critic's gradient at a random point between both logits of each sample, itself to be differentiated."""
    share = torch.rand(len(student), 1, device=student.device)
    between = torch.lerp(teacher, student, share).requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return gradient


@dataclass(frozen=True)
class LogitsL1(LogitTerm):
    """The absolute difference of student's and teacher's logits; see ``losses.logits_l1``.

    Args:
        reduction: over the classes; "sum" is the paper's.

    >>> print(LogitsL1())
    LogitsL1()
    """

    reduction: Literal["sum", "mean"] = "sum"

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return logits_l1(reading.student.logits, reading.teacher.logits, reduction=self.reduction)


def _stages(
    config: TrainConfig,
    term: CAN,
    *,
    weight: NonNegative = 1.0,
    l1_weight: NonNegative = 1.0,
    l1_reduction: Literal["sum", "mean"] = "sum",
) -> list[Stage]:
    objective = CE() + l1_weight * LogitsL1(l1_reduction) + weight * term
    return [Stage("labels, logits and adversary", objective, config)]


METHOD = Method(
    "can",
    _stages,
    term=CAN,
    family="adversarial",
    year=2018,
    paper="Xu et al., Training shallow and thin networks for acceleration via knowledge distillation with conditional "
    "adversarial networks",
)
