"""Weights that change: ``KD() * linear(4, 1, epochs=150)``, ``auto(0.5) * Hint("a -> b")``."""

from dataclasses import dataclass

from understudy import bounds
from understudy.bounds import Mark, NonNegative, Positive


def plain(number: float) -> str:
    """A number in as few digits as give it back.

    >>> plain(4.0), plain(1 / 3)
    ('4', '0.3333333333333333')
    """
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


@dataclass(frozen=True)
class linear:  # noqa: N801 - read as a function: linear(4, 1, epochs=150)
    """From ``start`` to ``end`` in a straight line over ``epochs``, after ``delay`` epochs at ``start``.

    >>> linear(4, 1, epochs=10).at(5)
    2.5
    """

    start: NonNegative
    end: NonNegative
    epochs: Positive
    delay: Mark = 0.0

    def __post_init__(self) -> None:
        bounds.check(self, "linear")

    def at(self, epoch: float) -> float:
        share = min(1.0, max(0.0, (epoch - self.delay) / self.epochs))
        return self.start + (self.end - self.start) * share

    def __str__(self) -> str:
        delay = f", delay={plain(self.delay)}" if self.delay else ""
        return f"linear({plain(self.start)}, {plain(self.end)}, epochs={plain(self.epochs)}{delay})"


@dataclass(frozen=True)
class step:  # noqa: N801
    """``before`` until ``epoch``, ``after`` from then on (warm-up of a term, or its end).

    >>> step(0, 1, epoch=3).at(2), step(0, 1, epoch=3).at(3)
    (0, 1)
    """

    before: NonNegative
    after: NonNegative
    epoch: Mark

    def __post_init__(self) -> None:
        bounds.check(self, "step")

    def at(self, epoch: float) -> float:
        return self.before if epoch < self.epoch else self.after

    def __str__(self) -> str:
        return f"step({plain(self.before)}, {plain(self.after)}, epoch={plain(self.epoch)})"


@dataclass(frozen=True)
class auto:  # noqa: N801
    """A weight without tuning: scales the term so that its gradient on the student is ``size`` times the first term's.

    The sizes of gradients are measured every few steps, as a running mean.

    >>> from understudy.terms import CE, KD
    >>> print(CE() + KD() * auto())
    CE() + auto() * KD()
    """

    size: NonNegative = 1.0

    def __post_init__(self) -> None:
        bounds.check(self, "auto")

    def __str__(self) -> str:
        return "auto()" if self.size == 1 else f"auto({plain(self.size)})"


SCHEDULES = {"linear": linear, "step": step}
WEIGHTS = {**SCHEDULES, "auto": auto}
