"""Tasks: what targets and answers mean, one file a task. ``task.py`` holds the contract.

Tasks of another package come by the entry point group ``understudy.tasks``: a subclass of ``Task``.
"""

from collections.abc import Mapping
from typing import Any

from understudy import plugins
from understudy.errors import UserError
from understudy.tasks.classification import Classification
from understudy.tasks.task import LOSS, Differing, Figure, Meter, Moves, Numbers, Rows, Task, Told, Values

__all__ = [
    "LOSS",
    "Classification",
    "Differing",
    "Figure",
    "Meter",
    "Moves",
    "Numbers",
    "Rows",
    "Task",
    "Told",
    "Values",
    "find",
    "from_description",
    "names",
]


def _wrong(name: str, thing: object) -> str | None:
    if not (isinstance(thing, type) and issubclass(thing, Task)):
        return f"it is {thing!r}, not a subclass of understudy.tasks.Task"
    return None if thing.name == name else f"it calls itself {thing.name!r}"


_KNOWN: plugins.Registry[type[Task]] = plugins.Registry(
    "task", plugins.TASKS, {kind.name: kind for kind in (Classification,)}, _wrong
)


def names() -> list[str]:
    """The names of all tasks, those of other packages included."""
    return _KNOWN.names()


def find(name: str) -> type[Task]:
    """The task of this name.

    >>> find("classification").__name__
    'Classification'
    """
    return _KNOWN.find(name)


def from_description(description: Mapping[str, Any]) -> Task:
    """The task that ``Task.describe`` described."""
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in description.items()}
    kind = find(str(settings.pop("name", "")))
    try:
        return kind(**settings)
    except TypeError as error:
        raise UserError(f"task {kind.name!r}: {error}") from None
