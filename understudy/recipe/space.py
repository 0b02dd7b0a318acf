"""The notation of the values of one setting in a search: ``1..20``, ``1e-4..0.1 log``, ``{1, 2, 5}``."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from understudy.bounds import LARGEST
from understudy.errors import UserError
from understudy.printable import shown

_RANGE = re.compile(r"^(?P<low>\S+?)\s*\.\.\s*(?P<high>\S+)(?:\s+(?P<log>log)|\s+step\s+(?P<step>\S+))?$")
_WRITE = "write a range as 1..20, 0.05..1 step 0.05 or 1e-4..0.1 log, or choices as {1, 2, 5, 10}"

MOST_STEPS = 1_000_000

Number = int | float


@dataclass(frozen=True)
class Range:
    """A range from ``low`` to ``high``, both included; ``whole`` where only whole numbers are valid."""

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None
    whole: bool = False

    @property
    def probes(self) -> Sequence[Number]:
        return self.low, self.high

    def of_whole_numbers(self) -> "Range":
        """The range for a setting that takes whole numbers only."""
        step = self.step if self.step is None else int(self.step)
        return replace(self, low=int(self.low), high=int(self.high), step=step, whole=True)

    def tidy(self, value: Number) -> Number:
        """The value, rounded to few digits, within the range."""
        if self.whole:
            return int(value)
        if self.step is not None:
            return float(f"{self.low + round((value - self.low) / self.step) * self.step:.12g}")
        return min(max(float(f"{value:.5g}"), self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """One of these."""

    values: tuple[Number, ...]

    @property
    def probes(self) -> Sequence[Number]:
        return self.values

    def tidy(self, value: Number) -> Number:
        return value


Space = Range | Choice


def read_space(text: str) -> Space:
    """Parse ``text``, or raise a ``UserError`` that shows the notation."""
    text = text.strip()
    if text.startswith("{") and text.endswith("}"):
        return _choice(text)
    match = _RANGE.match(text)
    if match is None:
        raise UserError(f"{shown(text)} is no space: {_WRITE}")
    low, high = _number(match["low"], text), _number(match["high"], text)
    space = Range(low, high, match["log"] is not None, _number(match["step"], text) if match["step"] else None)
    if low >= high:
        raise UserError(f"{shown(text)}: a range goes from a smaller number to a larger one")
    if space.log and low <= 0:
        raise UserError(f"{shown(text)}: a range in logarithms begins above 0")
    if space.step is not None and not _leads(space.step, high - low):
        raise UserError(f"{shown(text)}: steps of {space.step} do not lead from {low} to {high}")
    return space


def _choice(text: str) -> Choice:
    members = [member.strip() for member in text[1:-1].split(",")]
    values = tuple(_number(member, text) for member in members)
    if len(set(values)) != len(values) or len(values) < 2:
        raise UserError(f"{shown(text)}: choices are two numbers or more, each once")
    return Choice(values)


def _number(text: str, whole: str) -> Number:
    try:
        value: Number = int(text)
    except ValueError:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
    if not abs(value) <= LARGEST:  # NaN, too
        raise UserError(f"{shown(whole)}: {shown(text)} is no number from -{LARGEST:g} to {LARGEST:g}; {_WRITE}")
    return value


def _leads(step: Number, way: Number) -> bool:
    return step > 0 and way / step < MOST_STEPS and abs(way / step - round(way / step)) < 1e-9 * max(1.0, way / step)
