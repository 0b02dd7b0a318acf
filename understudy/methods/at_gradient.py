"""Labels, and the places to which the teacher's loss is sensitive: ``CE + 1000 AT``.

Settings:
    pair: a middle layer of both, or ``"input"``: the paper's is ``pair = "input"`` with ``form = "raw"`` and
        ``distance = "norm"``. It is not the default, since it costs whole backward passes of both networks.
    weight, distance: those of attention on activations. The paper's weight for gradients was not found.
    form, p: see ``GradientAT``.
    label_weight: of the cross-entropy.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import Interval
from understudy.errors import UserError
from understudy.methods.at import attention_transfer, gradient_attention
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import require_places
from understudy.nested import Nested
from understudy.objective.labels import cross_entropy
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.taps import Answer, Pair, Tap
from understudy.taps.forms import GRID, read

INPUT = "input"


@dataclass(frozen=True)
class GradientAT(Term):
    """Where the student's loss is sensitive, the teacher's is: attention made of gradients at one pair of taps.

    ``1/2 || Q_s / |Q_s|_2 - Q_t / |Q_t|_2 ||_2`` with ``Q = vec(sum_c |J_c|^p)`` and ``J = d CE / d value``

    Args:
        pair: ``"teacher.tap -> student.tap"``, places that are followed by nonlinear layers: where only
            an average and a linear layer follow, the gradient is the same at every place. ``"input"`` takes the
            gradient by the pictures that both are given, as the paper does.
        form: ``"maps"`` as above, for any channels and sizes; ``"raw"`` is the paper's ``1/2 || J_s - J_t ||_2``, for
            taps of one shape and the input.
        p: the power of the gradients in maps.
        distance: ``"norm"``, or ``"mean_squared"`` as the code of the activations has it.

    The student's gradient is differentiated once more, which costs about a second backward pass, and which networks
    compiled by ``torch.compile`` do not allow. With mixed labels the cross-entropy is that of the mixture.

    Reference: Zagoruyko, Komodakis, "Paying more attention to attention", ICLR 2017.
    Differences: the paper's is ``GradientAT("input", form="raw", distance="norm")``. At hidden taps neither channels
    nor scales agree,
    hence the normalised maps, of power 1, since gradients are small.

    >>> print(GradientAT("input", form="raw", distance="norm"))
    GradientAT(pair='input', form='raw', distance='norm')
    """

    pair: str
    form: Literal["maps", "raw"] = "maps"
    p: Annotated[float, Interval(ge=1, le=100)] = 1.0
    distance: Literal["norm", "mean_squared"] = "mean_squared"

    def __post_init__(self) -> None:
        if self.pair != INPUT:
            Pair.parse(self.pair)

    @property
    def reads(self) -> Reads:
        if self.pair == INPUT:
            return Reads(student_logits=True, teacher_logits=True, gradients=True, input_gradients=True, labels=True)
        pair = Pair.parse(self.pair)
        student, teacher = _as_it_is(pair.student), _as_it_is(pair.teacher)
        return Reads(True, True, (student,), (teacher,), gradients=True, labels=True)

    def build(self, shapes: Shapes) -> nn.Module | None:
        if self.pair != INPUT and self.form == "maps":
            pair = Pair.parse(self.pair)
            student, teacher = shapes.student[_as_it_is(pair.student)], shapes.teacher[_as_it_is(pair.teacher)]
            require_places(self, pair, _as_map(student, pair.student), _as_map(teacher, pair.teacher))
        return None

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        if self.pair == INPUT:
            own = _gradient(reading.student.logits, reading.inputs, reading.labels, "the input", differentiable=True)
            other = _gradient(reading.teacher.logits, reading.inputs, reading.labels, "the input", differentiable=False)
        else:
            pair = Pair.parse(self.pair)
            own = _at(pair.student, reading.student, reading.labels, differentiable=True)
            other = _at(pair.teacher, reading.teacher, reading.labels, differentiable=False)
        if self.form == "raw":
            return gradient_attention(own, other, distance=self.distance)
        return attention_transfer(own, other, p=self.p, distance=self.distance)


def _as_it_is(tap: Tap) -> Tap:
    """The tap without a grid: the network goes on with the value itself, not with a copy that is laid out."""
    return replace(tap, form="") if tap.form.startswith(GRID) else tap


def _as_map(value: Tensor, tap: Tap) -> Tensor:
    return read(value, tap.form) if tap.form.startswith(GRID) else value


def _at(tap: Tap, answer: Answer, labels: Tensor, *, differentiable: bool) -> Tensor:
    """The gradient at a tap, in the tap's form."""
    value = answer[_as_it_is(tap)]
    return _as_map(_gradient(answer.logits, value, labels, f"tap {str(tap)!r}", differentiable=differentiable), tap)


def _gradient(logits: Tensor, value: Nested | None, labels: Tensor, place: str, *, differentiable: bool) -> Tensor:
    """The gradient of the sum over samples, which does not depend on the batch size; the graph is kept."""
    loss = cross_entropy(logits, labels).sum()
    gradient = None
    if isinstance(value, Tensor) and value.requires_grad and loss.requires_grad:
        (gradient,) = torch.autograd.grad(
            loss, value, retain_graph=True, create_graph=differentiable, allow_unused=True
        )
    if gradient is None:
        raise UserError(f"no gradient of the cross-entropy reaches {place}: tap a place after the first layer")
    return gradient


METHOD = one_stage(
    "at-gradient",
    GradientAT,
    stage="labels and gradients",
    family="features",
    year=2017,
    paper="Zagoruyko and Komodakis, Paying more attention to attention, section 3.2",
    weight=1000.0,
    label_weight=1.0,
    proposed_by={"pair": "pair of maps"},
)
