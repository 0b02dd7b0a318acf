"""The mistakes of a recipe, collected and reported together, each with file, line and key."""

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from understudy.errors import UserError, did_you_mean, nearest
from understudy.printable import shown
from understudy.recipe.lines import Lines
from understudy.recipe.schema import Recipe


class Mistakes:
    """Collected mistakes of one recipe."""

    def __init__(self, source: str, lines: Lines, overridden: dict[tuple[str, ...], str]):
        self.source, self.lines = source, lines
        self.overridden = overridden  # keys of the command line, each with its option
        self.texts: dict[tuple[str, ...], str] = {}

    def add(self, path: Sequence[str], text: str) -> None:
        self.texts.setdefault(tuple(path), text)

    def raise_if_any(self) -> None:
        paths = [path for path in self.texts if not self._inherited(path)]
        if paths:
            raise UserError("\n".join(self._sentence(path) for path in sorted(paths, key=self._line)))

    def _inherited(self, path: tuple[str, ...]) -> bool:
        """A mistake that a config inherits from ``[train]`` is reported once."""
        return any(path[i] == "train" and i > 0 and path[i:] in self.texts for i in range(len(path)))

    def _line(self, path: tuple[str, ...]) -> int:
        return self.lines.of(path) or 0

    def _sentence(self, path: tuple[str, ...]) -> str:
        option = next((name for key, name in self.overridden.items() if path[: len(key)] == key), None)
        line = self.lines.of(path)
        place = option or (f"{self.source}:{line}" if line else self.source)
        return ": ".join([place, *([".".join(path)] if path else []), self.texts[path]])


def explained(entries: Iterable[Any]) -> dict[tuple[str, ...], str]:
    """Pydantic's errors by their paths in the recipe: of what is right in no form, one sentence names all forms.

    A form that the value is not meant to have says nothing: that a list is no word, where an entry of it is wrong.
    """
    texts: dict[tuple[str, ...], list[str]] = {}
    words = set()
    for entry in entries:
        path, text = explain(entry)
        texts.setdefault(tuple(path), []).append(text)
        if entry["type"] == "literal_error":
            words.add(tuple(path))
    deeper = {path for path in words if any(len(other) > len(path) and other[: len(path)] == path for other in texts)}
    return {path: _joined(told) for path, told in texts.items() if path not in deeper}


def _joined(texts: Sequence[str]) -> str:
    """
    >>> _joined(["Input should be a number (it is 'x')", "Input should be 'local' (it is 'x')"])
    "Input should be a number, or 'local' (it is 'x')"
    """
    *others, last = dict.fromkeys(texts)
    reasons = [text.rpartition(" (it is ")[0] or text for text in others]
    return ", or ".join([*reasons, last.removeprefix("Input should be ") if others else last])


def explain(entry: Any) -> tuple[list[str], str]:
    """A pydantic error as a path in the recipe and a sentence."""
    path, fields = _walk(entry["loc"])
    kind = entry["type"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        inside = _inside(path[-1], fields)
        return path, "unknown key" + (f"; did you mean {inside!r}?" if inside else did_you_mean(path[-1], list(fields)))
    if kind in ("missing", "missing_argument"):
        return path, "is missing"
    if kind == "union_tag_invalid":
        tags = [tag.strip().strip("'") for tag in entry["ctx"]["expected_tags"].split(",")]
        tag = entry["ctx"]["tag"]
        close = nearest(tag, tags, 1) or tags
        return [*path, "name"], f"there is no {shown(tag)}; did you mean {' or '.join(map(repr, close))}?"
    message = str(entry["msg"]).removeprefix("Value error, ")
    given = entry["input"]
    return path, message if isinstance(given, (dict, BaseModel)) else f"{message} (it is {shown(given)})"


def _inside(key: str, fields: Mapping[str, object]) -> str | None:
    """Where a table beside an unknown key has it, as ``optimizer.lr`` for ``lr``."""
    for name, hint in fields.items():
        if any(key in (_fields(member) or {}) for member in (hint, *typing.get_args(hint))):
            return f"{name}.{key}"
    return None


def _walk(location: Sequence[int | str]) -> tuple[list[str], Mapping[str, object]]:
    """The path in the recipe, without pydantic's names of union members, and the valid keys at its end."""
    kind: Any = Recipe
    path: list[str] = []
    known: Mapping[str, object] = {}
    for part in map(str, location):
        fields = _fields(kind)
        if fields is None and (member := _member(kind, part)) is not None:
            kind = member  # the chosen member of a union: not a key of the recipe
            continue
        path.append(part)
        known = fields or {}
        kind = (fields or {}).get(part, _item(kind))
    return path, known


def _fields(kind: Any) -> dict[str, object] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return typing.get_type_hints(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        names = {field.name for field in dataclasses.fields(kind)}
        return {name: hint for name, hint in typing.get_type_hints(kind).items() if name in names}
    members = [m for m in typing.get_args(kind) if m is not type(None)]
    return _fields(members[0]) if len(members) == 1 and typing.get_origin(kind) is not tuple else None


def _member(kind: Any, tag: str) -> Any:
    for member in typing.get_args(kind):
        if dataclasses.is_dataclass(member) and getattr(member, "name", None) == tag:
            return member
    if tag in ("int", "float", "str") or tag.startswith(("constrained-", "function-")):
        return object
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next((member for member in typing.get_args(kind) if tag.partition("[")[0] == _label(member)), None)
    return None


def _label(member: Any) -> str | None:
    """What pydantic calls a member of a union in a path, before any bracket."""
    labels: dict[Any, str] = {tuple: "tuple", bool: "bool", Literal: "literal", Mapping: "dict"}
    origin = typing.get_origin(member) or member
    return "dict" if origin is typing.get_origin(Mapping[str, object]) else labels.get(origin)


def _item(kind: Any) -> Any:
    arguments = typing.get_args(kind)
    if arguments and typing.get_origin(kind) is tuple:
        return arguments[0]
    mapping = typing.get_origin(kind) in (dict, Mapping, typing.get_origin(Mapping[str, object]))
    return arguments[-1] if arguments and mapping else Any
