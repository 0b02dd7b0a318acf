"""Labels, and attention maps of several layers as the teacher has them: ``CE + 1000 AT``.

Settings:
    pairs: one for each group of blocks.
    weight, distance: the authors' code (and CRD's benchmark) has 1000 of the mean squared difference. The paper
        writes ``"norm"``, with beta = 1000 / (places * batch), about 0.1, summed over the batch.
    p, reduce: of the attention maps; the paper compares powers 1, 2 and 4, and the sum with the maximum.
    label_weight: of the cross-entropy.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import Interval
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import difference, on_common_grid, require_known, require_places
from understudy.methods.shared.pairs import named_pairs, parsed, summed
from understudy.methods.shared.relations import unit
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.precision import wide

Reduce = Literal["sum", "mean", "max"]


Distance = Literal["norm", "mean_squared"]


def attention_transfer(
    student: Tensor,
    teacher: Tensor,
    *,
    p: float = 2.0,
    reduce: Reduce = "sum",
    distance: Distance = "norm",
) -> Tensor:
    """Activation-based attention transfer: distance of two normalised attention maps, one value per sample.

    ``1/2 || Q_s / |Q_s|_2 - Q_t / |Q_t|_2 ||_2`` with ``Q = vec(sum_c |A_c|^p)``

    Args:
        student, teacher: maps (N, C, H, W); the channels need not agree, the larger grid is averaged down to the
            smaller one.
        p: the power of the activations (paper: 2 in its tables; 1 and 4 compared).
        reduce: over channels: the paper's ``sum`` and ``max``, and the code's ``mean`` (which equals ``sum``, for
            the maps are normalised).
        distance: ``"norm"`` is the paper's; ``"mean_squared"`` its code's: the squared difference averaged over the
            places, without 1/2.

    The paper's weight of ``norm`` is beta = 1e3 / (places * batch), about 0.1, summed over the batch, one loss for each
    group of blocks; the code's (and CRD's benchmark's) weight of ``mean_squared`` is 1000, averaged over the batch.

    Reference: Zagoruyko, Komodakis, "Paying more attention to attention: improving the performance of convolutional
    neural networks via attention transfer", ICLR 2017.
    Differences: paper and code differ as ``distance`` says. Where the grids differ the paper interpolates the attention
    maps; here, as in later code, the activations are averaged.

    >>> student, teacher = torch.ones(1, 2, 1, 2), torch.eye(2).reshape(1, 2, 1, 2)
    >>> attention_transfer(student, teacher)
    tensor([0.])
    """
    own, other = on_common_grid(student, teacher)
    gap = _normalised(attention_map(other, p=p, reduce=reduce)) - _normalised(attention_map(own, p=p, reduce=reduce))
    return _length(gap, distance)


def gradient_attention(student_gradient: Tensor, teacher_gradient: Tensor, *, distance: Distance = "norm") -> Tensor:
    """Gradient-based attention transfer: distance of the losses' gradients by the input, one value per sample.

    ``1/2 || J_s - J_t ||_2`` with ``J = d L(W, x) / d x``

    Args:
        student_gradient, teacher_gradient: of each network's own cross-entropy by the input, (N, ...), of one shape.
            The student's must be differentiable itself (``torch.autograd.grad(..., create_graph=True)``), and both
            are taken of the SUM over samples: of a mean they would shrink with the batch.
        distance: ``"norm"`` is the paper's; ``"mean_squared"`` the mean squared difference, as in the activation-based
            form of its code.

    The paper's weight is beta / 2 as for the activations; its value for gradients was not found. The paper's symmetry
    under a horizontal flip is this loss between J(x) and the flipped J(flip x) of the student alone.

    Reference: Zagoruyko, Komodakis, "Paying more attention to attention", ICLR 2017.
    Differences: none known; the authors' code of this part was not released.

    >>> gradient_attention(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
    tensor([2.5000])
    """
    return _length(difference(student_gradient, teacher_gradient).flatten(1), distance)


def attention_map(activations: Tensor, *, p: float = 2.0, reduce: Reduce = "sum") -> Tensor:
    """Where the activations (N, C, ...) are strong: ``sum_c |A_c|^p``, or the mean or maximum, as (N, places)."""
    require_known("reduce", reduce, ("sum", "mean", "max"))
    powers = wide(activations).abs().pow(p).flatten(2)
    if reduce == "max":
        return powers.amax(1)
    return powers.mean(1) if reduce == "mean" else powers.sum(1)


def _normalised(rows: Tensor) -> Tensor:
    return unit(rows)


def _length(gap: Tensor, distance: Distance) -> Tensor:
    require_known("distance", distance, ("norm", "mean_squared"))
    if distance == "mean_squared":
        return gap.square().mean(1)
    length: Tensor = torch.linalg.vector_norm(gap, dim=1)
    return 0.5 * length


@dataclass(frozen=True)
class AT(Term):
    """Where the student's maps are strong, the teacher's are: attention transfer, summed over pairs of maps.

    ``sum_pairs 1/2 || Q_s / |Q_s|_2 - Q_t / |Q_t|_2 ||_2`` with ``Q = vec(sum_c |A_c|^p)``; see
    ``losses.attention_transfer`` for what paper and code call it, and for their weights.

    Args:
        pairs: ``"teacher.tap -> student.tap"``, one for each group of blocks. Channels and sizes need not agree.
        p, reduce: the power of the activations, and how channels become one map (paper: 2 and the sum).
        distance: ``"norm"`` is the paper's, ``"mean_squared"`` that of its code (and of CRD's benchmark), weight 1000.

    Reference: Zagoruyko, Komodakis, "Paying more attention to attention", ICLR 2017.

    >>> print(AT("layer3 -> layer3", p=1.0))
    AT(pairs=('layer3 -> layer3',), p=1.0)
    """

    pairs: tuple[str, ...]
    p: Annotated[float, Interval(ge=1, le=100)] = 2.0
    reduce: Literal["sum", "mean", "max"] = "sum"
    distance: Literal["norm", "mean_squared"] = "mean_squared"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", named_pairs(self, self.pairs))

    @property
    def reads(self) -> Reads:
        return Reads.pairs(parsed(self.pairs))

    def build(self, shapes: Shapes) -> nn.Module | None:
        for pair in parsed(self.pairs):
            require_places(self, pair, shapes.student[pair.student], shapes.teacher[pair.teacher])
        return None

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return summed(
            attention_transfer(
                reading.student[pair.student],
                reading.teacher[pair.teacher],
                p=self.p,
                reduce=self.reduce,
                distance=self.distance,
            )
            for pair in parsed(self.pairs)
        )


METHOD = one_stage(
    "at",
    AT,
    stage="labels and attention",
    family="features",
    year=2017,
    paper="Zagoruyko and Komodakis, Paying more attention to attention",
    weight=1000.0,
    label_weight=1.0,
)
