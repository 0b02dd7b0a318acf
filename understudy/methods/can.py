"""A discriminator tells the logits apart (conditional adversarial networks, Xu, Hsu, Huang, 2018).

``CE + ||s - t||_1 + 1/2 (L_A - L_DS)``. All weights are the paper's and fixed; the 1/2 is within the adversarial term.
In each step the discriminator moves first, at a hundredth of the student's rate (1e-3 beside 0.1). The paper trains for
200 epochs with SGD at 0.1, momentum 0.9, weight decay 1e-4, batch 128, a tenth of the rate from epochs 80 and 160 on,
and dropout 0.3 in the networks.

``weight`` is that of the adversarial term, beside its own 1/2; ``l1_weight`` and ``l1_reduction`` are those of the
logits' difference, summed over the classes as published: with 100 classes it dwarfs the rest; "mean" does not. A
weight of 0 leaves that part out. The paper's table 3 is ``weight = 0``, ``l1_weight = 0``, both, and the objective of
``CAN()`` alone. The other games, and a discriminator that sees a condition beside the logits, are what the paper tried
and dropped.

All losses are to be minimised, the discriminator's too. They take the discriminator's outputs; gradients reach whatever
made these, so the discriminator's step wants the student's answers detached, and the student's step wants the
discriminator's parameters left alone.
"""

import math
from collections.abc import Sequence
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
from understudy.methods.shared.games import (
    gan_discriminator,
    gan_student,
    joint_discriminator,
    joint_student,
    lsgan_discriminator,
    lsgan_student,
    wgan_critic,
    wgan_student,
)
from understudy.methods.shared.logits import LogitTerm, one_hot
from understudy.nested import Nested
from understudy.objective.labels import CE, cross_entropy
from understudy.objective.mc_dropout import DROPOUTS
from understudy.objective.term import Expression, Reading, Reads, Shapes
from understudy.precision import wide

Game = Literal["can", "joint", "gan", "wgan", "lsgan"]
Condition = Literal["nothing", "label", "teacher", "image"]
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


def _classes(outputs: Tensor) -> Tensor:
    return outputs[:, :REAL]


def _log_source(outputs: Tensor, which: int) -> Tensor:
    """The logarithm of P(Real) or P(Fake)."""
    if outputs.ndim != 2 or outputs.shape[1] < 3:
        raise UserError(
            f"the discriminator answers with {tuple(outputs.shape)}, not with C labels, Real and Fake: (N, C+2)"
        )
    return F.log_softmax(wide(outputs[:, REAL:]), dim=1)[:, which]


class Block(nn.Module):
    """``ReLU(a + Dropout(BN(Linear(a))))``."""

    def __init__(self, width: int, dropout: float, norm: type[nn.Module]):
        super().__init__()
        self.step = nn.Sequential(nn.Linear(width, width), norm(width), nn.Dropout(dropout))

    def forward(self, a: Tensor) -> Tensor:
        return torch.relu(a + self.step(a))


def discriminator(
    classes: int,
    *,
    outputs: int,
    layers: int = 3,
    dropout: float = 0.3,
    batch_norm: bool = True,
    input_norm: bool = True,
) -> nn.Module:
    """The paper's residual MLP over logits, ``layers`` linear layers in all; without batch norm, layer norm in blocks.

    A gradient penalty is for each sample by itself, and batch norm would mix them.
    """
    norm = nn.BatchNorm1d if batch_norm else nn.LayerNorm
    first: list[nn.Module] = [nn.BatchNorm1d(classes)] if batch_norm and input_norm else []
    blocks = [Block(classes, dropout, norm) for _ in range(layers - 1)]
    return nn.Sequential(*first, *blocks, nn.Linear(classes, outputs))


class Conditional(nn.Module):
    """A discriminator of logits beside a condition, which is embedded as wide as there are classes."""

    def __init__(self, classes: int, embedding: nn.Module, body: nn.Module, *, batch_norm: bool):
        super().__init__()
        self.norm = nn.BatchNorm1d(classes) if batch_norm else nn.Identity()
        self.embedding = embedding
        self.first = nn.Linear(2 * classes, classes)
        self.body = body

    def forward(self, logits: Tensor, condition: Tensor) -> Tensor:
        both = torch.cat([self.norm(logits), self.embedding(condition)], dim=1)
        answer: Tensor = self.body(torch.relu(self.first(both)))
        return answer


class Predicted(nn.Module):
    """A discriminator that the student meets where its next step would take it, if that were like the last one.

    ``remember`` keeps the weights before a step, in buffers, so that a resumed training goes on alike.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self._names = [name for name, _ in network.named_parameters()]
        for number, parameter in enumerate(network.parameters()):
            self.register_buffer(f"before_{number}", parameter.detach().clone())

    def forward(self, *inputs: Tensor) -> Tensor:
        answer: Tensor = self.network(*inputs)
        return answer

    def remember(self) -> None:
        with torch.no_grad():
            for number, parameter in enumerate(self.network.parameters()):
                self.get_buffer(f"before_{number}").copy_(parameter)

    def ahead(self, *inputs: Tensor) -> Tensor:
        parameters = dict(self.network.named_parameters())
        weights = {
            name: 2 * parameters[name].detach() - self.get_buffer(f"before_{number}")
            for number, name in enumerate(self._names)
        }
        answer: Tensor = torch.func.functional_call(self.network, weights, inputs)
        return answer


@dataclass(frozen=True)
class CAN(LogitTerm):
    """The student's logits are to pass for the teacher's before a discriminator, which learns along as its adversary.

    ``1/2 (log P(Fake | D(s)) - log P(l | D(s)))``; see ``losses.can_student`` and ``losses.can_discriminator``. D is
    ``BN, (ReLU(a + Dropout(BN(Linear(a))))) x 2, Linear`` as wide as there are classes, with C + 2 answers

    Args:
        game: "can" is the paper's; "joint" has label and source as one of 2C answers, "gan" no labels (L_A alone),
            "lsgan" and "wgan" (with gradient penalty) one value and no labels.
        layers: linear layers of D, the last of which answers. The paper's table has 1 to 4; 4 was unstable.
        dropout: in D.
        saturating: the paper's minimax form; without, the student raises ``log P(Real)`` instead (games "can", "joint"
            and "gan").
        penalty: of the gradient (game "wgan").
        condition: what D sees beside the logits: the "label", the "teacher"'s logits or the "image". The paper found
            that D ignores it.
        prediction: the student meets D where D's next step would take it: ``D + (D - D before)``, the prediction step
            of Yadav et al., "Stabilizing adversarial nets with prediction methods", ICLR 2018.
        adversary_lr_scale: D's learning rate as a share of the student's: 1e-3 beside 0.1. Its schedule is the
            student's.

    Reference: Xu, Hsu, Huang, "Training shallow and thin networks for acceleration via knowledge distillation with
    conditional adversarial networks", ICLR 2018 workshop.
    Differences: the paper leaves open, and this decides: "3-layer" counts the answering layer; D sees the teacher's and
    the student's logits in two batches, through one input norm; D is in training mode while the student steps, so that
    its dropout is the game's noise and its running statistics, which only validation reads, move then too; D's
    momentum and weight decay are the student's. The critic of "wgan" has layer norm in its blocks and no input norm. A
    condition is embedded by one linear layer as wide as there are classes, of an image averaged to 8x8, and one more
    linear layer joins it to the logits.

    >>> print(CAN(layers=2))
    CAN(layers=2)
    """

    game: Game = "can"
    layers: Layers = 3
    dropout: ShareBelowOne = 0.3
    saturating: bool = True
    penalty: NonNegative = 10.0
    adversary_lr_scale: Positive = 0.01
    condition: Condition = "nothing"
    prediction: bool = False
    adversary: ClassVar[bool] = True

    @property
    def teacher_temperature(self) -> float:
        return math.inf

    @property
    def reads(self) -> Reads:
        labels = self.game in ("can", "joint") or self.condition == "label"
        return super().reads | Reads(batch=True, inputs=self.condition == "image", labels=labels)

    def remarks(self, shapes: Shapes) -> Sequence[str]:
        if any(isinstance(module, DROPOUTS) and module.p > 0 for module in shapes.student_network.modules()):
            return ()
        return (
            "the student has no dropout, which CAN's networks have (0.3 in the blocks) and which is the only noise of "
            "the game: give it some, as settings = { dropout = 0.3 } of wrn does",
        )

    def build(self, shapes: Shapes) -> nn.Module:
        classes, theirs = shapes.student.logits.shape[1], shapes.teacher.logits.shape[1]
        if classes != theirs:
            raise UserError(f"CAN compares logits: the student has {classes} classes, the teacher {theirs}")
        outputs = {"can": classes + 2, "joint": 2 * classes, "gan": 2}.get(self.game, 1)
        network = self._network(classes, outputs, shapes)
        return Predicted(network) if self.prediction else network

    def _network(self, classes: int, outputs: int, shapes: Shapes) -> nn.Module:
        batch_norm, conditional = self.game != "wgan", self.condition != "nothing"
        body = discriminator(
            classes,
            outputs=outputs,
            layers=self.layers,
            dropout=self.dropout,
            batch_norm=batch_norm,
            input_norm=batch_norm and not conditional,
        )
        if not conditional:
            return body
        embedding = _image_embedding(shapes, classes) if self.condition == "image" else nn.Linear(classes, classes)
        return Conditional(classes, embedding, body, batch_norm=batch_norm)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        network = owned.ahead if isinstance(owned, Predicted) else owned
        logits = wide(reading.student.logits)
        judged = network(logits, *self._condition(reading))
        if self.game == "can":
            return can_student(judged, reading.labels, saturating=self.saturating)
        if self.game == "joint":
            return joint_student(judged, reading.labels, saturating=self.saturating)
        if self.game == "gan":
            return gan_student(judged, saturating=self.saturating)
        return wgan_student(judged) if self.game == "wgan" else lsgan_student(judged)

    def own_loss(self, reading: Reading, owned: nn.Module) -> Tensor:
        if isinstance(owned, Predicted):
            owned.remember()
        student, teacher = wide(reading.student.logits), wide(reading.teacher.logits)
        condition = self._condition(reading)
        on_teacher, on_student = owned(teacher, *condition), owned(student, *condition)
        if self.game == "can":
            return can_discriminator(on_student, on_teacher, reading.labels)
        if self.game == "joint":
            return joint_discriminator(on_student, on_teacher, reading.labels)
        if self.game == "gan":
            return gan_discriminator(on_student, on_teacher)
        if self.game == "lsgan":
            return lsgan_discriminator(on_student, on_teacher)
        gradient = _slope(owned, student, teacher, condition)
        return wgan_critic(on_student, on_teacher, gradient, penalty=self.penalty)

    def _condition(self, reading: Reading) -> tuple[Tensor, ...]:
        """What the discriminator sees beside the logits."""
        if self.condition == "nothing":
            return ()
        teacher = wide(reading.teacher.logits).detach()
        if self.condition == "teacher":
            return (teacher,)
        if self.condition == "label":
            labels = reading.labels
            return (labels if labels.is_floating_point() else one_hot(labels, teacher.shape[1], teacher.dtype),)
        return (_small(reading.inputs, len(teacher)),)


def _image_embedding(shapes: Shapes, classes: int) -> nn.Module:
    return nn.Linear(_small(shapes.inputs, len(shapes.student.logits)).shape[1], classes)


def _small(images: Nested | None, count: int) -> Tensor:
    """Images averaged to 8x8, flat."""
    if not isinstance(images, Tensor) or images.ndim != 4 or len(images) != count:
        raise UserError('condition = "image" asks for one image (C, H, W) with each answer')
    return F.adaptive_avg_pool2d(wide(images), 8).flatten(1)


def _slope(critic: nn.Module, student: Tensor, teacher: Tensor, condition: tuple[Tensor, ...]) -> Tensor:
    """The critic's gradient at a random point between both logits of each sample, itself to be differentiated."""
    share = torch.rand(len(student), 1, device=student.device)
    between = torch.lerp(teacher, student, share).requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(critic(between, *condition).sum(), between, create_graph=True)
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

    @property
    def teacher_temperature(self) -> float:
        return math.inf

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
    objective: Expression = CE()
    if l1_weight:
        objective = objective + l1_weight * LogitsL1(l1_reduction)
    if weight:
        objective = objective + weight * term
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
