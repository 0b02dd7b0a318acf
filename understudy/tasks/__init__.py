"""Tasks: what targets and answers mean, one file a task. ``task.py`` holds the contract.

Tasks of another package come by the entry point group ``understudy.tasks``: a subclass of ``Task``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from understudy import bounds, plugins
from understudy.errors import UserError, did_you_mean
from understudy.nested import Nested
from understudy.tasks.boxes import padded
from understudy.tasks.classification import Classification
from understudy.tasks.detection import Detection
from understudy.tasks.detection3d import Detection3D
from understudy.tasks.embedding import Embedding
from understudy.tasks.links import Links
from understudy.tasks.meters import MetricMeter
from understudy.tasks.multilabel import Binary, MultiLabel
from understudy.tasks.regression import Landmarks, Regression
from understudy.tasks.segmentation import Segmentation
from understudy.tasks.soft_labels import SoftLabels
from understudy.tasks.tags import Tags
from understudy.tasks.task import LOSS, Differing, Figure, Meter, Moves, Numbers, Rows, Task, Told, Turns, Values
from understudy.tasks.text import Text
from understudy.tasks.text_scores import TextScores
from understudy.tasks.unlabelled import Unlabelled

__all__ = [
    "LOSS",
    "Binary",
    "Classification",
    "Detection",
    "Detection3D",
    "Differing",
    "Embedding",
    "Figure",
    "Landmarks",
    "Links",
    "Meter",
    "MetricMeter",
    "Moves",
    "MultiLabel",
    "Numbers",
    "Regression",
    "Rows",
    "Segmentation",
    "SoftLabels",
    "Tags",
    "Task",
    "Text",
    "TextScores",
    "Told",
    "Turns",
    "Unlabelled",
    "Values",
    "find",
    "from_description",
    "kind_of",
    "made",
    "names",
    "padded",
]


def _wrong(name: str, thing: object) -> str | None:
    if not (isinstance(thing, type) and issubclass(thing, Task)):
        return f"it is {thing!r}, not a subclass of understudy.tasks.Task"
    return None if thing.name == name else f"it calls itself {thing.name!r}"


_OWN: tuple[type[Task], ...] = (
    Classification,
    SoftLabels,
    MultiLabel,
    Binary,
    Regression,
    Landmarks,
    Text,
    TextScores,
    Tags,
    Links,
    Segmentation,
    Detection,
    Detection3D,
    Unlabelled,
    Embedding,
)
_KNOWN: plugins.Registry[type[Task]] = plugins.Registry(
    "task", plugins.TASKS, {kind.name: kind for kind in _OWN}, _wrong
)


def names() -> list[str]:
    """The names of all tasks, those of other packages included.

    >>> "classification" in names()
    True
    """
    return _KNOWN.names()


def find(name: str) -> type[Task]:
    """The task of this name.

    >>> find("classification").__name__
    'Classification'
    """
    return _KNOWN.find(name)


def from_description(description: Mapping[str, object]) -> Task:
    """The task that ``Task.describe`` described.

    >>> task = find("classification")(("shirt", "shoe"))
    >>> from_description(task.describe()) == task
    True
    """
    settings = {key: _as_tuples(value) for key, value in description.items()}
    kind = find(str(settings.pop("name", "")))
    try:
        task = kind(**settings)
    except TypeError as error:
        raise UserError(f"task {kind.name!r}: {error}") from None
    bounds.check(task, f"task {kind.name!r}")
    return task


def kind_of(task: "Task | str | Mapping[str, object]") -> "type[Task]":
    """The class of a task that is given as in ``made``.

    >>> kind_of({"name": "regression"}).__name__
    'Regression'
    """
    if isinstance(task, Task):
        return type(task)
    return find(task if isinstance(task, str) else str(task.get("name", "")))


def made(task: "Task | str | Mapping[str, object]", targets: Nested, names: Sequence[str] | int | None = None) -> Task:
    """A task from the user's argument: the task itself, its name, or a mapping of its name and settings.

    >>> import torch
    >>> made("classification", torch.tensor([0, 2])).names
    ('0', '1', '2')
    """
    if isinstance(task, Task):
        bounds.check(task, f"task {task.name!r}")
        return task
    settings = {"name": task} if isinstance(task, str) else {**task}
    if "name" not in settings:
        raise UserError(f"a task is described by its name and settings, as in {{name = 'regression'}}, not {settings}")
    kind = kind_of(settings)
    del settings["name"]
    known = [field.name for field in fields(kind)]
    for setting in settings:
        if setting not in known:
            raise UserError(f"task {kind.name!r} has no setting {setting!r}{did_you_mean(setting, known)}")
    task = kind.of(targets, names=names, **settings)
    if settings:
        bounds.check(task, f"task {kind.name!r}")
    return task


def _as_tuples(value: object) -> object:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
