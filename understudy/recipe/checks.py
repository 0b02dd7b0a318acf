"""What a type cannot say of a recipe: settings against a method's signature, and what is impossible together."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model

from understudy import methods
from understudy.config.train import TrainConfig
from understudy.data.sets import DATASETS
from understudy.errors import UserError, did_you_mean
from understudy.methods.notation import parse
from understudy.recipe.mistakes import Mistakes, explain
from understudy.recipe.overrides import within, without_nones
from understudy.recipe.schema import NetworkTable, PathTable, Recipe, TeacherTable
from understudy.taps.defaults import PLACEHOLDERS, PROPOSALS

# What stands in a method's table beside its own settings.
OF_ALL_METHODS = ("method", "train", "seeds", "balance", "assistants")


def check_settings(method: methods.Method, place: tuple[str, ...], own: dict[str, Any], mistakes: Mistakes) -> None:
    for key in own:
        if key not in method.settings:
            known = [*method.settings, *OF_ALL_METHODS]
            mistakes.add([*place, key], f"method {method.name!r} has no such setting{did_you_mean(key, known)}")
    kinds = method.kinds
    fields: dict[str, Any] = {}
    for key, parameter in method.settings.items():
        if key in PROPOSALS:  # can be proposed once the networks are there
            fields[key] = (kinds[key] | None, None)
        else:
            fields[key] = (kinds[key], ... if key in method.needed else parameter.default)
    model = create_model("Settings", __config__=ConfigDict(extra="ignore"), **fields)
    try:
        found = model.model_validate(own)
        for key, value in own.items():  # of the kind that is expected, 3 for 3.0; a 4 stays where 4.0 would do
            if key in fields and not (type(value) is int and isinstance(getattr(found, key), float)):
                own[key] = getattr(found, key)
    except ValidationError as error:
        for entry in error.errors():
            path, text = explain(entry)
            mistakes.add([*place, *path], text)


def check_data(name: str, own: dict[str, Any], common: Sequence[str], mistakes: Mistakes) -> None:
    """A data set's own settings, completed by their defaults; its name and what cannot be are mistakes."""
    if name not in DATASETS:
        mistakes.add(["data", "name"], f"there is no data set {name!r}{did_you_mean(name, DATASETS.names())}")
        own.clear()
        return
    dataset = DATASETS[name]
    wrong = dataset.mistakes(own, beside=common)
    for key, reason in wrong.items():
        mistakes.add(["data", key], reason)
    if not wrong:
        own |= without_nones(dataclasses.asdict(dataset.configured(own)))


def check_views(raw: dict[str, Any], mistakes: Mistakes) -> None:
    """Augmentation check themselves as they are made, which would end the reading of the recipe: that is put off."""
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
        config: Any = raw
        for part in path:
            config = within(config, part)
        if isinstance(config, dict) and isinstance(config.get("augmentation"), dict):
            for key, value in config["augmentation"].items():
                if isinstance(value, (int, float)) and value < 0:
                    mistakes.add([*path, "augmentation", key], f"must not be negative (it is {value})")
                    config["augmentation"] = {k: v for k, v in config["augmentation"].items() if k != key}


def check_combinations(recipe: Recipe, mistakes: Mistakes) -> None:
    """What is right key by key and impossible together."""
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
        if table.assistants and not method.reads_teacher:
            mistakes.add(["methods", name, "assistants"], "it learns from nobody, so there is nothing to assist")
        if table.assistants == "auto" and recipe.teachers:
            mistakes.add(["methods", name, "assistants"], "choosing one needs a single [teacher]: name the assistants")
        if table.assistants == "auto" and not recipe.data.validation:
            mistakes.add(["methods", name, "assistants"], "choosing one needs a validation part: set data.validation")
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
            if network.mean or network.std:
                mistakes.add(
                    [*path, "mean" if network.mean else "std"],
                    "data.whiten takes the place of each network's mean and std: leave them out",
                )


def _not_of_a_teacher(terms: str) -> str | None:
    """Why a network cannot learn this by itself."""
    try:
        reads = parse(terms).reads
    except UserError as error:
        return str(error)
    return "a teacher learns by itself, and one of these terms reads a teacher" if reads.teacher else None


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
