"""Fill in what a recipe leaves out: configs from ``[train]``, and the settings of data sets, networks and methods."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, Literal, cast

from understudy import methods
from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.errors import did_you_mean
from understudy.recipe.checks import OF_ALL_METHODS, check_data, check_settings
from understudy.recipe.mistakes import Mistakes
from understudy.recipe.schema import DataTable

HowSettings = Literal["auto", "plain"] | None
USUAL = {
    "optimizer": {"name": TrainConfig().optimizer.name},
    "schedule": {"name": TrainConfig().schedule.name},
}  # need not be named


def resolve_data(raw: dict[str, object], mistakes: Mistakes) -> None:
    """Move the settings of a data set, which are beside ``name`` and ``root``, into a table of their own."""
    table = raw.get("data")
    if isinstance(table, str):  # a name alone
        table = raw["data"] = {"name": table}
    if not isinstance(table, dict):
        return
    common = [key for key in DataTable.model_fields if key != "settings"]
    settings = {key: value for key, value in table.items() if key not in common}
    name = table.get("name")
    if isinstance(name, str) and ":" not in name:
        check_data(name, settings, common, mistakes)
    raw["data"] = {key: table[key] for key in common if key in table} | {"settings": settings}


def resolve_training(raw: dict[str, object]) -> None:
    """Complete ``train`` of the teacher and of each method from ``[train]``, and that from the defaults."""
    common = raw.get("train", {})
    if not isinstance(common, dict):
        return
    raw["train"] = common = _inherited(USUAL, common)
    several = raw.get("teachers")
    holders = [raw.get("teacher"), *(several if isinstance(several, list) else [])]
    tables, path = raw.get("methods"), raw.get("path")
    holders += tables.values() if isinstance(tables, dict) else []
    holders += [path.get("learns")] if isinstance(path, dict) else []
    for holder in holders:
        if isinstance(holder, dict) and isinstance(holder.get("train"), dict):
            holder["train"] = _inherited(common, holder["train"])


def _inherited(common: dict[str, object], table: dict[str, object]) -> dict[str, object]:
    """``table`` over ``common``.

    Missing keys of an augmentation, or of an optimizer or schedule of the same name, are inherited.
    """
    merged = common | table
    for key in ("augmentation", "optimizer", "schedule"):
        before, after = common.get(key), table.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            same = after.get("name", before.get("name")) == before.get("name")
            merged[key] = before | after if same else after
    return merged


def resolve_methods(raw: dict[str, object], mistakes: Mistakes) -> None:
    """Move the settings of a method, which are beside ``method`` and ``train``, into a table of their own."""
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


def _with_teachers(tables: dict[str, object]) -> Iterator[str]:
    for name, table in tables.items():
        method = methods.METHODS.get(table["method"]) if isinstance(table, dict) else None
        if method and method.reads_teacher:
            yield name


def _as_student(learns: dict[str, object], student: Any) -> dict[str, object]:
    """Complete an assistant that names no method: it is trained as the student is, apart from its own keys."""
    method = methods.METHODS.get(student["method"]) if isinstance(student, dict) else None
    if "method" in learns or method is None:
        return learns
    inherited = {"method": method.name, "train": student["train"], "balance": student.get("balance", False)}
    return inherited | method.for_assistants(student["settings"]) | learns


def _learning(
    table: dict[str, object], place: tuple[str, ...], otherwise: str, raw: dict[str, object], mistakes: Mistakes
) -> dict[str, object]:
    """Separate the method's own settings from common keys. ``otherwise`` is the method of a table without one."""
    method = table.get("method", otherwise)
    settings = {key: value for key, value in table.items() if key not in OF_ALL_METHODS}
    if not isinstance(method, str) or method not in methods.METHODS:
        named = [*place, "method"] if "method" in table else place
        mistakes.add(named, f"there is no method {method!r}{did_you_mean(str(method), methods.METHODS)}")
    else:
        check_settings(methods.METHODS[method], place, settings, mistakes)
    common: dict[str, object] = {key: table[key] for key in ("seeds", "balance", "ends") if key in table}
    return {"method": str(method), "settings": settings, "train": table.get("train", raw.get("train", {})), **common}


def _assistants(listed: Any, name: str, raw: dict[str, object], mistakes: Mistakes) -> Any:
    """A network's name alone stands for a table with that name."""
    if not isinstance(listed, list):
        return listed
    tables: list[Any] = [{"network": entry} if isinstance(entry, str) else entry for entry in listed]
    common, place = raw.get("train", {}), ("methods", name, "assistants", "learns")
    by_name = raw["methods"]
    student = by_name[name] if isinstance(by_name, dict) else None
    for table in tables:
        if isinstance(table, dict) and isinstance(table.get("learns"), dict):
            learns = dict(table["learns"])
            if isinstance(learns.get("train"), dict) and isinstance(common, dict):
                learns["train"] = _inherited(common, learns["train"])
            table["learns"] = _learning(_as_student(learns, student), place, "kd", raw, mistakes)
    return tables


def resolve_settings(raw: dict[str, object], how: HowSettings, begun: Settings | None, mistakes: Mistakes) -> None:
    """``settings = "auto"`` and ``"plain"`` as the table that they stand for; ``"auto"`` where there is none.

    ``"auto"`` takes the settings of the run that has ``begun``, or those of the hardware. Threads stay open,
    since they depend on how many trainings share the machine.
    """
    written = raw.get("settings", "auto")
    if isinstance(written, str):
        if written not in ("auto", "plain"):
            mistakes.add(["settings"], f"give a table, 'auto' or 'plain', not {written!r}")
        how, written = how or cast(HowSettings, written), {}
    if not isinstance(written, dict):
        return
    rule: dict[str, object] = {}
    device = written.get("device", "auto")
    if how == "auto" and isinstance(device, str):
        rule = asdict(begun or replace(Settings.by_rule(device=device), threads=None))
    raw["settings"] = {name: value for name, value in {**rule, **written}.items() if value is not None}
