"""Numbers as text, and text from files in a form that is safe for a terminal."""

from collections.abc import Mapping

from understudy.measure import Spread, Unit

NONE = "–"  # noqa: RUF001 - an en dash for a missing figure
TIMES = "×"  # noqa: RUF001


def percent(share: float | None, digits: int = 2) -> str:
    return NONE if share is None else f"{100 * share:.{digits}f} %"


def value(number: float | None, unit: Unit = "share") -> str:
    """One value of a figure.

    >>> value(0.8671), value(0.05123, "")
    ('86.71 %', '0.05123')
    """
    return NONE if number is None else Spread((number,)).text(unit)


def spread(values: Spread | None, unit: Unit = "share") -> str:
    return NONE if values is None else values.text(unit)


def count(number: float | None) -> str:
    return NONE if number is None else f"{number:,.0f}"


def short(number: float | None) -> str:
    """A large number in short form.

    >>> short(2_358_000)
    '2.36 M'
    """
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
    """The ratio of costs, and the word ``less`` or ``more``.

    >>> ratio(10.0, 2.0, "smaller", "larger")
    ('5.0×', 'smaller')
    """
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


def facts(entries: Mapping[str, object]) -> dict[str, str]:
    """Keys and values as text; those that are empty are left out."""
    return {str(key): str(entry) for key, entry in entries.items() if entry}
