"""Values that stand elsewhere than at their own line: given on the command line, or under dotted keys."""

import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import JsonValue

from understudy.errors import UserError


def override(raw: dict[str, object], override: str) -> tuple[str, ...]:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override!r}: write key=value, as in --set train.epochs=10")
    path = tuple(part.strip() for part in key.split("."))
    try:
        chosen = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        chosen = value.strip()
    try:
        assign(raw, path, chosen)
    except UserError as error:
        raise UserError(f"--set {override!r}: {error}") from error
    return path


def assign(raw: dict[str, object], path: Sequence[str], value: object) -> None:
    """Put a value at a key, through tables that may yet be missing."""
    table: dict[str, object] | list[object] = raw
    for part in path[:-1]:
        if isinstance(table, dict):
            table.setdefault(part, {})
        inner = within(table, part)
        if not isinstance(inner, (dict, list)):
            raise UserError(f"{part!r} is a value, not a table")
        table = inner
    if isinstance(table, list):
        raise UserError(f"{path[-2]!r} is a list of tables: name a key of one of them")
    table[path[-1]] = value


def join_keys(raw: dict[str, object]) -> None:
    """Keys of ``[tune.search]`` may stand without quotes, which makes tables of them: here they are keys again."""
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
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    return value.get(part) if isinstance(value, dict) else None


def without_nones(value: JsonValue) -> JsonValue:
    """The same without the keys of tables that hold None."""
    if isinstance(value, dict):
        return {key: without_nones(v) for key, v in value.items() if v is not None}
    return [without_nones(v) for v in value] if isinstance(value, list) else value
