"""Checks of a recipe beyond its types: the settings of methods, and keys that exclude each other."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model

from understudy import methods
from understudy.config.train import TrainConfig
from understudy.data.sets import DATASETS
from understudy.errors import UserError, did_you_mean
from understudy.methods.notation import parse
from understudy.models import catalogue
from understudy.models.outside import is_library
from understudy.printable import printable, shown
from understudy.recipe.mistakes import Mistakes, explain
from understudy.recipe.overrides import without_nones
from understudy.recipe.schema import NetworkTable, PathTable, Recipe, TeacherTable
from understudy.taps.defaults import PLACEHOLDERS, PROPOSALS

# The keys of a method's table beside its own settings.
LONGEST_NAME = 100  # bytes; a folder's name has at most 255, and that of an assistant includes its network's name
FOLDER_NAME = re.compile(r"[^./\\\0][^/\\\0]*")
OF_ALL_METHODS = ("method", "train", "seeds", "balance", "assistants", "ends")


def check_settings(
    method: methods.Method, place: tuple[str, ...], chosen: dict[str, object], mistakes: Mistakes
) -> None:
    for key in chosen:
        if key not in method.settings:
            known = [*method.settings, *OF_ALL_METHODS]
            mistakes.add([*place, key], f"method {method.name!r} has no such setting{did_you_mean(key, known)}")
    kinds = method.kinds
    fields: dict[str, Any] = {}  # the strings that pydantic accepts
    for key, parameter in method.settings.items():
        if key in PROPOSALS:  # can be proposed from the networks
            fields[key] = (kinds[key] | None, None)
        else:
            fields[key] = (kinds[key], ... if key in method.needed else parameter.default)
    model = create_model("Settings", __config__=ConfigDict(extra="ignore"), **fields)
    try:
        checked = model.model_validate(chosen)
        for key, value in chosen.items():  # converted to the expected type, as 3.0 to 3
            if key in fields and not (type(value) is int and isinstance(getattr(checked, key), float)):
                chosen[key] = getattr(checked, key)
    except ValidationError as error:
        for entry in error.errors():
            path, text = explain(entry)
            mistakes.add([*place, *path], text)


def check_data(name: str, chosen: dict[str, object], common: Sequence[str], mistakes: Mistakes) -> None:
    """The settings of a data set with their defaults. Unknown names and impossible values are mistakes."""
    if name not in DATASETS:
        mistakes.add(["data", "name"], f"there is no data set {name!r}{did_you_mean(name, DATASETS.names())}")
        chosen.clear()
        return
    dataset = DATASETS[name]
    wrong = dataset.mistakes(chosen, beside=common)
    for key, reason in wrong.items():
        mistakes.add(["data", key], reason)
    if not wrong:
        defaults = dataclasses.asdict(dataset.configured(chosen))
        chosen |= {key: without_nones(value) for key, value in defaults.items() if value is not None}


def check_numbers(value: object, path: tuple[str, ...], mistakes: Mistakes) -> None:
    """No number anywhere in a recipe is NaN, infinite, or larger than TOML's whole numbers."""
    if isinstance(value, dict):
        for key, inner in value.items():
            check_numbers(inner, (*path, str(key)), mistakes)
    elif isinstance(value, list):
        for inner in value:
            check_numbers(inner, path, mistakes)
    elif isinstance(value, float) and not math.isfinite(value):
        mistakes.add(path, f"no setting is {value}")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        mistakes.add(path, f"{shown(value)} is larger than any whole number of a recipe")


def check_names(raw: Mapping[str, object], mistakes: Mistakes) -> None:
    """Check a method's name, which begins the name of a folder."""
    tables = raw.get("methods")
    for name in tables if isinstance(tables, dict) else ():
        plain = re.sub(r"[^\w=+,@-]+", "-", name).strip("-")[:40] or "mine"
        too_long = len(name.encode(errors="replace")) > LONGEST_NAME
        if too_long or not FOLDER_NAME.fullmatch(name) or printable(name) != name:
            mistakes.add(
                ["methods", name],
                f"its trainings lie in folders of this name, which has at most {LONGEST_NAME} bytes, no / and no \\, "
                f"and begins with no dot; write for example [methods.{plain}] with method = ...",
            )


def check_combinations(recipe: Recipe, mistakes: Mistakes) -> None:
    """Check combinations of keys that are valid one by one."""
    for name, table in recipe.methods.items():
        method = methods.find(table.method)
        given = {key: PLACEHOLDERS[key] for key in method.needed if key in PLACEHOLDERS}
        try:
            stages = method(table.train, **(given | dict(table.settings)))
            if not recipe.taught_by and any(stage.objective.reads.teacher for stage in stages):
                mistakes.add(["methods", name], "it learns from a teacher: add a table [teacher]")
        except UserError as error:
            mistakes.add(["methods", name], str(error))
        if method.needs_assistants and not table.assistants:
            mistakes.add(["methods", name], 'name its assistants, as in assistants = ["plain4"], or "auto"')
        for seed in table.ends:
            if seed not in map(str, recipe.seeds_of(name)):
                mistakes.add(["methods", name, "ends", seed], f"it is none of the seeds {list(recipe.seeds_of(name))}")
        if table.assistants and not method.reads_teacher:
            mistakes.add(["methods", name, "assistants"], "it learns from nobody, so there is nothing to assist")
        if table.assistants == "auto" and recipe.teachers:
            mistakes.add(["methods", name, "assistants"], "choosing one needs a single [teacher]: name the assistants")
        if table.assistants == "auto" and not recipe.data.validation:
            mistakes.add(["methods", name, "assistants"], "choosing one needs a validation part: set data.validation")
        for number, assistant in enumerate(table.assistants if table.assistants != "auto" else ()):
            _check_network(assistant, ("methods", name, "assistants", str(number)), mistakes)
    _check_network(recipe.student, ("student",), mistakes)
    if recipe.student.from_teacher is not None and not recipe.taught_by:
        mistakes.add(["student", "from_teacher"], "there is no teacher to start from: add a table [teacher]")
    if recipe.student.from_teacher is not None and recipe.student.begins_trained:
        mistakes.add(
            ["student", "from_teacher"],
            "the student starts from layers of its teacher or from weights of its own: leave one of them out",
        )
    for place, teacher in _teachers(recipe).items():
        _check_network(teacher, place, mistakes)
    if recipe.keep is not None and recipe.keep not in recipe.methods:
        mistakes.add(["keep"], f"it is no method of the recipe{did_you_mean(recipe.keep, recipe.methods)}")
    if recipe.path is not None:
        _check_path(recipe, recipe.path, mistakes)
    configs: dict[tuple[str, ...], TrainConfig] = {("methods", n, "train"): t.train for n, t in recipe.methods.items()}
    teachers = _teachers(recipe)
    configs |= {(*path, "train"): table.train for path, table in teachers.items() if table.train}
    for path, teacher in teachers.items():
        if teacher.terms is not None and (wrong := _not_of_a_teacher(teacher.terms)):
            mistakes.add([*path, "terms"], wrong)
    for path, config in configs.items():
        if config.patience and not recipe.data.validation:
            mistakes.add([*path, "patience"], "stopping by patience needs a validation part: set data.validation")
    if recipe.data.whiten:
        networks: dict[tuple[str, ...], NetworkTable] = {**teachers, ("student",): recipe.student}
        for path, network in networks.items():
            for key in ("mean", "std", "size", "pretrained"):
                if getattr(network, key):
                    mistakes.add(
                        [*path, key], f"data.whiten takes the place of each network's preprocessing: leave {key} out"
                    )


def _check_network(table: NetworkTable, place: tuple[str, ...], mistakes: Mistakes) -> None:
    """Check name and settings of a network of a known family. The user's own code checks its own settings."""
    if table.pretrained and not is_library(table.library_network):
        mistakes.add(
            [*place, "pretrained"],
            "trained weights come with networks of timm, torchvision and transformers; for others name a file, "
            "weights = '...'",
        )
    if table.settings.get("keep_statistics") and not table.begins_trained:
        mistakes.add(
            [*place, "settings", "keep_statistics"],
            "fresh weights have no statistics to keep: give pretrained = true or weights = '...', or leave it out",
        )
    try:
        catalogue.check(table.network, table.settings)
    except UserError as error:
        mistakes.add([*place, "settings" if table.settings else "network"], str(error))


def _not_of_a_teacher(terms: str) -> str | None:
    """The reason why a network cannot be trained by this method on its own."""
    try:
        reads = parse(terms).reads
    except UserError as error:
        return str(error)
    return "a teacher learns by itself, and one of these terms reads a teacher" if reads.teacher else None


def _check_path(recipe: Recipe, path: PathTable, mistakes: Mistakes) -> None:
    if recipe.teacher is None:
        mistakes.add(["path"], "a path begins with a teacher: add a table [teacher]")
    if not recipe.data.validation:
        mistakes.add(["path"], "a search chooses by validation: set data.validation")
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
