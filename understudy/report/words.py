"""Numbers as people read them."""

from collections.abc import Mapping
from html import escape as escape
from typing import Any

from understudy.measure import Spread

NONE = "–"  # noqa: RUF001 - an en dash, for a figure that is not there
TIMES = "×"  # noqa: RUF001


def percent(share: float | None, digits: int = 2) -> str:
    return NONE if share is None else f"{100 * share:.{digits}f} %"


def spread(found: Spread | None) -> str:
    return NONE if found is None else found.percent()


def count(number: float | None) -> str:
    return NONE if number is None else f"{number:,.0f}"


def short(number: float | None) -> str:
    """``"2.36 M"``."""
    if number is None:
        return NONE
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if abs(number) >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.3g}"


def memory(size: float | None) -> str:
    if size is None:
        return NONE
    return f"{size / 1e6:.2f} MB" if size >= 1e6 else f"{size / 1e3:.1f} KB"


def milliseconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def seconds(value: float | None) -> str:
    if value is None:
        return NONE
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def ratio(teacher: float | None, student: float | None, less: str, more: str) -> tuple[str, str] | None:
    """How many times ``less`` (or ``more``) the student needs: ``("13.4×", "smaller")``."""
    if not teacher or not student:
        return None
    times, word = (teacher / student, less) if teacher >= student else (student / teacher, more)
    digits = 0 if times >= 100 else 1
    return f"{times:.{digits}f}{TIMES}", word


def plural(number: int, word: str) -> str:
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def first_word(network: str) -> str:
    """A network's name without its settings."""
    return network.split(",")[0].rsplit(":", 1)[-1]


def each_teacher(result: Mapping[str, Any]) -> dict[str, Any]:
    """Every teacher's figures, and of several those of all together."""
    several = result.get("teachers") or {}
    together = {"teachers together" if several else "teacher": result["teacher"]} if result["teacher"] else {}
    return {**several, **together}
