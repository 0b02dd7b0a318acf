"""Logits and maps that correlate with the teacher's: ``CE + DIST + maps`` (DIST+, 2025).

``CE + weight DIST + maps_weight (channels (1 - r over the channels) + places (1 - r over the samples))``

Reference: Huang, You, Wang, Qian, Xu, "DIST+: knowledge distillation from a stronger adaptive teacher", TPAMI 2025.
Weights, temperature: 1 everywhere, the defaults of torchdistill 1.1.5, from which the formulas are; its configuration
for ResNet-18 from ResNet-34 has 2 for beta and gamma, and 2 for the whole beside the labels. Neither the
paper's text nor code of the authors with this part was at hand; its abstract names DIST on logits and on features, and
an acclimation of the teacher, which is not here.
Differences: torchdistill adds the correlation over the channels itself, so that agreement would be punished; here it is
``1 - r``, as the correlation over the samples is there and both are in DIST.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy.bounds import NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.methods.dist import DIST, uncorrelated
from understudy.methods.method import Method
from understudy.methods.shared.maps import require_maps, require_same_shape
from understudy.methods.shared.pairs import MapsTerm
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Shapes
from understudy.precision import wide
from understudy.taps.regressors import regressor


def dist_maps(student: Tensor, teacher: Tensor, *, channels: float = 1.0, places: float = 1.0) -> Tensor:
    """DIST on maps: they need only correlate with the teacher's, over channels and over the batch; per sample.

    ``channels mean_hw (1 - r(s_nhw, t_nhw)) + places mean_hw (1 - r(S_hw, T_hw))``, r Pearson's correlation, s_nhw the
    channels at a place of a sample, S_hw the sums over the channels at a place, of all samples

    The mean over the batch is the loss; the shares of the samples are those of ``dist``.

    Args:
        student, teacher: maps of one shape, (N, C, H, W); the second part needs a batch of more than one.
        channels: weight over the channels at each place.
        places: weight over the samples at each place.

    Weight in the objective: 1 beside ``dist``, in torchdistill 1.1.5.
    Reference: Huang, You, Wang, Qian, Xu, "DIST+: knowledge distillation from a stronger adaptive teacher", TPAMI 2025,
    as in torchdistill.
    Differences: torchdistill minimises ``channels r`` in the first part.

    >>> maps = torch.arange(16.0).reshape(2, 2, 2, 2) ** 2
    >>> dist_maps(maps, maps)
    tensor([0., 0.])
    """
    require_same_shape(student, teacher)
    own, other = wide(student).flatten(2), wide(teacher).flatten(2)
    value = channels * uncorrelated(own, other, dim=1).sum(1).mean(1)
    return value + places * len(own) * uncorrelated(own.sum(1), other.sum(1), dim=0).mean(1)


@dataclass(frozen=True)
class DISTMaps(MapsTerm):
    """The last maps need only correlate with the teacher's; see ``losses.dist_maps``.

    Args:
        maps: the pair of last maps; a regressor joins them where their shapes differ.
        channels: weight of the correlation over the channels at each place.
        places: weight of the correlation over the samples at each place, for which it takes a batch of several.

    >>> print(DISTMaps("layer3 -> layer3", places=0.5))
    DISTMaps(maps='layer3 -> layer3', places=0.5)
    """

    channels: NonNegative = 1.0
    places: NonNegative = 1.0

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=self.places > 0)

    def build(self, shapes: Shapes) -> nn.Module | None:
        student, teacher = self.traced(shapes)
        require_maps(self, student, teacher)
        return regressor(student, teacher)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        own = student if owned is None else owned(student)
        return dist_maps(own, teacher, channels=self.channels, places=self.places)


def _stages(
    config: TrainConfig,
    term: DISTMaps,
    *,
    weight: NonNegative = 1.0,
    maps_weight: NonNegative = 1.0,
    beta: NonNegative = 1.0,
    gamma: NonNegative = 1.0,
    temperature: Temperature = 1.0,
) -> list[Stage]:
    soft = weight * DIST(beta, gamma, temperature)
    return [Stage("labels and correlations of logits and maps", CE() + soft + maps_weight * term, config)]


METHOD = Method(
    "dist-plus",
    _stages,
    term=DISTMaps,
    family="features",
    year=2025,
    paper="Huang et al., DIST+: knowledge distillation from a stronger adaptive teacher",
)
