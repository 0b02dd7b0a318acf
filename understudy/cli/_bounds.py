"""Bounds in the notation of the command line: 3ms, 2MB, 90%."""

import re
from decimal import Decimal
from typing import TYPE_CHECKING

import typer

from understudy.bounds import LARGEST
from understudy.printable import shown

if TYPE_CHECKING:
    from understudy.measure import Budget
    from understudy.tasks import Figure

_WRITTEN = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-zµ%]*)\s*", re.IGNORECASE)
# Decimal: a value that is equal to its bound is allowed, and in floating point 57 * 0.01 is more than 0.57.
_Units = dict[str, Decimal | int]
_MILLISECONDS: _Units = {"": 1, "ms": 1, "s": 1000, "us": Decimal("0.001"), "µs": Decimal("0.001")}
_BYTES: _Units = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SHARES: _Units = {"": Decimal("0.01"), "%": Decimal("0.01")}
_NUMBERS: _Units = {"": 1}


def not_nan(number: float | None) -> float | None:
    """The number in an option. NaN is refused, because no comparison excludes it."""
    if number is not None and number != number:
        raise typer.BadParameter("nan is no number")
    return number


def budget(latency: str | None, size: str | None) -> "Budget":
    """The bounds of what a student may cost."""
    from understudy.measure import Budget

    most = _value("--max-latency", size_of=latency, units=_MILLISECONDS, example="3ms")
    held = _value("--max-size", size_of=size, units=_BYTES, example="2MB")
    return Budget(most, None if held is None else int(held))


def value(reach: str | None, figure: "Figure") -> float | None:
    """The value that the first figure must reach. Shares are written in percent."""
    share = figure.unit == "share"
    bound = _value("--reach", size_of=reach, units=_SHARES if share else _NUMBERS, example="90" if share else "0.05")
    if bound is None or not share:
        return bound
    if 0 < bound < 0.01 and "%" not in str(reach):  # a share in place of percent
        raise typer.BadParameter(f"{reach}: write it in percent, as in 90", param_hint="--reach")
    if bound > 1:
        raise typer.BadParameter(f"{reach}: {figure.title} is at most 100 %", param_hint="--reach")
    return bound


def _value(option: str, *, size_of: str | None, units: _Units, example: str) -> float | None:
    if size_of is None:
        return None
    written = _WRITTEN.fullmatch(size_of)
    if written is None or written[2].lower() not in units:
        known = ", ".join(unit for unit in units if unit)
        raise typer.BadParameter(
            f"{shown(size_of)}: write a number and a unit ({known}), as in {example}", param_hint=option
        )
    number, unit = Decimal(written[1]), units[written[2].lower()]
    if number > Decimal(LARGEST * LARGEST) / unit:
        raise typer.BadParameter(f"{shown(size_of)} is too large a number", param_hint=option)
    return float(number * unit)
