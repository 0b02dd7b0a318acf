"""Read a recipe from TOML. All mistakes are reported together, each with file, line and key."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from understudy.config.settings import Settings
from understudy.errors import UserError
from understudy.recipe.checks import check_combinations, check_names, check_numbers
from understudy.recipe.lines import Lines
from understudy.recipe.mistakes import Mistakes, explained
from understudy.recipe.overrides import LARGEST_FILE, join_keys, override, table_of, without_nones
from understudy.recipe.resolve import (
    HowSettings,
    resolve_data,
    resolve_methods,
    resolve_settings,
    resolve_training,
)
from understudy.recipe.schema import Recipe

FORMAT = 1  # of a recipe that a run or a search wrote; a recipe written by hand may leave it out


def read(
    path: Path, overrides: Sequence[str] = (), *, settings: HowSettings = None, begun: Settings | None = None
) -> Recipe:
    """The recipe in a file, with ``key=value`` overrides on top.

    Args:
        settings: ``"auto"`` lets those that the recipe does not name follow from the hardware, ``"plain"`` takes their
            defaults. By default they follow from the hardware where the recipe has no table of settings.
        begun: the settings of the run that is continued, which replace those of the hardware.
    """
    return parse(text_of(path), str(path), overrides, settings=settings, begun=begun)


def text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:  # it may be a pipe, or a device without an end
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise UserError(f"{path} is no recipe: it is larger than {LARGEST_FILE:,} bytes")
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UserError(f"cannot read the recipe {path}: {reason}") from error


def parse(
    text: str,
    source: str = "recipe",
    overrides: Sequence[str] = (),
    *,
    settings: HowSettings = None,
    begun: Settings | None = None,
    options: Mapping[tuple[str, ...], str] | None = None,
) -> Recipe:
    """The recipe of a text, with ``key=value`` overrides on top.

    Args:
        source: the name of its file, for messages.
        options: keys whose values come from an option of the command line, which messages name in place of a line.
    """
    return check(*load(text, source, overrides, options), settings=settings, begun=begun)


def load(
    text: str, source: str, overrides: Sequence[str], options: Mapping[tuple[str, ...], str] | None = None
) -> tuple[dict[str, object], Mistakes]:
    """The content of the file with the values of the command line, unchecked."""
    try:
        raw = table_of(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source}: not valid TOML: {error}") from error
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    if not raw and not overrides:
        raise UserError(f"{source}: it is empty; `understudy methods kd` shows a recipe to begin with")
    overridden = {override(raw, change): "--set" for change in overrides} | dict(options or {})
    join_keys(raw)
    return raw, Mistakes(source, Lines(text), overridden)


def check(
    raw: dict[str, object], mistakes: Mistakes, *, settings: HowSettings = None, begun: Settings | None = None
) -> Recipe:
    """The recipe, or an error with all its mistakes. ``raw`` is modified."""
    check_format(raw.pop("format", FORMAT), mistakes.source, "run it with the version of understudy that wrote it")
    check_numbers(raw, (), mistakes)
    check_names(raw, mistakes)
    mistakes.raise_if_any()
    resolve_data(raw, mistakes)
    data = raw.get("data")
    if isinstance(data, dict) and str(data.get("name", "")).startswith("object:"):
        raise UserError(
            f"{mistakes.source} is the record of a call of understudy.distill, whose networks and data were given as "
            "objects: make the same call again in Python"
        )
    resolve_training(raw)
    resolve_methods(raw, mistakes)
    resolve_settings(raw, settings, begun, mistakes)
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        for path, text_ in explained(error.errors()).items():
            mistakes.add(path, text_)
        mistakes.raise_if_any()
        raise AssertionError("an invalid recipe without a mistake") from error
    mistakes.raise_if_any()
    check_combinations(recipe, mistakes)
    mistakes.raise_if_any()
    return recipe


def check_format(number: object, source: object, way_out: str) -> None:
    """Refuse a recipe of another format than this version reads."""
    if number != FORMAT:
        written = "names no format" if number is None else f"is of format {number!r}"
        raise UserError(f"{source} {written}, and this version of understudy reads format {FORMAT}: {way_out}")


def write(recipe: Recipe) -> str:
    """The resolved recipe, complete, as TOML. Reading it again gives the same recipe."""
    plain: dict[str, Any] = {
        key: without_nones(value) for key, value in recipe.model_dump(mode="json").items() if value is not None
    }
    if not plain["data"].get("answered_by"):
        plain["data"].pop("answered_by", None)
    if plain["data"].get("unlabelled") is None:
        plain["data"].pop("unlabelled", None)
    if not plain["teachers"]:
        del plain["teachers"]
    for method in plain["methods"].values():
        for key in ("assistants", "ends"):
            if not method[key]:
                del method[key]
    for learning in (plain["data"], *_learnings(plain)):
        learning.update(learning.pop("settings"))
    return tomli_w.dumps({"format": FORMAT, **plain})


def _learnings(plain: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All tables that configure a training."""
    for method in plain["methods"].values():
        yield method
        if method.get("assistants", "auto") != "auto":
            yield from (assistant["learns"] for assistant in method["assistants"] if "learns" in assistant)
    if "learns" in plain.get("path", {}):
        yield plain["path"]["learns"]
