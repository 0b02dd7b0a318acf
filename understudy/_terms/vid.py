"""Variational information distillation (Ahn et al., 2019)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy import losses
from understudy._losses._information import SMALLEST_VARIANCE, raw_of_variance
from understudy.errors import UserError
from understudy.methods.shared.maps import on_common_grid
from understudy.methods.shared.pairs import named_pairs, parsed, summed
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.regressors import Chain


@dataclass(frozen=True)
class VID(Term):
    """How likely the teacher's maps are, given the student's: Gaussian negative log-likelihood, summed over pairs.

    ``sum_pairs mean 1/2 ((t - mu(s))^2 / var_c + log var_c)``; see ``losses.vid``.

    Args:
        pairs: ``"teacher.tap -> student.tap"`` of maps; the larger map is averaged down to the smaller.
        variance: with which every channel begins (code and CRD's benchmark: 5).

    The mean mu is made by three 1x1 convolutions without bias, ReLUs between them, as wide as the teacher's map; these
    and the variances learn with the student. Weight 1 in CRD's benchmark.

    Reference: Ahn et al., "Variational information distillation for knowledge transfer", CVPR 2019.
    Differences: see the loss; the paper's regressors have batch norms and other widths, those here are the benchmark's.
    """

    pairs: tuple[str, ...]
    variance: float = 5.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", named_pairs(self, self.pairs))
        if self.variance <= SMALLEST_VARIANCE:
            raise UserError(f"VID: the first variance is above {SMALLEST_VARIANCE}, not {self.variance}")

    @property
    def reads(self) -> Reads:
        return Reads.pairs(parsed(self.pairs))

    def build(self, shapes: Shapes) -> nn.Module:
        values = [(shapes.student[pair.student], shapes.teacher[pair.teacher]) for pair in parsed(self.pairs)]
        return nn.ModuleList(Likelihood(_channels(own), _channels(other), self.variance) for own, other in values)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        return summed(
            likelihood(reading.student[pair.student], reading.teacher[pair.teacher])
            for pair, likelihood in zip(parsed(self.pairs), owned, strict=True)
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
        return losses.vid(self.mean(own), other, self.raw_variance)


def _channels(values: Tensor) -> int:
    if values.ndim != 4:
        raise UserError(f"VID reads maps (N, C, H, W), not {tuple(values.shape)}: tap another place")
    return values.shape[1]
