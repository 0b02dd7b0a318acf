"""Whether distillation helped: a difference of means against the spread over seeds, in words."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from understudy.tasks import Figure

Unit = Literal["share", ""]
NO_NUMBER = "no number"


@dataclass(frozen=True)
class Spread:
    """Several seeds' values: their mean and sample standard deviation (None for a single one).

    Example:
        >>> Spread((0.5, 0.7)).percent()
        '60.00 ± 14.14 %'
        >>> Spread((0.0512,)).text("")
        '0.0512'
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """To twelve digits: the rounding of a sum must not decide between equals, nor miss a bound that is met.

        >>> Spread((0.1, 0.2)).mean == Spread((0.15, 0.15)).mean == 0.15
        True
        """
        if len(self.values) == 1 or not self.finite:
            return sum(self.values) / len(self.values)
        return float(f"{statistics.fmean(self.values):.12g}")

    @property
    def sd(self) -> float | None:
        if len(self.values) < 2:
            return None
        return statistics.stdev(self.values) if self.finite else math.nan

    @property
    def median(self) -> float | None:
        """Of three values or more; of fewer it is their mean.

        >>> Spread((0.5, 0.9, 0.6)).median
        0.6
        """
        return statistics.median(self.values) if len(self.values) > 2 and self.finite else None

    @property
    def finite(self) -> bool:
        return all(map(math.isfinite, self.values))

    def text(self, unit: Unit = "share", digits: int = 2) -> str:
        """``"86.70 ± 0.31 %"`` of shares, four significant digits of other numbers."""
        if not self.finite:
            return NO_NUMBER
        if unit == "share":
            return self.percent(digits)
        return f"{self.mean:.4g}" if self.sd is None else f"{self.mean:.4g} ± {self.sd:.2g}"

    def percent(self, digits: int = 2) -> str:
        """``"86.70 ± 0.31 %"`` of shares."""
        if self.sd is None:
            return f"{100 * self.mean:.{digits}f} %"
        return f"{100 * self.mean:.{digits}f} ± {100 * self.sd:.{digits}f} %"


@dataclass(frozen=True)
class Verdict:
    """``beats`` and ``loses``: the two ranges mean ± standard deviation do not touch. Otherwise ``ties``."""

    verdict: Literal["beats", "ties", "loses", "unknown"]
    gain: float | None  # positive where it is better than alone; of shares in points, else in the figure's own unit
    spread: float | None  # both standard deviations together, in the same unit
    sentence: str


def judge(name: str, values: Sequence[float], baseline: Sequence[float], figure: Figure) -> Verdict:
    """The verdict on a method against the student trained alone at equal budget, by one figure of each seed."""
    ours, alone = Spread(tuple(values)), Spread(tuple(baseline))
    if not ours.finite or not alone.finite:
        whose = f"{name} has" if not ours.finite else "the student alone has"
        return Verdict("unknown", None, None, f"{whose} a seed whose {figure.title} is no number.")
    gain = figure.scale * figure.gain(ours.mean, alone.mean)
    if ours.sd is None or alone.sd is None:
        if not gain:
            return Verdict("unknown", gain, None, f"{name} is as good as the student alone, by one seed.")
        side = "better" if gain > 0 else "worse"
        text = f"{name} is {amount(abs(gain), figure)} {side} than the student alone; one seed cannot tell that "
        return Verdict("unknown", gain, None, f"{text}from luck.")
    spread = figure.scale * (ours.sd + alone.sd)
    seeds = f"over {len(ours.values)} seeds" if len(ours.values) == len(alone.values) else "over its seeds"
    if abs(gain) <= spread:
        if not gain:
            return Verdict("ties", gain, spread, f"{name} ties with the student alone: their means are equal, {seeds}.")
        sentence = f"{name} ties with the student alone: {'better' if gain > 0 else 'worse'} by "
        sentence += f"{amount(abs(gain), figure)}, within the spread of {_number(spread, figure)} {seeds}."
        return Verdict("ties", gain, spread, sentence)
    verdict: Literal["beats", "loses"] = "beats" if gain > 0 else "loses"
    against = "beats" if gain > 0 else "loses to"
    text = f"{name} {against} the student alone by {amount(abs(gain), figure)}, more than the spread of "
    return Verdict(verdict, gain, spread, f"{text}{_number(spread, figure)} {seeds}.")


def beside_teacher(name: str, values: Sequence[float], figure: Figure) -> Verdict:
    """The sentence on a method where no sample has a target: its first figure, which compares with the teacher.

    >>> beside_teacher("kd", [0.9, 0.92], Figure("agreement", "agreement with the teacher", unit="share")).sentence
    'kd: agreement with the teacher 91.00 ± 1.41 %. The data have no targets: what is right was not measured.'
    """
    ours = Spread(tuple(values))
    chance = "" if figure.chance is None else f" (chance: {figure.text(figure.chance)})"
    sentence = f"{name}: {figure.title} {ours.text(figure.unit)}{chance}. "
    return Verdict("unknown", None, None, f"{sentence}The data have no targets: what is right was not measured.")


def amount(gain: float, figure: Figure) -> str:
    """``"1.18 points of accuracy"``, ``"0.0123 of landmark error (lower is better)"``."""
    points = "points of " if figure.unit == "share" else "of "
    lower = " (lower is better)" if figure.better == "lower" else ""
    return f"{_number(gain, figure)} {points}{figure.title}{lower}"


def _number(value: float, figure: Figure) -> str:
    return f"{value:.2f}" if figure.unit == "share" else f"{value:.3g}"
