"""From a TOML file to a checked recipe; all mistakes are reported together, each with file, line and key."""

import dataclasses
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from understudy import methods
from understudy.errors import UserError, did_you_mean, nearest
from understudy.proposals import PLACEHOLDERS, PROPOSALS
from understudy.recipe.lines import Lines
from understudy.recipe.schema import NetworkTable, PathTable, Recipe, TeacherTable
from understudy.training.course import Course
from understudy.training.settings import CHOOSABLE

HowSettings = Literal["auto", "plain"] | None

# What stands in a method's table beside its own settings.
OF_ALL_METHODS = ("method", "train", "seeds", "balance", "assistants")


class Mistakes:
    """Collected mistakes of one recipe."""

    def __init__(self, source: str, lines: Lines, overridden: dict[tuple[str, ...], str]):
        self.source, self.lines = source, lines
        self.overridden = overridden  # keys that came from the command line, each with its option
        self.found: dict[tuple[str, ...], str] = {}

    def add(self, path: Sequence[str], text: str) -> None:
        self.found.setdefault(tuple(path), text)

    def raise_if_any(self) -> None:
        own = [path for path in self.found if not self._inherited(path)]
        if own:
            raise UserError("\n".join(self._sentence(path) for path in sorted(own, key=self._line)))

    def _inherited(self, path: tuple[str, ...]) -> bool:
        """A course that takes over a mistake from ``[train]`` need not say it again."""
        return any(path[i] == "train" and i > 0 and path[i:] in self.found for i in range(len(path)))

    def _line(self, path: tuple[str, ...]) -> int:
        return self.lines.of(path) or 0

    def _sentence(self, path: tuple[str, ...]) -> str:
        option = next((name for key, name in self.overridden.items() if path[: len(key)] == key), None)
        line = self.lines.of(path)
        place = option or (f"{self.source}:{line}" if line else self.source)
        return ": ".join([place, *([".".join(path)] if path else []), self.found[path]])


def read(path: Path, overrides: Sequence[str] = (), *, settings: HowSettings = None) -> Recipe:
    """The recipe in a file, with ``key=value`` overrides on top.

    Args:
        settings: ``"auto"`` leaves those that the recipe does not say to be measured, ``"plain"`` does not. By default
            they are measured where the recipe has no table of settings.
    """
    return parse(text_of(path), str(path), overrides, settings=settings)


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(f"cannot read the recipe {path}: {reason}") from error


def parse(text: str, source: str = "recipe", overrides: Sequence[str] = (), *, settings: HowSettings = None) -> Recipe:
    return check(*load(text, source, overrides), settings=settings)


def load(text: str, source: str, overrides: Sequence[str]) -> tuple[dict[str, Any], Mistakes]:
    """What is written, with what was said on the command line; nothing is checked yet."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source}: not valid TOML: {error}") from error
    overridden = {_override(raw, override): "--set" for override in overrides}
    _join_keys(raw)
    return raw, Mistakes(source, Lines(text), overridden)


def check(raw: dict[str, Any], mistakes: Mistakes, *, settings: HowSettings = None) -> Recipe:
    """The recipe, or all its mistakes; ``raw`` is used up."""
    _resolve_courses(raw)
    _resolve_methods(raw, mistakes)
    _resolve_settings(raw, settings, mistakes)
    _check_views(raw, mistakes)
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        for entry in error.errors():
            path, text_ = _explain(entry)
            mistakes.add(path, text_)
        mistakes.raise_if_any()
        raise AssertionError("an invalid recipe without a mistake") from error
    mistakes.raise_if_any()
    _check_combinations(recipe, mistakes)
    mistakes.raise_if_any()
    return recipe


def write(recipe: Recipe) -> str:
    """The resolved recipe, complete, as TOML. Reading it again gives the same recipe."""
    plain = without_nones(recipe.model_dump(mode="json"))
    if not plain["teachers"]:
        del plain["teachers"]
    for method in plain["methods"].values():
        if not method["assistants"]:
            del method["assistants"]
    for learning in _learnings(plain):
        learning.update(learning.pop("settings"))
    return tomli_w.dumps(plain)


def _learnings(plain: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every table that says how a network learns."""
    for method in plain["methods"].values():
        yield method
        if method.get("assistants", "auto") != "auto":
            yield from (assistant["learns"] for assistant in method["assistants"] if "learns" in assistant)
    if "learns" in plain.get("path", {}):
        yield plain["path"]["learns"]


def _override(raw: dict[str, Any], override: str) -> tuple[str, ...]:
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


def assign(raw: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Put a value at a key, through tables that may yet be missing."""
    table: Any = raw
    for part in path[:-1]:
        if isinstance(table, dict):
            table.setdefault(part, {})
        table = _within(table, part)
        if not isinstance(table, (dict, list)):
            raise UserError(f"{part!r} is a value, not a table")
    if isinstance(table, list):
        raise UserError(f"{path[-2]!r} is a list of tables: name a key of one of them")
    table[path[-1]] = value


def _join_keys(raw: dict[str, Any]) -> None:
    """Keys of ``[tune.search]`` may stand without quotes, which makes tables of them: here they are keys again."""
    search = raw["tune"].get("search") if isinstance(raw.get("tune"), dict) else None
    if isinstance(search, dict):
        raw["tune"]["search"] = dict(_joined(search))


def _joined(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _joined(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _resolve_courses(raw: dict[str, Any]) -> None:
    """``train`` of the teacher and of each method says only what differs from ``[train]``."""
    common = raw.get("train", {})
    if not isinstance(common, dict):
        return
    several = raw.get("teachers")
    holders = [raw.get("teacher"), *(several if isinstance(several, list) else [])]
    if isinstance(raw.get("methods"), dict):
        holders += raw["methods"].values()
    if isinstance(raw.get("path"), dict):
        holders.append(raw["path"].get("learns"))
    for holder in holders:
        if isinstance(holder, dict) and isinstance(holder.get("train"), dict):
            holder["train"] = _inherited(common, holder["train"])


def _inherited(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """``own`` over ``common``. Views, and an optimizer or a rate of the same name, take over what is not said again."""
    merged = common | own
    for key in ("views", "optimizer", "rate"):
        before, after = common.get(key), own.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            same = after.get("name", before.get("name")) == before.get("name")
            merged[key] = before | after if same else after
    return merged


def _resolve_methods(raw: dict[str, Any], mistakes: Mistakes) -> None:
    """A method's own settings stand beside ``method`` and ``train``; they are those of its function."""
    tables = raw.get("methods")
    if not isinstance(tables, dict):
        return
    for name, table in tables.items():
        if isinstance(table, dict):
            tables[name] = _learning(table, ("methods", name), name, raw, mistakes)
            method = methods.METHODS.get(tables[name]["method"])
            listed = table.get("assistants", "auto" if method and method.needs_assistants else [])
            tables[name]["assistants"] = _assistants(listed, name, raw, mistakes)
    path = raw.get("path")
    if isinstance(path, dict) and isinstance(path.get("learns"), dict):
        student = tables.get(path.get("method") or next(iter(_with_teachers(tables)), ""))
        path["learns"] = _learning(_as_student(path["learns"], student), ("path", "learns"), "kd", raw, mistakes)


def _with_teachers(tables: dict[str, Any]) -> Iterator[str]:
    for name, table in tables.items():
        method = methods.METHODS.get(table["method"]) if isinstance(table, dict) else None
        if method and method.reads_teacher:
            yield name


def _as_student(learns: dict[str, Any], student: Any) -> dict[str, Any]:
    """An assistant that names no method learns as the student does, but for what it says itself."""
    method = methods.METHODS.get(student["method"]) if isinstance(student, dict) else None
    if "method" in learns or method is None:
        return learns
    settings = {key: value for key, value in student["settings"].items() if key not in PROPOSALS}
    inherited = {"method": method.name, "train": student["train"], "balance": student.get("balance", False)}
    return inherited | settings | dict(method.of_assistants) | learns


def _learning(
    table: dict[str, Any], place: tuple[str, ...], otherwise: str, raw: dict[str, Any], mistakes: Mistakes
) -> dict[str, Any]:
    """Settings of the method's own apart from those of all; its name is ``otherwise`` where the table says none."""
    method = table.get("method", otherwise)
    own = {key: value for key, value in table.items() if key not in OF_ALL_METHODS}
    if not isinstance(method, str) or method not in methods.METHODS:
        named = [*place, "method"] if "method" in table else place
        mistakes.add(named, f"there is no method {method!r}{did_you_mean(str(method), methods.METHODS)}")
    else:
        _check_settings(methods.METHODS[method], place, own, mistakes)
    common: dict[str, Any] = {key: table[key] for key in ("seeds", "balance") if key in table}
    return {"method": str(method), "settings": own, "train": table.get("train", raw.get("train", {})), **common}


def _assistants(listed: Any, name: str, raw: dict[str, Any], mistakes: Mistakes) -> Any:
    """A network's name alone is a table with that name."""
    if not isinstance(listed, list):
        return listed
    tables: list[Any] = [{"network": entry} if isinstance(entry, str) else entry for entry in listed]
    common, place = raw.get("train", {}), ("methods", name, "assistants", "learns")
    for table in tables:
        if isinstance(table, dict) and isinstance(table.get("learns"), dict):
            learns = dict(table["learns"])
            if isinstance(learns.get("train"), dict) and isinstance(common, dict):
                learns["train"] = _inherited(common, learns["train"])
            table["learns"] = _learning(_as_student(learns, raw["methods"][name]), place, "kd", raw, mistakes)
    return tables


def _resolve_settings(raw: dict[str, Any], how: HowSettings, mistakes: Mistakes) -> None:
    """``settings = "auto"`` and ``"plain"`` as the table that they stand for; without any they are to be measured."""
    said = raw.get("settings", "auto")
    if isinstance(said, str):
        if said not in ("auto", "plain"):
            mistakes.add(["settings"], f"give a table, 'auto' or 'plain', not {said!r}")
        how, said = how or cast(HowSettings, said), {}
    if not isinstance(said, dict) or how is None:
        return
    open_ = [name for name in CHOOSABLE if name not in said] if how == "auto" else []
    raw["settings"] = {**said, "auto": open_}


def _check_settings(method: methods.Method, place: tuple[str, ...], own: dict[str, Any], mistakes: Mistakes) -> None:
    for key in own:
        if key not in method.settings:
            known = [*method.settings, *OF_ALL_METHODS]
            mistakes.add([*place, key], f"method {method.name!r} has no such setting{did_you_mean(key, known)}")
    hints = typing.get_type_hints(method.stages)
    fields: dict[str, Any] = {}
    for key, parameter in method.settings.items():
        if key in PROPOSALS:  # can be proposed once the networks are there
            fields[key] = (hints[key] | None, None)
        else:
            fields[key] = (hints[key], ... if key in method.needed else parameter.default)
    model = create_model("Settings", __config__=ConfigDict(extra="ignore"), **fields)
    try:
        model.model_validate(own)
    except ValidationError as error:
        for entry in error.errors():
            path, text = _explain(entry)
            mistakes.add([*place, *path], text)


def _check_views(raw: dict[str, Any], mistakes: Mistakes) -> None:
    """Views check themselves as they are made, which would end the reading of the recipe: that is put off."""
    names = list(raw["methods"]) if isinstance(raw.get("methods"), dict) else []
    several = range(len(raw["teachers"])) if isinstance(raw.get("teachers"), list) else []
    paths = [
        ["train"],
        ["teacher", "train"],
        ["path", "learns", "train"],
        *(["methods", name, "train"] for name in names),
    ]
    paths += [["teachers", str(number), "train"] for number in several]
    for path in paths:
        course: Any = raw
        for part in path:
            course = _within(course, part)
        if isinstance(course, dict) and isinstance(course.get("views"), dict):
            for key, value in course["views"].items():
                if isinstance(value, (int, float)) and value < 0:
                    mistakes.add([*path, "views", key], f"must not be negative (it is {value})")
                    course["views"] = {k: v for k, v in course["views"].items() if k != key}


def _within(value: Any, part: str) -> Any:
    if isinstance(value, list) and part.isdigit() and int(part) < len(value):
        return value[int(part)]
    return value.get(part) if isinstance(value, dict) else None


def _check_combinations(recipe: Recipe, mistakes: Mistakes) -> None:
    """What is right key by key and impossible together."""
    for name, table in recipe.methods.items():
        method = methods.find(table.method)
        if method.reads_teacher and not recipe.taught_by and method.family != "own":
            mistakes.add(["methods", name], "it learns from a teacher: add a table [teacher]")
        given = {key: PLACEHOLDERS[key] for key in method.needed if key in PLACEHOLDERS}
        try:
            method(table.train, **(given | dict(table.settings)))
        except UserError as error:
            mistakes.add(["methods", name], str(error))
        if method.needs_assistants and not table.assistants:
            mistakes.add(["methods", name], 'name its assistants, as in assistants = ["plain4"], or "auto"')
        if table.assistants and not method.reads_teacher:
            mistakes.add(["methods", name, "assistants"], "it learns from nobody, so there is nothing to assist")
        if table.assistants == "auto" and recipe.teachers:
            mistakes.add(["methods", name, "assistants"], "choosing one needs a single [teacher]: name the assistants")
        if table.assistants == "auto" and not recipe.data.validation:
            mistakes.add(["methods", name, "assistants"], "choosing one needs a validation part: set data.validation")
    if recipe.path is not None:
        _check_path(recipe, recipe.path, mistakes)
    courses: dict[tuple[str, ...], Course] = {("methods", n, "train"): t.train for n, t in recipe.methods.items()}
    teachers = _teachers(recipe)
    courses |= {(*path, "train"): table.train for path, table in teachers.items() if table.train}
    for path, course in courses.items():
        if course.patience and not recipe.data.validation:
            mistakes.add([*path, "patience"], "stopping by patience needs a validation part: set data.validation")
    if recipe.data.whiten:
        networks: dict[tuple[str, ...], NetworkTable] = {**teachers, ("student",): recipe.student}
        for path, network in networks.items():
            if network.mean or network.std:
                mistakes.add(
                    [*path, "mean" if network.mean else "std"],
                    "data.whiten takes the place of each network's mean and std: leave them out",
                )


def _check_path(recipe: Recipe, path: PathTable, mistakes: Mistakes) -> None:
    if recipe.teacher is None:
        mistakes.add(["path"], "a path begins with a teacher: add a table [teacher]")
    if not recipe.data.validation:
        mistakes.add(["path"], "a search chooses by validation accuracy: set data.validation")
    taught = [name for name, table in recipe.methods.items() if methods.find(table.method).reads_teacher]
    if path.method is not None and path.method not in taught:
        mistakes.add(
            ["path", "method"], f"it is no table of a method with a teacher{did_you_mean(path.method, taught)}"
        )
    elif not taught:
        mistakes.add(["path"], "add the method by which the networks learn, such as [methods.kd]")


def _teachers(recipe: Recipe) -> dict[tuple[str, ...], TeacherTable]:
    """Each teacher with its place in the recipe."""
    several: dict[tuple[str, ...], TeacherTable] = {
        ("teachers", str(number)): table for number, table in enumerate(recipe.teachers)
    }
    return {("teacher",): recipe.teacher} if recipe.teacher else several


def _explain(entry: Any) -> tuple[list[str], str]:
    """A pydantic error as a path in the recipe and a sentence."""
    path, known = _walk(entry["loc"])
    kind = entry["type"]
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return path, f"unknown key{did_you_mean(path[-1], known)}"
    if kind in ("missing", "missing_argument"):
        return path, "is missing"
    if kind == "union_tag_invalid":
        tags = [tag.strip().strip("'") for tag in entry["ctx"]["expected_tags"].split(",")]
        tag = entry["ctx"]["tag"]
        close = nearest(tag, tags, 1) or tags
        return [*path, "name"], f"there is no {tag!r}; did you mean {' or '.join(map(repr, close))}?"
    if kind == "union_tag_not_found":
        return path, "it needs a 'name'"
    message = str(entry["msg"]).removeprefix("Value error, ")
    shown = entry["input"]
    return path, message if isinstance(shown, (dict, BaseModel)) else f"{message} (it is {shown!r})"


def _walk(location: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """The path as the recipe has it (without pydantic's marks of union members), and the keys known at its end."""
    kind: Any = Recipe
    path, known = [], []
    for part in map(str, location):
        fields = _fields(kind)
        if fields is None and (member := _member(kind, part)) is not None:
            kind = member  # the chosen member of a union: not a key of the recipe
            continue
        path.append(part)
        known = list(fields or {})
        kind = (fields or {}).get(part, _item(kind))
    return path, known


def _fields(kind: Any) -> dict[str, Any] | None:
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
    return None


def _item(kind: Any) -> Any:
    arguments = typing.get_args(kind)
    if arguments and typing.get_origin(kind) is tuple:
        return arguments[0]
    mapping = typing.get_origin(kind) in (dict, Mapping, typing.get_origin(Mapping[str, Any]))
    return arguments[-1] if arguments and mapping else Any


def without_nones(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nones(v) for key, v in value.items() if v is not None}
    return [without_nones(v) for v in value] if isinstance(value, list) else value
