"""Rocket launching: a light network follows a booster while both learn.

Reference: Zhou et al., "Rocket launching: a universal and efficient framework for training well-performing light net",
AAAI 2018.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.bounds import NonNegative
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.logit_regression import logit_regression
from understudy.methods.method import Method
from understudy.methods.shared.copies import fresh, inputs_of, logits_of, prepared
from understudy.objective.labels import CE, cross_entropy
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.taps import Pair, find


def rocket_hint(light_logits: Tensor, booster_logits: Tensor, *, block: bool = True) -> Tensor:
    """Rocket Launching's hint: the light net's logits follow the booster's while both train; one value per sample.

    ``|| l - z ||^2``, summed over the classes

    Args:
        light_logits: of the light net, the one that is kept, (N, C).
        booster_logits: of the large net that shares its lower layers, (N, C).
        block: the gradient block: the hint does not move the booster.

    Weight in the objective: ``CE(booster) + CE(light) + 0.03 hint``, means over the batch.
    Reference: Zhou et al., "Rocket launching: a universal and efficient framework for training well-performing light
    net", AAAI 2018.
    Differences: none known; the logits are those before the softmax, as in the authors' code.

    >>> rocket_hint(torch.zeros(2, 3), torch.ones(2, 3))
    tensor([3., 3.])
    """
    booster = booster_logits.detach() if block else booster_logits
    return logit_regression(light_logits, booster, half=False)


@dataclass(frozen=True)
class Rocket(Term):
    """The student's logits follow those of a booster, a fresh network as large as the teacher that learns the labels.

    ``hint || s - z ||^2``, and for the booster ``CE(z)``; see ``losses.rocket_hint``

    Args:
        block: the gradient block: the hint does not move the booster. The paper is better with it.
        shared: ``"teacher.tap -> student.tap"`` of one shape: up to there the booster is the student, whose lower
            layers learn from the labels by both networks. None: the two share nothing.
        hint: weight of the squared distance, the authors' 0.03. The booster's cross-entropy has none, so leave the
            term's own weight at 1.

    Differences: the teacher lends its architecture; its answers are computed and not used. What the booster has below
    the shared layers runs along unused. Where nothing is shared the booster answers twice for each batch, once to lead
    and once to learn.

    >>> print(Rocket(block=False))
    Rocket(block=False)
    """

    block: bool = True
    shared: str | None = None
    hint: NonNegative = 0.03

    def __post_init__(self) -> None:
        if self.shared is not None:
            Pair.parse(self.shared)

    @property
    def reads(self) -> Reads:
        if self.shared is not None:
            pair = Reads.pairs((Pair.parse(self.shared),))
            return pair | Reads(student_logits=True, labels=True, teacher_network=True)
        # Without the logits, shapes hold no teacher.
        return Reads(student_logits=True, teacher_logits=True, labels=True, teacher_network=True)

    def build(self, shapes: Shapes) -> nn.Module:
        assert shapes.teacher_network is not None
        if self.shared is not None:
            pair = Pair.parse(self.shared)
            ours, theirs = shapes.student[pair.student].shape[1:], shapes.teacher[pair.teacher].shape[1:]
            if ours != theirs:
                raise UserError(
                    f"Rocket: what two networks share has one shape, and {pair} has {tuple(theirs)} and {tuple(ours)}: "
                    "name another pair, or share nothing"
                )
        return fresh(shapes.teacher_network)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        student = reading.student.logits
        if self.shared is not None:
            booster = self._from_shared(reading, owned)
            hint = rocket_hint(student, booster, block=self.block)
            return self.hint * hint + cross_entropy(booster, reading.labels)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.block):
            booster = self._answer(reading, owned)
        return self.hint * rocket_hint(student, booster, block=self.block)

    def own_loss(self, reading: Reading, owned: nn.Module) -> Tensor | None:
        """Shared layers are the student's, so the booster's gradient for them is part of ``loss``."""
        if self.shared is not None:
            return None
        return cross_entropy(self._answer(reading, owned), reading.labels)

    def _answer(self, reading: Reading, owned: nn.Module) -> Tensor:
        return logits_of(owned, prepared(reading.teacher_network, inputs_of(reading, "Rocket")))

    def _from_shared(self, reading: Reading, owned: nn.Module) -> Tensor:
        """The booster from the shared tap on: the student's value replaces its own."""
        assert self.shared is not None
        pair, learning = Pair.parse(self.shared), torch.is_grad_enabled()
        value = reading.student[pair.student]

        def exchange(*_: object) -> Tensor:
            torch.set_grad_enabled(learning)
            return value

        module = find(owned, pair.teacher, called="the booster")
        register = module.register_forward_hook if pair.teacher.side == "output" else module.register_forward_pre_hook
        handle = register(exchange)
        try:
            with torch.no_grad():  # below the shared place nothing learns
                return self._answer(reading, owned)
        finally:
            handle.remove()


def _stages(config: TrainConfig, *, shared: str, weight: NonNegative = 0.03, block: bool = True) -> list[Stage]:
    """Beside an untrained booster, which the student follows: ``CE(s) + CE(z) + 0.03 ||s - z||^2``.

    The booster has the teacher's architecture and weights of its own; it learns from the labels while the student
    follows its logits, and is thrown away. The paper: batch 128, 200 epochs, SGD at 0.1, a fifth of the rate from
    epochs 60, 120 and 160 on, weight decay 5e-4.

    Args:
        shared: the pair up to which the two share their lower layers, which are the student's; by default the end of
            the first stage, where both have one shape there, and otherwise ``""``: nothing.
        weight: of the hint, the authors' 0.03 (sum over the classes, mean over the batch).
        block: the gradient block: the hint does not move the booster.
    """
    return [Stage("labels and booster", CE() + Rocket(block, shared or None, weight), config)]


METHOD = Method(
    "rocket",
    _stages,
    family="several networks",
    year=2018,
    paper="Zhou et al., Rocket launching: a universal and efficient framework for training well-performing light net",
)
