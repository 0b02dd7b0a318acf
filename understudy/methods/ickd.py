"""Which channels of the last map go together: ``CE + 2.5 ICKD``.

Reference: Liu et al., "Exploring inter-channel correlation for diversity-preserved knowledge distillation", ICCV 2021.
Weight: 2.5 in the authors' code.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import BatchNorm, products, require_maps, require_same_channels
from understudy.methods.shared.pairs import MapsTerm
from understudy.methods.shared.relations import unit
from understudy.objective.term import Reading, Shapes


def ickd(student: Tensor, teacher: Tensor) -> Tensor:
    """Inter-channel correlation: squared distance of the normalised channel-by-channel products, one value per sample.

    ``1/C || N(t t^T) - N(s s^T) ||^2`` with maps as (C, H W) and N scaling each row to unit length

    Args:
        student, teacher: maps (N, C, H, W) with the same channels (a 1x1 convolution and batch norm before the
            student's); their sizes need not agree.

    The authors' code weighs it by 2.5 on the last map, beside cross-entropy, averaged over the batch.

    Reference: Liu et al., "Exploring inter-channel correlation for diversity-preserved knowledge distillation",
    ICCV 2021.
    Differences: none to the authors' code for CIFAR, which divides the sum over the matrix by C and averages over the
    batch; what the paper divides by was not checked. The grid-level variant for segmentation (products within patches)
    is this loss on the patches.

    >>> import torch
    >>> student, teacher = torch.ones(1, 2, 1, 2), torch.eye(2).reshape(1, 2, 1, 2)
    >>> ickd(student, teacher)
    tensor([0.5858])
    """
    require_same_channels(student, teacher)
    return (_correlations(teacher) - _correlations(student)).square().sum(2).mean(1)


@dataclass(frozen=True)
class ICKD(MapsTerm):
    """Which channels go together: squared distance of their normalised products; see ``losses.ickd``.

    ``1/C || N(t t^T) - N(r(s) r(s)^T) ||^2``, N scaling each row to length 1

    Args:
        maps: the pair of last maps; their sizes need not agree.
        embed: whether r, a 1x1 convolution with batch norm, stands after the student's map: where the channels differ
            (None), or always (the authors' code).

    Differences: as in the loss; where the channels agree, nothing is put between by default.

    >>> print(2.5 * ICKD("layer3 -> layer3"))
    2.5 * ICKD(maps='layer3 -> layer3')
    """

    embed: bool | None = None

    def build(self, shapes: Shapes) -> nn.Module | None:
        student, teacher = self.traced(shapes)
        require_maps(self, student, teacher)
        channels, wanted = student.shape[1], teacher.shape[1]
        if self.embed is False and channels != wanted:
            raise UserError(f"{self}: {channels} channels are not comparable with {wanted}: leave out embed=False")
        if channels == wanted and not self.embed:
            return None
        return nn.Sequential(nn.Conv2d(channels, wanted, 1, bias=False), BatchNorm(wanted)).to(student.dtype)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        return ickd(student if owned is None else owned(student), teacher)


def _correlations(values: Tensor) -> Tensor:
    rows = values.flatten(2)
    return unit(products(rows, rows))


METHOD = one_stage(
    "ickd",
    ICKD,
    stage="labels and channels",
    weight=2.5,
    family="features",
    year=2021,
    paper="Liu et al., Exploring inter-channel correlation for diversity-preserved knowledge distillation",
)
