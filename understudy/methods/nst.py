"""Labels, and channels' patterns distributed as the teacher's: ``CE + 50 MMD^2``.

Reference: Huang, Wang, "Like what you like: knowledge distill via neuron selectivity transfer", 2017.
Weight: 50 on the last map alone is a choice of this library. CRD's benchmark adds up three maps under 50; the paper
has lambda / 2 at the last map, with lambda 50 (linear, polynomial) or 100 (Gaussian): give ``weight = 25`` for it.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import Finite, Interval, Positive
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import on_common_grid, products, require_known, require_places
from understudy.methods.shared.pairs import MapsTerm
from understudy.methods.shared.relations import unit
from understudy.objective.term import Reading, Shapes

Kernel = Literal["linear", "polynomial", "gaussian"]
SMALLEST_VARIANCE = 1e-12


def nst(
    student: Tensor,
    teacher: Tensor,
    *,
    kernel: Kernel = "polynomial",
    degree: int = 2,
    offset: float = 0.0,
    variance: float | None = None,
    teacher_term: bool = True,
) -> Tensor:
    """Neuron selectivity transfer: squared maximum mean discrepancy of the channels' patterns, one value per sample.

    ``mean_ij k(t_i, t_j) + mean_ij k(s_i, s_j) - 2 mean_ij k(t_i, s_j)``, where each row is a channel's map of unit
    length, and ``k(x, y)`` is ``x.y``, ``(x.y + c)^d`` or ``exp(-|x - y|^2 / 2 sigma^2)``

    Args:
        student, teacher: maps (N, C, H, W); the channels need not agree, the larger grid is averaged down.
        kernel: the paper's three.
        degree, offset: d and c of the polynomial kernel (paper: 2 and 0).
        variance: sigma^2 of the Gaussian kernel; None takes each sample's mean squared distance between the teacher's
            and the student's patterns, as a constant without gradient.
        teacher_term: keep the part of the teacher alone, which has no gradient: with it the minimum is zero.

    The paper's weight is lambda / 2 with lambda 50 (linear, polynomial) and 100 (Gaussian), at the last map, averaged
    over the batch; CRD's benchmark takes 50 without the half, of the sum over the ends of three stages.

    Reference: Huang, Wang, "Like what you like: knowledge distill via neuron selectivity transfer", 2017.
    Differences: the authors' code has the polynomial kernel only and leaves the teacher's own term out. The paper
    sets sigma^2 to the mean squared distance of the pairs.

    >>> student, teacher = torch.eye(2).reshape(1, 2, 1, 2), torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    >>> nst(student, teacher)
    tensor([0.5000])
    """
    require_known("kernel", kernel, ("linear", "polynomial", "gaussian"))
    own, other = (unit(values.flatten(2)) for values in on_common_grid(student, teacher))
    sigma2 = _variance(own, other, variance)

    def mean_kernel(rows: Tensor, columns: Tensor) -> Tensor:
        dots = products(rows, columns)
        if kernel == "polynomial":
            dots = (dots + offset) ** degree
        elif kernel == "gaussian":
            dots = torch.exp(-_squared_distances(rows, columns, dots) / (2 * sigma2))
        return dots.mean((1, 2))

    value = mean_kernel(own, own) - 2 * mean_kernel(other, own)
    return value + mean_kernel(other, other) if teacher_term else value


@dataclass(frozen=True)
class NST(MapsTerm):
    """The student's channels select such places as the teacher's do: squared maximum mean discrepancy of patterns.

    ``mean_ij k(t_i, t_j) + mean_ij k(s_i, s_j) - 2 mean_ij k(t_i, s_j)``; see ``losses.nst``.

    Args:
        maps: the pair of last maps; channels and sizes need not agree.
        kernel, degree, offset: the paper's three kernels, of which it prefers the polynomial one; the polynomial's d
            and c are its 2 and 0.
        variance: of the Gaussian kernel; None measures it.

    >>> print(50.0 * NST("layer3 -> layer3", kernel="linear"))
    50 * NST(maps='layer3 -> layer3', kernel='linear')
    """

    kernel: Kernel = "polynomial"
    degree: Annotated[int, Interval(ge=1, le=100)] = 2
    offset: Finite = 0.0
    variance: Positive | None = None

    def build(self, shapes: Shapes) -> nn.Module | None:
        require_places(self, self.taps, *self.traced(shapes))
        return None

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return nst(
            *self.values(reading),
            kernel=self.kernel,
            degree=self.degree,
            offset=self.offset,
            variance=self.variance,
        )


def _variance(own: Tensor, other: Tensor, given: float | None) -> Tensor | float:
    if given is not None:
        return given
    rows, columns = own.detach(), other.detach()
    distances = _squared_distances(rows, columns, products(rows, columns))
    return distances.mean((1, 2), keepdim=True).clamp_min(SMALLEST_VARIANCE)


def _squared_distances(rows: Tensor, columns: Tensor, dots: Tensor) -> Tensor:
    # a dead channel's pattern has length zero, not one, so the lengths are computed
    return rows.square().sum(2).unsqueeze(2) + columns.square().sum(2).unsqueeze(1) - 2 * dots


METHOD = one_stage(
    "nst",
    NST,
    stage="labels and patterns",
    weight=50.0,
    label_weight=1.0,
    family="features",
    year=2017,
    paper="Huang and Wang, Like what you like: knowledge distill via neuron selectivity transfer",
)
