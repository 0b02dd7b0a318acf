"""Class activation maps, averaged down to 2x2: ``CE + 8 CAT``.

Settings:
    maps: the pair of last maps.
    heads: the pair of classifiers; their weights make the class activation maps.
    weight: with maps of length 1 (unlike architectures) the authors' is 15 to 600 by pair, 80 from WRN-40-2 to
        ShuffleNetV1, at a rate of 0.01; at 0.1 those 80 drown the labels, and 8 makes steps of the same size. Without
        that length it is 0.7 to 15, at 0.05.
    resolution: of the maps compared, 2 or 4.
    normalize: bring each map to length 1. The paper does, its code does not where architectures are alike.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Pixels
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.heads import HeadsTerm, TeachersHead
from understudy.methods.shared.maps import feature_mse, require_same_channels
from understudy.methods.shared.relations import unit
from understudy.objective.term import Reading
from understudy.precision import wide


def cat_kd(student: Tensor, teacher: Tensor, *, resolution: int = 2, normalize: bool = True) -> Tensor:
    """Class attention transfer: squared difference of pooled class activation maps, one value per sample.

    ``mean (N(pool(t)) - N(pool(s)))^2`` over classes and places, N scaling each class's map to unit length

    Args:
        student, teacher: class activation maps (N, classes, H, W), of any sizes; see ``class_activation_maps``.
        resolution: height and width that both are averaged down to (code: 2 or 4).
        normalize: scale each map to unit length. The paper does; the code's configurations do so for unlike
            architectures and for training by this loss alone, and not for like ones.

    The code's weights beta, averaged over everything: scaled 15 (VGG-13 to MobileNetV2), 40 (ResNet-50 to MobileNetV2),
    80 (WRN-40-2 to ShuffleNetV1), 600 (ResNet-32x4 to both ShuffleNets), 10 (ImageNet, ResNet-50 to MobileNet) and 50
    (this loss alone); not scaled 0.7 (ResNet-56 to 20), 15 (ResNet-32x4 to 8x4) and 0.5 (ImageNet, ResNet-34 to 18).
    Its resolution is 4 for the ShuffleNets and from ResNet-34 to 18, and 2 elsewhere.

    Reference: Guo et al., "Class attention transfer based knowledge distillation", CVPR 2023.
    Differences: none to the authors' code, which takes the mean over classes and positions.

    >>> maps = torch.arange(8.0).reshape(1, 2, 2, 2)
    >>> cat_kd(maps, maps)
    tensor([0.])
    """
    require_same_channels(student, teacher)
    return feature_mse(_pooled(student, resolution, normalize), _pooled(teacher, resolution, normalize))


def class_activation_maps(features: Tensor, weight: Tensor) -> Tensor:
    """Each class's evidence at each place: features (N, C, H, W) by a classifier's weight (classes, C)."""
    return torch.einsum("nchw,kc->nkhw", features, weight.to(features.dtype))


def _pooled(maps: Tensor, resolution: int, normalize: bool) -> Tensor:
    if maps.ndim != 4:
        raise UserError(f"class activation maps are (N, classes, H, W), not {tuple(maps.shape)}")
    pooled = F.adaptive_avg_pool2d(wide(maps), resolution).flatten(2)
    return unit(pooled) if normalize else pooled


@dataclass(frozen=True)
class CATKD(HeadsTerm):
    """Which places speak for which class: both networks' class activation maps compared; see ``losses.cat_kd``.

    ``mean (N(pool(t)) - N(pool(s)))^2``, t and s each classifier's weights times the last maps

    Args:
        maps: the pair of last maps before they are pooled.
        heads: the pair of classifiers: linear layers (or 1x1 convolutions) right after the pooling. Nothing is read
            there but their weights: the teacher's as they are at the start, the student's as they are now.
        resolution: height and width that the maps are averaged down to (code: 2 or 4).
        normalize: scale each class's map to unit length (paper, and the code for unlike architectures).

    Differences: as in the loss. Where a classifier does not answer from the mean of the map (a norm or a class token
    stands between), that is no part of the class activation maps, and a remark says so.

    >>> print(CATKD("layer3 -> layer3", "fc -> fc"))
    CATKD(maps='layer3 -> layer3', heads='fc -> fc')
    """

    subject: ClassVar[str] = "its class activation maps"

    resolution: Pixels = 2
    normalize: bool = True

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, TeachersHead)
        student, teacher = self.maps_of(reading)
        own = class_activation_maps(student, self.students_head(reading)[0])
        return cat_kd(
            own,
            class_activation_maps(teacher, owned.weight),
            resolution=self.resolution,
            normalize=self.normalize,
        )


METHOD = one_stage(
    "cat-kd",
    CATKD,
    stage="labels and class attention",
    family="features",
    year=2023,
    paper="Guo et al., Class attention transfer based knowledge distillation",
    weight=8.0,
)
