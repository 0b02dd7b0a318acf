"""Feature maps that correlate with the teacher's, channel by channel: ``CE + weight * sum_pairs (1 - r)``.

Each channel is normalised to mean 0 and variance 1 over the batch and its places, in both networks, so that the sizes
of features do not count: half the squared distance of what is left is 1 minus Pearson's correlation.

Reference: Cao et al., "PKD: General distillation framework for object detectors via Pearson correlation coefficient",
NeurIPS 2022. The weight of 6 for each map is that of the configurations for detectors in MMRazor, on the maps of the
feature pyramid.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy.methods.method import one_stage
from understudy.methods.shared.maps import difference, require_maps
from understudy.methods.shared.pairs import PairsTerm, summed
from understudy.objective.term import Reading, Reads, Shapes
from understudy.precision import wide
from understudy.taps.regressors import regressor


def pearson(student: Tensor, teacher: Tensor) -> Tensor:
    """Half the squared distance of feature maps whose channels are normalised over the batch, one value per sample.

    ``1/2 mean_chw (norm(s) - norm(t))^2``, ``norm(x) = (x - mean_nhw x) / std_nhw x``; its mean over the batch is the
    mean over the channels of ``1 - r``, r Pearson's correlation

    Args:
        student, teacher: (N, C, H, W), of one shape.

    Weight in the objective: 6 for each map of the pyramid, in MMRazor's configurations for detectors.
    Reference: Cao et al., "PKD: General distillation framework for object detectors via Pearson correlation
    coefficient", NeurIPS 2022.
    Differences: none known to MMRazor's code, whose standard deviation is that of a sample, too.

    >>> import torch
    >>> teacher = torch.rand(2, 3, 4, 4)
    >>> pearson(2 * teacher + 1, teacher).allclose(torch.zeros(2), atol=1e-4)
    True
    """
    return 0.5 * difference(_normalised(student), _normalised(teacher)).square().flatten(1).mean(1)


def _normalised(x: Tensor) -> Tensor:
    x = wide(x)
    centred = x - x.mean((0, 2, 3), keepdim=True)
    if x.numel() == x.shape[1]:  # a single value for each channel has no deviation
        return centred
    return centred / (x.std((0, 2, 3), keepdim=True) + 1e-6)


@dataclass(frozen=True)
class PKD(PairsTerm):
    """The student's maps against the teacher's, each channel normalised, summed over pairs; see ``losses.pearson``.

    Args:
        pairs: ``"teacher.tap -> student.tap"`` of maps; of detectors those of the pyramid, ``"neck.0 -> neck.0"``.

    Where channels or sizes differ, a regressor brings the student's map to the teacher's; the authors' networks have
    pyramids with as many channels, and only resize.

    >>> print(6.0 * PKD("neck.0 -> neck.0"))
    6 * PKD(pairs=('neck.0 -> neck.0',))
    """

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def build(self, shapes: Shapes) -> nn.Module:
        built = []
        for student, teacher in self.traced(shapes):
            require_maps(self, student, teacher)
            built.append(regressor(student, teacher) or nn.Identity())
        return nn.ModuleList(built)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        pairs = zip(owned, self.values(reading), strict=True)
        return summed(pearson(brought(student), teacher) for brought, (student, teacher) in pairs)


METHOD = one_stage(
    "pkd",
    PKD,
    stage="labels and correlations",
    weight=6.0,
    family="features",
    year=2022,
    paper="Cao et al., PKD: General distillation framework for object detectors via Pearson correlation coefficient",
)
