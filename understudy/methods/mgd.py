"""The teacher's last map, generated from the student's masked one: ``CE + 7e-5 MGD``.

Reference: Yang et al., "Masked generative distillation", ECCV 2022.
Weight: 7e-5, and 15 % of the channels masked, are those of the authors' code for ImageNet. The loss is a sum over the
elements, so a small last map makes it small: there the weight may be several times larger.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from understudy.bounds import ShareBelowOne
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import difference, require_maps
from understudy.methods.shared.pairs import MapsTerm
from understudy.objective.term import Reading, Reads, Shapes
from understudy.taps.regressors import Regressor, regressor


def mgd(generated: Tensor, teacher: Tensor) -> Tensor:
    """Masked generative distillation: squared distance of a map generated from masked features, one value per sample.

    ``sum (t - G(m * s))^2`` over all elements

    Args:
        generated: what the generator (two 3x3 convolutions with a ReLU between them) makes of the student's map with
            a part of it masked, see ``masked``, (N, C, H, W).
        teacher: its whole map, of the same shape.

    The code's weight is 7e-5 (classification, last map) and 2e-5 (detection, all maps of the neck), summed over
    elements and averaged over the batch.

    Reference: Yang et al., "Masked generative distillation", ECCV 2022.
    Differences: none known to the authors' code.

    >>> mgd(torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2))
    tensor([12.])
    """
    return difference(generated, teacher).square().flatten(1).sum(1)


def masked(student: Tensor, drawn: Tensor, *, ratio: float = 0.15) -> Tensor:
    """The student's map with a part of it set to zero: where ``drawn < ratio``.

    Args:
        student: (N, C, H, W).
        drawn: uniform in [0, 1): (N, C, 1, 1) masks whole channels, as the code does for classification; (N, 1, H, W)
            masks places, as the paper does and the code for detection.
        ratio: the part that is masked (code: 0.15 of the channels for classification, 0.65 of the places in detection).

    >>> masked(torch.ones(1, 2, 1, 1), torch.tensor([0.1, 0.9]).reshape(1, 2, 1, 1), ratio=0.5).flatten()
    tensor([0., 1.])
    """
    shape = tuple(student.shape)
    if tuple(drawn.shape) not in ((*shape[:2], 1, 1), (shape[0], 1, *shape[2:])):
        raise UserError(f"numbers drawn as {tuple(drawn.shape)} mask neither the channels nor the places of {shape}")
    return student * (drawn >= ratio).to(student.dtype)


@dataclass(frozen=True)
class MGD(MapsTerm):
    """A generator rebuilds the teacher's whole map from the student's masked one; see ``losses.mgd``.

    ``sum (t - G(m * r(s)))^2``, G two 3x3 convolutions with a ReLU between them

    Args:
        maps: the pair of last maps.
        ratio: the part that is masked (code: 0.15 for classification; 0.65 of the places in detection).
        mask: whole ``"channels"`` (code, classification) or ``"places"`` (paper; code, detection).
        regressor: r, where the shapes differ: the code's 1x1 convolution, with a resize where the sizes differ too.

    Differences: none known to the authors' code. The mask is drawn anew for every batch, from PyTorch's generator.

    >>> print(7e-5 * MGD("layer3 -> layer3", ratio=0.65, mask="places"))
    7e-05 * MGD(maps='layer3 -> layer3', ratio=0.65, mask='places')
    """

    ratio: ShareBelowOne = 0.15
    mask: Literal["channels", "places"] = "channels"
    regressor: Regressor = "linear"

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)  # masks are drawn for the whole batch

    def build(self, shapes: Shapes) -> nn.Module:
        student, teacher = self.traced(shapes)
        require_maps(self, teacher)
        same = student.shape == teacher.shape
        align = None if same else regressor(student, teacher, kind=self.regressor)
        return _Generator(align, teacher.shape[1]).to(student.dtype)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, _Generator)
        student, teacher = self.values(reading)
        aligned: Tensor = owned.align(student)
        batch, channels, height, width = aligned.shape
        shape = (batch, channels, 1, 1) if self.mask == "channels" else (batch, 1, height, width)
        drawn = torch.rand(shape, device=aligned.device)
        return mgd(owned.generate(masked(aligned, drawn, ratio=self.ratio)), teacher)


class _Generator(nn.Module):
    def __init__(self, align: nn.Module | None, channels: int):
        super().__init__()
        self.align = align or nn.Identity()
        self.generate = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )


METHOD = one_stage(
    "mgd",
    MGD,
    stage="labels and generation",
    weight=7e-5,
    family="features",
    year=2022,
    paper="Yang et al., Masked generative distillation",
)
