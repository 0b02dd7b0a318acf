"""Labels, and maps that make the teacher's likely: ``CE + VID``.

Reference: Ahn et al., "Variational information distillation for knowledge transfer", CVPR 2019.
Weight: 1 is that of CRD's benchmark, with the likelihood averaged over elements.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import LARGEST, Interval
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import on_common_grid, require_same_shape
from understudy.methods.shared.pairs import PairsTerm, summed
from understudy.objective.term import Reading, Shapes
from understudy.precision import wide
from understudy.taps.modules import Chain

SMALLEST_VARIANCE = 1e-5


def vid(mean: Tensor, teacher: Tensor, raw_variance: Tensor, *, smallest: float = SMALLEST_VARIANCE) -> Tensor:
    """Variational information distillation: Gaussian negative log-likelihood of the teacher, one value per sample.

    ``mean 1/2 ((t - mu)^2 / var_c + log var_c)`` over all elements, with ``var_c = softplus(raw_c) + smallest``

    Args:
        mean: mu, what a regressor makes of the student's features, (N, C, ...).
        teacher: t, features of the same shape.
        raw_variance: one learned parameter per channel (C), shared by all samples and places; it learns with the
            regressor. CRD's benchmark starts it at a variance of 5: ``raw_of_variance(5)``.
        smallest: what keeps the variance from zero (CRD's benchmark: 1e-5).

    CRD's benchmark weighs it by 1, averaged over elements and batch. It may be negative, and at equal features it is
    ``1/2 mean log var_c``.

    Reference: Ahn et al., "Variational information distillation for knowledge transfer", CVPR 2019.
    Differences: the paper sums over elements, CRD's benchmark (after the authors' code) averages as here; the constant
    ``1/2 log 2 pi`` is left out.

    >>> vid(torch.zeros(1, 2), torch.ones(1, 2), torch.full((2,), raw_of_variance(1.0)))
    tensor([0.5000])
    """
    require_same_shape(mean, teacher)
    if raw_variance.shape != teacher.shape[1:2]:
        raise UserError(
            f"the variance {tuple(raw_variance.shape)} is not one value for each channel of {tuple(teacher.shape)}"
        )
    variance = F.softplus(wide(raw_variance)) + smallest
    variance = variance.reshape(-1, *[1] * (teacher.ndim - 2))
    surprise = (wide(teacher) - wide(mean)).square() / variance + variance.log()
    return 0.5 * surprise.flatten(1).mean(1)


def raw_of_variance(variance: float, *, smallest: float = SMALLEST_VARIANCE) -> float:
    """The raw parameter whose softplus, plus ``smallest``, is this variance.

    >>> round(raw_of_variance(5.0), 3)
    4.993
    """
    return math.log(math.expm1(variance - smallest))


@dataclass(frozen=True)
class VID(PairsTerm):
    """How likely the teacher's maps are, given the student's: Gaussian negative log-likelihood, summed over pairs.

    ``sum_pairs mean 1/2 ((t - mu(s))^2 / var_c + log var_c)``; see ``losses.vid``.

    Args:
        pairs: ``"teacher.tap -> student.tap"`` of maps; the larger map is averaged down to the smaller.
        variance: with which every channel begins (code and CRD's benchmark: 5).

    The mean mu is made by three 1x1 convolutions without bias, ReLUs between them, as wide as the teacher's map; these
    and the variances learn with the student. Weight 1 in CRD's benchmark.

    Differences: see the loss; the paper's regressors have batch norms and other widths, those here are the benchmark's.

    >>> print(VID(["layer1 -> layer1", "layer2 -> layer2"]))
    VID(pairs=('layer1 -> layer1', 'layer2 -> layer2'))
    """

    variance: Annotated[float, Interval(gt=SMALLEST_VARIANCE, le=LARGEST)] = 5.0

    def build(self, shapes: Shapes) -> nn.Module:
        return nn.ModuleList(
            Likelihood(_channels(student), _channels(teacher), self.variance)
            for student, teacher in self.traced(shapes)
        )

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        return summed(
            likelihood(student, teacher)
            for likelihood, (student, teacher) in zip(owned, self.values(reading), strict=True)
        )


class Likelihood(nn.Module):
    """The mean that a student's map makes likely, and the variances of the teacher's channels."""

    def __init__(self, inputs: int, outputs: int, variance: float):
        super().__init__()
        self.mean = Chain(
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 1, bias=False),
        )
        self.raw_variance = nn.Parameter(torch.full((outputs,), raw_of_variance(variance)))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        own, other = on_common_grid(student, teacher)
        return vid(self.mean(own), other, self.raw_variance)


def _channels(values: Tensor) -> int:
    if values.ndim != 4:
        raise UserError(f"VID reads maps (N, C, H, W), not {tuple(values.shape)}: tap another place")
    return values.shape[1]


METHOD = one_stage(
    "vid",
    VID,
    stage="labels and maps",
    weight=1.0,
    label_weight=1.0,
    family="features",
    year=2019,
    paper="Ahn et al., Variational information distillation for knowledge transfer",
)
