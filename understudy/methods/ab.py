"""Activation boundaries (Heo et al., AAAI 2019)."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.bounds import Epochs, NonNegative, Positive, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.kd import KD
from understudy.methods.method import Method
from understudy.methods.shared.maps import require_same_shape
from understudy.methods.shared.pairs import (
    after_relu,
    connector,
    halved_backwards,
    is_rectified,
    named_pairs,
    parsed,
)
from understudy.methods.shared.stages import split
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.precision import or_nan, wide


def activation_boundaries(student: Tensor, teacher: Tensor, *, margin: float = 1.0) -> Tensor:
    """Activation boundaries (AB): the student's neurons are on and off where the teacher's are, one value per sample.

    ``|| rho(T) relu(m - S) + (1 - rho(T)) relu(m + S) ||^2`` with ``rho(T) = 1 if T > 0 else 0``, summed over elements

    Args:
        student: pre-activations after a connector, (N, ...).
        teacher: pre-activations of the same shape: only their signs count.
        margin: m, how far beyond the boundary the student must be (paper and code: 1).

    The code's weight is 3 / 1000 at the last map, half of it at each earlier one, summed over elements and averaged
    over the batch; by this loss alone the student is initialised, then it trains by KD or labels.

    Reference: Heo et al., "Knowledge transfer via distillation of activation boundaries formed by hidden neurons",
    AAAI 2019.
    Differences: none known to the authors' code. A student equal to its teacher is not at zero: its neurons may be
    within the margin.

    >>> activation_boundaries(torch.tensor([[2.0, 0.5]]), torch.tensor([[1.0, -1.0]]))
    tensor([2.2500])
    """
    require_same_shape(student, teacher)
    own, on = wide(student), teacher > 0
    missing = torch.where(on, margin - own, margin + own).relu()
    return or_nan(missing.square().flatten(1).sum(1), teacher)


@dataclass(frozen=True)
class AB(Term):
    """The student's neurons are on and off where the teacher's are: a squared hinge, halved with every pair before.

    ``sum_k 2^(k-K) || rho(T_k) relu(m - S_k) + (1 - rho(T_k)) relu(m + S_k) ||^2``; see
    ``losses.activation_boundaries``.

    Args:
        pairs: ``"teacher.tap -> student.tap"`` from input to output; the last one counts whole, the one before it half.
        margin: m.

    Paper and code tap before the ReLU; the method proposes such places (``"layer1.2.relu2:input"``). Of the teacher
    only signs count, so its taps may lie after a ReLU as well. The student's maps pass a connector, a 1x1 convolution
    and batch norm, wherever shapes differ or the student's tap lies after a ReLU (what the traced values show, and a
    remark says): what comes out stands for the pre-activation.

    Reference: Heo et al., "Knowledge transfer via distillation of activation boundaries formed by hidden neurons",
    AAAI 2019.
    Differences: the code always taps before the ReLU, and has no connector where channels agree. There the teacher's
    batch norms take the statistics of the batch in stage 1; here the teacher is as it answers, as everywhere.

    >>> print(AB(("layer2 -> layer2", "layer3 -> layer3"), margin=0.5))
    AB(pairs=('layer2 -> layer2', 'layer3 -> layer3'), margin=0.5)
    """

    pairs: tuple[str, ...]
    margin: Positive = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", named_pairs(self, self.pairs))

    @property
    def reads(self) -> Reads:
        return Reads.pairs(parsed(self.pairs))

    def build(self, shapes: Shapes) -> nn.Module:
        values = [(shapes.student[pair.student], shapes.teacher[pair.teacher]) for pair in parsed(self.pairs)]
        return nn.ModuleList(_connector(own, other) for own, other in values)

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        return after_relu(self.pairs, shapes, student=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        return halved_backwards(
            activation_boundaries(
                module(reading.student[pair.student]), reading.teacher[pair.teacher], margin=self.margin
            )
            for pair, module in zip(parsed(self.pairs), owned, strict=True)
        )


def _connector(student: Tensor, teacher: Tensor) -> nn.Module:
    if student.shape[1:] == teacher.shape[1:] and not is_rectified(student):
        return nn.Identity()
    return connector(student, teacher)


def _stages(
    config: TrainConfig,
    *,
    pairs: tuple[str, ...],
    boundary_epochs: Epochs | None = None,
    boundary_lr: Positive | None = None,
    weight: NonNegative = 0.003,
    margin: Positive = 1.0,
    kd_weight: NonNegative = 1.0,
    temperature: Temperature = 3.0,
    squared: bool = False,
    label_weight: NonNegative = 0.0,
) -> list[Stage]:
    """Stage 1 sets neurons on and off as the teacher's are, stage 2 trains on soft targets.

    Args:
        pairs: from input to output; each counts half of the one after it.
        boundary_epochs: of the config's epochs, so many are stage 1 (a fifth by default).
        boundary_lr: the learning rate of stage 1, where it differs.
        weight, margin: of stage 1, as in the authors' code: 3 / 1000 of a sum over elements, and 1.
        kd_weight, temperature, squared: of stage 2, as in the authors' code: soft targets alone, at 3, without T^2.
        label_weight: of the cross-entropy in stage 2. Labels alone (``label_weight = 1`` and ``kd_weight = 0``) are the
            code's other form, and CRD's benchmark's.
    """
    if kd_weight == 0 == label_weight:
        raise UserError("ab: stage 2 trains on soft targets or on labels: set kd_weight or label_weight above 0")
    first, rest = split(config, boundary_epochs, setting="ab: boundary_epochs", lr=boundary_lr)
    soft, labels = kd_weight * KD(temperature, squared=squared), label_weight * CE()
    objective = labels + soft if kd_weight and label_weight else soft if kd_weight else labels
    name = "soft targets" if kd_weight else "labels"
    return [Stage("boundaries", weight * AB(pairs, margin=margin), first), Stage(name, objective, rest)]


METHOD = Method(
    "ab",
    _stages,
    family="features",
    year=2019,
    paper="Heo et al., Knowledge transfer via distillation of activation boundaries",
    proposed_by={"pairs": "before activations"},
)
