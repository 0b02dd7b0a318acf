"""Masked generative distillation (Yang et al., 2022)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from understudy import losses
from understudy._losses._channels import masked
from understudy.errors import UserError
from understudy.methods.shared.maps import require_maps
from understudy.methods.shared.pairs import PairTerm
from understudy.objective.term import Reading, Shapes
from understudy.regressors import Regressor, regressor


@dataclass(frozen=True)
class MGD(PairTerm):
    """A generator rebuilds the teacher's whole map from the student's masked one; see ``losses.mgd``.

    ``sum (t - G(m * r(s)))^2``, G two 3x3 convolutions with a ReLU between them

    Args:
        pair: of maps.
        ratio: the part that is masked (code: 0.15 for classification; 0.65 of the places in detection).
        mask: whole ``"channels"`` (code, classification) or ``"places"`` (paper; code, detection).
        regressor: r, where the shapes differ: the code's 1x1 convolution, with a resize where the sizes differ too.

    Differences: none known to the authors' code. The mask is drawn anew for every batch, from torch's generator.
    """

    ratio: float = 0.15
    mask: Literal["channels", "places"] = "channels"
    regressor: Regressor = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.ratio < 1:
            raise UserError(f"{self}: ratio must be from 0 to below 1, not {self.ratio}")
        if self.mask not in ("channels", "places"):
            raise UserError(f"{self}: mask is 'channels' or 'places', not {self.mask!r}")

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
        return losses.mgd(owned.generate(masked(aligned, drawn, ratio=self.ratio)), teacher)


class _Generator(nn.Module):
    def __init__(self, align: nn.Module | None, channels: int):
        super().__init__()
        self.align = align or nn.Identity()
        self.generate = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
