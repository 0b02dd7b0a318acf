"""Text from files and people as it is shown: nothing in it steers a terminal, and a value has a bounded length."""

import unicodedata
from collections.abc import Sequence

VALUE = 80  # characters of a value that a message repeats
WORD, LINE, LINES = 300, 2_000, 60  # of a message: the longest run without a space, the longest line, the most lines
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control characters, marks of direction, lone surrogates, separators


def printable(text: str) -> str:
    """A text that cannot steer a terminal: control characters and marks of direction are shown as escapes.

    >>> printable("a" + chr(27) + "[2Jb" + chr(0x202E) + "c")
    'a\\\\x1b[2Jb\\\\u202ec'
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_escaped, text))


def shown(value: object, limit: int = VALUE) -> str:
    """A value as a message repeats it: its ``repr``, with the middle left out where it is long.

    >>> shown("a" * 1000, limit=9)
    "'aa...aa'"
    """
    if isinstance(value, int) and value.bit_length() > 10_000:  # Python refuses to write it down
        return f"a whole number of about {int(value.bit_length() * 0.30103)} digits"
    if isinstance(value, str) and len(value) > limit:
        value = value[:limit] + value[-limit:]  # what stands between is never shown
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number or a nesting too large to be written down
        text = f"a {type(value).__name__}"
    return printable(_shortened(text, limit))


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many there are besides.

    >>> some(["conv1", "bn1", "conv2", "bn2"])
    'conv1, bn1, conv2 and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def message(text: str) -> str:
    """A message without what could steer a terminal, and of a bounded length.

    >>> len(message("no such file: " + "x" * 100_000)) < 400
    True
    """
    lines = printable(text).split("\n")
    if len(lines) > LINES:
        lines = [*lines[:LINES], f"... and {len(lines) - LINES} more lines"]
    return "\n".join(_shortened(" ".join(_shortened(word, WORD) for word in line.split(" ")), LINE) for line in lines)


def _shortened(text: str, limit: int) -> str:
    half = (limit - 3) // 2
    return text if len(text) <= limit else f"{text[: limit - 3 - half]}...{text[-half:]}"


def _escaped(letter: str) -> str:
    if letter in "\n\t" or unicodedata.category(letter) not in _INVISIBLE:
        return letter
    return letter.encode("unicode_escape").decode("ascii")
