"""Learning schedules as functions of time: ``factor(epoch, epochs)`` multiplies the optimizer's rate.

A warm-up below 1 is a share of the whole time, from 1 on it counts epochs; it is never longer than half of the time.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from understudy.bounds import STRICT, ByName, Mark, PositiveShare, Share, ShareBetween


def _span(warmup: float, epochs: int) -> float:
    """The warm-up in epochs."""
    return min(warmup * epochs if warmup < 1 else warmup, epochs / 2)


def _warm(epoch: float, warmup: float, epochs: int) -> float:
    span = _span(warmup, epochs)
    return min(1.0, epoch / span) if span > 0 else 1.0


@dataclass(frozen=True)
class Cosine:
    """Down along half a cosine to ``floor`` of the rate, after a linear warm-up.

    >>> Cosine(warmup=2).warmup
    2
    """

    name: Literal["cosine"] = "cosine"
    warmup: Mark = 1.0
    floor: Share = 0.0
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def factor(self, epoch: float, epochs: int) -> float:
        span = _span(self.warmup, epochs)
        if epoch < span:
            return epoch / span
        share = (epoch - span) / (epochs - span)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class OneCycle:
    """Up from ``start`` to the full rate at ``peak`` of the time, then down to ``end``, along cosines (Smith, 2018).

    >>> OneCycle(peak=0.25).peak
    0.25
    """

    name: Literal["one-cycle"] = "one-cycle"
    peak: ShareBetween = 0.3
    start: PositiveShare = 0.04
    end: Share = 1e-4
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def factor(self, epoch: float, epochs: int) -> float:
        share = epoch / epochs
        if share < self.peak:
            return _along_cosine(self.start, 1.0, share / self.peak)
        return _along_cosine(1.0, self.end, (share - self.peak) / (1 - self.peak))


@dataclass(frozen=True)
class Step:
    """Multiplied by ``by`` at each of the epochs ``at`` (or shares of the whole time, where they are below 1).

    >>> Step(at=(0.5, 0.75), by=0.1).at
    (0.5, 0.75)
    """

    name: Literal["step"] = "step"
    at: tuple[Mark, ...] = (0.5, 0.75)
    by: ShareBetween = 0.1
    warmup: Mark = 0.0
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def factor(self, epoch: float, epochs: int) -> float:
        passed = sum(epoch >= (mark * epochs if mark < 1 else mark) for mark in self.at)
        return _warm(epoch, self.warmup, epochs) * float(self.by**passed)


@dataclass(frozen=True)
class Linear:
    """Down in a straight line to ``end`` of the rate, after a linear warm-up.

    >>> Linear(end=0.1).end
    0.1
    """

    name: Literal["linear"] = "linear"
    end: Share = 0.0
    warmup: Mark = 0.0
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def factor(self, epoch: float, epochs: int) -> float:
        return _warm(epoch, self.warmup, epochs) * (1 + (self.end - 1) * min(1.0, epoch / epochs))


@dataclass(frozen=True)
class Constant:
    """The same rate all along, after a linear warm-up.

    >>> Constant().warmup
    0.0
    """

    name: Literal["constant"] = "constant"
    warmup: Mark = 0.0
    __pydantic_config__: ClassVar[dict[str, str]] = STRICT

    def factor(self, epoch: float, epochs: int) -> float:
        return _warm(epoch, self.warmup, epochs)


Schedule = Annotated[Cosine | OneCycle | Step | Linear | Constant, ByName()]


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
