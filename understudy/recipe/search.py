"""A recipe with a search space: the values of each setting, checked like the recipe itself."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from understudy.config.settings import Settings
from understudy.errors import UserError, did_you_mean
from understudy.printable import shown
from understudy.recipe.lines import Lines
from understudy.recipe.mistakes import Mistakes
from understudy.recipe.overrides import assign, without_nones
from understudy.recipe.read import check, load, text_of
from understudy.recipe.resolve import HowSettings
from understudy.recipe.schema import Recipe, TuneTable
from understudy.recipe.space import Choice, Number, Range, Space, read_space


@dataclass(frozen=True)
class Searched:
    """The recipe and the settings that a search changes in it."""

    recipe: Recipe
    raw: Mapping[str, object]  # as written, before any inheritance
    method: str
    seeds: tuple[int, ...]
    spaces: Mapping[str, Space]

    @property
    def tune(self) -> TuneTable:
        assert self.recipe.tune is not None
        return self.recipe.tune

    def settled(self, recipe: Recipe) -> "Searched":
        """The same with the settings of ``recipe``, for every trial alike."""
        raw = {**self.raw, "settings": without_nones(asdict(recipe.settings))}
        return replace(self, recipe=self.recipe.model_copy(update={"settings": recipe.settings}), raw=raw)

    def at(self, values: Mapping[str, Number]) -> Recipe:
        """The recipe with these values; its teachers stay as they were, whatever changes in ``[train]``."""
        recipe = check(self.written(values), Mistakes("the recipe of a trial", Lines(""), {}))
        return recipe.model_copy(update={"teacher": self.recipe.teacher, "teachers": self.recipe.teachers})

    def written(self, values: Mapping[str, Number]) -> dict[str, object]:
        """The recipe as it would be written by hand, with the teacher's config separate."""
        raw = copy.deepcopy(dict(self.raw))
        for key, value in values.items():
            assign(raw, key.split("."), value)
        return raw


def read_searched(
    path: Path,
    overrides: Sequence[str] = (),
    search: Sequence[str] = (),
    *,
    settings: HowSettings = None,
    begun: Settings | None = None,
    **tune: object,
) -> Searched:
    """The recipe in a file and its search; ``search`` (``key=space``) and ``tune`` (keys of its table) come on top."""
    return parse_searched(text_of(path), str(path), overrides, search, settings=settings, begun=begun, **tune)


def parse_searched(
    text: str,
    source: str = "recipe",
    overrides: Sequence[str] = (),
    search: Sequence[str] = (),
    *,
    settings: HowSettings = None,
    begun: Settings | None = None,
    **tune: object,
) -> Searched:
    raw, mistakes = load(text, source, overrides)
    for key, value in tune.items():
        assign(raw, ["tune", key], value)
        mistakes.overridden["tune", key] = f"--{key}"
    for entry in search:
        key, equals, space = entry.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--search {shown(entry)}: write key=space, as in --search methods.kd.temperature=1..20")
        _spaces_of(raw)[key.strip()] = space.strip()
        mistakes.overridden["tune", "search", key.strip()] = "--search"
    recipe = check(copy.deepcopy(raw), mistakes, settings=settings, begun=begun)
    if recipe.tune is None or not recipe.tune.search:
        raise UserError(
            f"{source}: nothing to search: add a table [tune.search], or --search methods.{list(recipe.methods)[-1]}"
            ".SETTING=1..20"
        )
    method = _method(recipe, mistakes)
    mistakes.raise_if_any()
    spaces = {key: _space(raw, key, text, method, mistakes) for key, text in recipe.tune.search.items()}
    if not recipe.data.validation:
        mistakes.add(["data", "validation"], "a search selects on the validation part: set data.validation")
    mistakes.raise_if_any()
    whole = {key: space for key, space in spaces.items() if space is not None}
    searched = Searched(recipe, raw, method, recipe.tune.seeds or recipe.seeds_of(method)[:1], whole)
    return searched.settled(recipe)  # every trial has the same settings


def _spaces_of(raw: dict[str, object]) -> dict[str, object]:
    table = raw.setdefault("tune", {})
    search = table.setdefault("search", {}) if isinstance(table, dict) else None
    if not isinstance(search, dict):
        raise UserError("--search adds to a table [tune.search], and this recipe has a value in its place")
    return search


def _method(recipe: Recipe, mistakes: Mistakes) -> str:
    """The method that is tuned."""
    assert recipe.tune is not None
    if recipe.tune.method is not None:
        if recipe.tune.method not in recipe.methods:
            near = did_you_mean(recipe.tune.method, recipe.methods)
            mistakes.add(["tune", "method"], f"the recipe has no table methods.{recipe.tune.method}{near}")
        return recipe.tune.method
    named = {parts[1] for key in recipe.tune.search if (parts := key.split("."))[0] == "methods" and len(parts) > 1}
    known = [name for name in recipe.methods if name in named]
    return known[0] if known else list(recipe.methods)[-1]


def _space(raw: dict[str, object], key: str, text: str, method: str, mistakes: Mistakes) -> Space | None:
    """The space of one setting. Every mistake is reported with its line."""
    place = ["tune", "search", key]
    if wrong := _out_of_place(raw, key, method):
        mistakes.add(place, wrong)
        return None
    try:
        space = read_space(text)
    except UserError as error:
        mistakes.add(place, str(error))
        return None
    probed = [_with(raw, key, value) for value in space.probes]
    for one in probed:
        if isinstance(one, str):
            mistakes.add(place, one)
            return None
    first, *others = (one.methods[method] for one in probed if isinstance(one, Recipe))
    if all(other == first for other in others):
        mistakes.add(place, f"it changes nothing for {method!r}: methods.{method}.{key} stands above it")
    if isinstance(space, Choice):
        return space
    whole = _takes_whole_numbers_alone(raw, key, space)
    if whole and space.step is not None and not float(space.step).is_integer():
        mistakes.add(place, f"takes whole numbers alone, not steps of {space.step}")
    return space.of_whole_numbers() if whole else space


def _takes_whole_numbers_alone(raw: Mapping[str, object], key: str, space: Range) -> bool:
    """Check a value between the ends of a range whose ends are valid."""
    between = space.low + min(0.5, (space.high - space.low) / 2)
    return float(space.low).is_integer() and isinstance(_with(raw, key, between), str)


def _out_of_place(raw: Mapping[str, object], key: str, method: str) -> str | None:
    """The reason why a search must not change this key."""
    first, *rest = key.split(".")
    if first == "train" and rest:
        return None
    if first != "methods" or len(rest) < 2:
        return f"a search changes settings of the method and of its training: methods.{method}.SETTING or train.KEY"
    tables = raw["methods"]
    assert isinstance(tables, dict)  # as the recipe was checked
    if rest[0] not in tables:
        return f"the recipe has no table methods.{rest[0]}{did_you_mean(rest[0], tables)}"
    if rest[0] != method:
        return f"it belongs to {rest[0]!r}, and {method!r} is tuned (tune.method); search one method at a time"
    return None


def _with(raw: Mapping[str, object], key: str, value: Number) -> Recipe | str:
    """The recipe with this value of the setting, or the mistake."""
    probe, mistakes = copy.deepcopy(dict(raw)), Mistakes("", Lines(""), {})
    try:
        assign(probe, key.split("."), value)
        return check(probe, mistakes)
    except UserError as error:
        texts = {".".join(path): text for path, text in mistakes.texts.items()} or {key: str(error)}
        at_the_key = [text for path, text in texts.items() if path.endswith(key.rsplit(".", 1)[-1])]
        return (at_the_key or [f"{path}: {text}" for path, text in texts.items()])[0]
