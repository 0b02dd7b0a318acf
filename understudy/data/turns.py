"""Turns of clouds of points about the vertical axis, as functions of (seed, epoch, sample id)."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from understudy import randomness
from understudy.bounds import STRICT, Interval, ShareBelowOne
from understudy.randomness import Number
from understudy.tasks.task import Turns


@dataclass(frozen=True)
class Turn:
    """Clouds of points are turned about the vertical axis, mirrored and scaled, and their boxes move with them.

    Args:
        angle: the largest angle in degrees, in both directions.
        mirror: half of the samples are mirrored along x, and half along y.
        scale: a factor between ``1 - scale`` and ``1 + scale``.

    >>> print(Turn(angle=45.0))
    Turn(angle=45.0, mirror=True, scale=0.05)
    """

    angle: Annotated[float, Interval(ge=0, le=180)] = 22.5
    mirror: bool = True
    scale: ShareBelowOne = 0.05

    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def drawn(self, seed: int, epoch: Number, ids: Tensor, device: torch.device) -> Turns:
        """The turns of these samples, whose numbers are on the CPU, so that no device is waited for.

        Sine and cosine are rounded from float64, so that they are the same at any place of a batch.
        """
        angle, scale = (2 * randomness.uniform(seed, epoch, ids, f"turn/{what}") - 1 for what in ("angle", "scale"))
        radians = angle.double() * math.radians(self.angle)
        cosine, sine = radians.cos(), radians.sin()
        matrix = torch.stack((torch.stack((cosine, -sine), 1), torch.stack((sine, cosine), 1)), 1)
        if self.mirror:
            drawn = [randomness.uniform(seed, epoch, ids, f"turn/{axis}") < 0.5 for axis in "xy"]
            signs = torch.stack([1.0 - 2.0 * one.double() for one in drawn], 1)
            matrix = matrix * signs.unsqueeze(1)  # mirrored first, then turned
        return Turns(
            matrix.float().to(device, non_blocking=True), (1 + self.scale * scale).to(device, non_blocking=True)
        )
