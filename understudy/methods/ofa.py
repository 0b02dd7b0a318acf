"""Exits on the student's stages learn the teacher's logits (unlike networks): ``CE + OFA``.

``CE + OFA(s, t, y) + sum_i OFA(h_i(s_i), t, y)``, h_i the exit on the student's stage i; without ``CE`` for the form of
the paper, which contains the cross-entropy with the labels.

Reference: Hao et al., "One-for-all: bridge the gap between heterogeneous architectures in knowledge distillation",
NeurIPS 2023.
Weight: 1 for each exit and for the logits, in the authors' code.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Exponent, NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.methods.shared.logits import check_same, class_numbers, one_hot, require_classes, weighed
from understudy.methods.shared.maps import BatchNorm, require_known
from understudy.methods.shared.pairs import PairsTerm
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Shapes
from understudy.precision import wide
from understudy.taps.modules import MeanOverPlaces


def ofa(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    exponent: float = 1.0,
    temperature: float = 1.0,
    form: Literal["code", "paper"] = "code",
) -> Tensor:
    """OFA-KD: soft targets in which the label's class is enhanced, for unlike architectures, one value per sample.

    ``- sum_c ((p_t(c) + [c = y])^gamma - [c = y]) log p_s(c)``

    Args:
        student_logits: of the student, or of an exit branch on one of its stages, (N, C).
        teacher_logits: (N, C).
        labels: class numbers (N), or distributions (N, C), of which the largest class counts.
        exponent: gamma, which enhances the label's class (code: 1; 1.5 in its example of an unlike pair).
        temperature: of both softmaxes (code: 1; no T^2).
        form: ``"paper"`` is ``- (1 + p_t(y))^gamma log p_s(y) - sum_{c != y} p_t(c) log p_s(c)``, which contains the
            cross-entropy with the labels; ``"code"`` adds that by itself and raises the other classes to gamma too.

    Weight 1 for each of four stages and the logits, averaged over the batch. With gamma 1 ``"code"`` is plain soft
    targets, as cross-entropy.

    Reference: Hao et al., "One-for-all: bridge the gap between heterogeneous architectures in knowledge distillation",
    NeurIPS 2023.
    Differences: ``form`` chooses between the equation of the paper and that of the authors' code.

    >>> ofa(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]))
    tensor([0.6931])
    """
    require_known("form", form, ("code", "paper"))
    check_same(student_logits, teacher_logits)
    require_classes(student_logits)
    own = F.log_softmax(wide(student_logits) / temperature, dim=1)
    other = F.softmax(wide(teacher_logits) / temperature, dim=1)
    label = one_hot(class_numbers(labels), other.shape[1], other.dtype)
    enhanced = (other + label) ** exponent
    target = enhanced - label if form == "code" else torch.where(label > 0, enhanced, other)
    return -weighed(target, own).sum(1)


@dataclass(frozen=True)
class OFA(PairsTerm):
    """Exits on the student's stages, and its own answer, learn from the teacher's logits.

    ``OFA(s, t, y) + sum_i OFA(h_i(s_i), t, y)``, see ``losses.ofa``; nothing of the teacher is read but its answer

    Args:
        pairs: from input to output; of each only the student's tap is read.
        exponent: gamma, which enhances the label's class (code: 1; 1.5 in its example of an unlike pair).
        temperature: of both softmaxes (code: 1).
        form: ``"code"``, or ``"paper"``, which contains the labels' cross-entropy.

    Labels that are distributions count by their largest class. Differences: a head is, as in the code, a separable
    convolution that halves the map for each stage that follows, then mean and linear layer, at the width of the
    student's last stage (code: the larger of both networks'); on tokens it is mean, layer norm and linear layer, where
    the code merges patches and adds a transformer block.

    >>> print(OFA(["layer1 -> layer1", "layer2 -> layer2"], exponent=1.5))
    OFA(pairs=('layer1 -> layer1', 'layer2 -> layer2'), exponent=1.5)
    """

    exponent: Exponent = 1.0
    temperature: Temperature = 1.0
    form: Literal["code", "paper"] = "code"

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True, student_taps=self.student_taps, labels=True)

    def build(self, shapes: Shapes) -> nn.Module:
        values = [shapes.student[tap] for tap in self.student_taps]
        classes = shapes.teacher.logits.shape[1]
        width = _features(values[-1])
        last = len(values) - 1
        return nn.ModuleList(
            _head(value, halvings=last - number, width=width, classes=classes).to(value.dtype)
            for number, value in enumerate(values)
        )

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        value = self._one(reading.student.logits, reading)
        for head, tap in zip(owned, self.student_taps, strict=True):
            value = value + self._one(head(reading.student[tap]), reading)
        return value

    def _one(self, logits: Tensor, reading: Reading) -> Tensor:
        return ofa(
            logits,
            reading.teacher.logits,
            reading.labels,
            exponent=self.exponent,
            temperature=self.temperature,
            form=self.form,
        )


def _features(value: Tensor) -> int:
    return value.shape[1] if value.ndim == 4 else value.shape[-1]


def _head(value: Tensor, *, halvings: int, width: int, classes: int) -> nn.Module:
    features = _features(value)
    if value.ndim == 2:
        return nn.Linear(features, classes)
    if value.ndim == 3:
        return nn.Sequential(MeanOverPlaces(), nn.LayerNorm(features), nn.Linear(features, classes))
    if value.ndim != 4:
        raise UserError(f"OFA: an exit head stands on maps, tokens or vectors, not on {tuple(value.shape)}")
    if not halvings:
        return nn.Sequential(nn.Conv2d(features, width, 1), MeanOverPlaces(), nn.Linear(width, classes))
    widths = [features * 2**number for number in range(halvings)] + [width]
    blocks = [block for inputs, outputs in pairwise(widths) for block in halving(inputs, outputs)]
    return nn.Sequential(*blocks, MeanOverPlaces(), nn.Linear(width, classes))


def halving(inputs: int, outputs: int) -> Iterator[nn.Module]:
    """Two separable convolutions of a map, the first of stride 2."""
    for stride, wanted in ((2, inputs), (1, outputs)):
        yield nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
        yield nn.Conv2d(inputs, wanted, 1, bias=False)
        yield BatchNorm(wanted)
        yield nn.ReLU()


def _stages(config: TrainConfig, term: OFA, *, weight: NonNegative = 1.0) -> list[Stage]:
    return [Stage("exits", CE() + weight * term if term.form == "code" else weight * term, config)]


METHOD = Method(
    "ofa",
    _stages,
    term=OFA,
    family="features",
    year=2023,
    paper="Hao et al., One-for-all: bridge the gap between heterogeneous architectures in knowledge distillation",
)
