"""Values from the command line, and values under dotted keys."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import JsonValue

from understudy.errors import UserError
from understudy.printable import shown

DEEPEST = 20  # parts of a dotted key, and tables within tables; a recipe has six
_DOTTED = re.compile(rf"(?<![\w-])(?:[\w-]++\s*+\.\s*+){{{DEEPEST}}}")  # a key of so many parts is slow to parse
LARGEST_FILE = 1_000_000  # bytes of a recipe; one of a hundred methods has 20,000


def table_of(text: str) -> dict[str, Any]:
    """Parse a TOML text within the limits of size and depth of a recipe.

    A ``UserError`` for what no recipe can be; a ``tomllib.TOMLDecodeError`` for what is not TOML.
    """
    if len(text) > LARGEST_FILE:
        raise UserError(f"it has {len(text):,} characters, and a recipe has at most {LARGEST_FILE:,}")
    if _DOTTED.search(text):
        raise UserError(f"a key has more than {DEEPEST} parts")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise UserError("a number in it has more digits than Python reads") from error
    except RecursionError as error:
        raise UserError(f"it is nested deeper than {DEEPEST} levels") from error
    _look_through(table)
    return table


def _look_through(value: Any, depth: int = 0) -> None:
    if depth > DEEPEST:
        raise UserError(f"it is nested deeper than {DEEPEST} levels")
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            _look_through(inner, depth + 1)


def override(raw: dict[str, object], override: str) -> tuple[str, ...]:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {shown(override)}: write key=value, as in --set train.epochs=10")
    path = tuple(part.strip() for part in key.split("."))
    if len(path) > DEEPEST:
        raise UserError(f"--set {shown(override)}: no key of a recipe has more than {DEEPEST} parts")
    try:
        chosen = table_of(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        chosen = value.strip()
    except UserError as error:
        raise UserError(f"--set {shown(override)}: {error}") from error
    try:
        assign(raw, path, chosen)
    except UserError as error:
        raise UserError(f"--set {shown(override)}: {error}") from error
    return path


def assign(raw: dict[str, object], path: Sequence[str], value: object) -> None:
    """Set the value of a key, and create the tables that are missing."""
    table: dict[str, object] | list[object] = raw
    for part in path[:-1]:
        if isinstance(table, dict):
            table.setdefault(part, {})
        inner = within(table, part)
        if not isinstance(inner, (dict, list)):
            raise UserError(f"{shown(part)} is a value, not a table")
        table = inner
    if isinstance(table, list):
        raise UserError(f"{path[-2]!r} is a list of tables: name a key of one of them")
    table[path[-1]] = value


def join_keys(raw: dict[str, object]) -> None:
    """Keys of ``[tune.search]`` without quotes are parsed as tables. This turns them into keys again."""
    tune = raw.get("tune")
    search = tune.get("search") if isinstance(tune, dict) else None
    if isinstance(tune, dict) and isinstance(search, dict):
        tune["search"] = dict(_joined(search))


def _joined(table: dict[str, object], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _joined(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def within(value: object, part: str) -> object:
    if isinstance(value, list) and part.isdecimal() and len(part) < 10 and int(part) < len(value):
        return value[int(part)]
    return value.get(part) if isinstance(value, dict) else None


def without_nones(value: JsonValue) -> JsonValue:
    """The same without the keys of tables that hold None."""
    if isinstance(value, dict):
        return {key: without_nones(v) for key, v in value.items() if v is not None}
    return [without_nones(v) for v in value] if isinstance(value, list) else value
