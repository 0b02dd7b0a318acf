"""One-for-all distillation between unlike architectures (Hao et al., 2023)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from understudy import losses
from understudy._terms._positive import require_positive
from understudy.errors import UserError
from understudy.methods.shared.maps import BatchNorm
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.regressors import MeanOverPlaces
from understudy.taps import Pair, Tap


@dataclass(frozen=True)
class OFA(Term):
    """Exit heads on the student's stages answer, and these answers and its own learn from the teacher's logits.

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
    """

    pairs: tuple[str, ...]
    exponent: float = 1.0
    temperature: float = 1.0
    form: Literal["code", "paper"] = "code"

    def __post_init__(self) -> None:
        if isinstance(self.pairs, str) or not self.pairs:
            raise UserError("OFA: pairs must be a list of one pair at least, as in ['layer2 -> layer2']")
        self._taps()
        require_positive(self, exponent=self.exponent, temperature=self.temperature)
        if self.form not in ("code", "paper"):
            raise UserError(f"{self}: form is 'code' or 'paper', not {self.form!r}")

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True, teacher_logits=True, student_taps=self._taps())

    def build(self, shapes: Shapes) -> nn.Module:
        values = [shapes.student[tap] for tap in self._taps()]
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
        for head, tap in zip(owned, self._taps(), strict=True):
            value = value + self._one(head(reading.student[tap]), reading)
        return value

    def _one(self, logits: Tensor, reading: Reading) -> Tensor:
        return losses.ofa(
            logits,
            reading.teacher.logits,
            reading.labels,
            exponent=self.exponent,
            temperature=self.temperature,
            form=self.form,
        )

    def _taps(self) -> tuple[Tap, ...]:
        return tuple(Pair.parse(pair).student for pair in self.pairs)


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
    blocks = [block for inputs, outputs in pairwise(widths) for block in _halving(inputs, outputs)]
    return nn.Sequential(*blocks, MeanOverPlaces(), nn.Linear(width, classes))


def _halving(inputs: int, outputs: int) -> Iterator[nn.Module]:
    """Two separable convolutions, the first of stride 2."""
    for stride, wanted in ((2, inputs), (1, outputs)):
        yield nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False)
        yield nn.Conv2d(inputs, wanted, 1, bias=False)
        yield BatchNorm(wanted)
        yield nn.ReLU()
