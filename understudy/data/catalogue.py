"""Data by name: a data set of this package, of another package, or of a function of the user."""

import inspect
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from understudy import tasks
from understudy.data.dataset import RESERVED, Access, Contents, Progress, assembled, plain_errors
from understudy.data.images import holds_images
from understudy.data.own import TaskLike, from_object
from understudy.data.parts import Data
from understudy.data.sets import DATASETS
from understudy.errors import UserError, did_you_mean
from understudy.trusted import call_factory


def names() -> dict[str, str]:
    """The names that ``load`` accepts, each with a one-line description.

    >>> names()["cifar10"]
    'photographs, 50,000 + 10,000 of 32 x 32, colour, 10 classes'
    """
    return {name: dataset.about for name, dataset in DATASETS.items()}


def at_path(name: str) -> str | None:
    """The data set that reads what lies at a path; None for the name of a data set, and where nothing lies.

    A folder that holds no files of another data set (``DataSet.suffixes``) is one of images.
    """
    path = Path(name).expanduser()
    if name in DATASETS or not path.exists():
        return None
    found = [dataset.name for dataset in DATASETS.values() if dataset.lies_at(path)]
    if path.is_dir() and (not found or holds_images(path)):
        found.append("folder")
    if len(found) > 1:
        raise UserError(
            f"data {name}: it holds files of several data sets ({', '.join(found)}): move the others away, or name the "
            "data set and its root, as in a recipe"
        )
    if found:
        return found[0]
    known = sorted({suffix for dataset in DATASETS.values() for suffix in dataset.suffixes})
    raise UserError(f"data {name}: this file is read as no data; files that are: {', '.join(known)}")


def load(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    validation: int | float = 0.1,
    seed: int = 0,
    workers: int = 2,
    memory: float | None = None,
    verify: bool = True,
    download: bool = True,
    progress: Progress | None = None,
    trusted: Collection[str] = (),
    task: TaskLike | None = None,
    **settings: object,
) -> Data:
    """A data set by its name, read from its published files, which are downloaded if they are missing.

    >>> data = load("demo", validation=500)
    >>> len(data.train), len(data.validation), data.shape
    (4500, 500, (1, 28, 28))

    Args:
        name: one of ``names()``; or ``MODULE:FUNCTION``, a function that returns what ``understudy.distill`` takes.
        root: the data folder ($UNDERSTUDY_DATA or ~/.cache/understudy/data); for 'folder' the images' own folder.
        validation: the size of the validation part, taken off the training samples: a number, a share below 1, or 0.
        seed: selects these samples.
        workers: processes that read data which do not fit in memory.
        memory: the gigabytes that the samples of a part may take in memory; by default an eighth of what this process
            may use, 512 MiB at least. The samples are the same, whether they fit or not.
        verify: refuse files that are not the published ones.
        download: download missing files.
        progress: called with (file name, bytes so far, bytes in all or None) while downloading.
        trusted: modules from which ``MODULE:FUNCTION`` may run code (with all below them).
        task: replaces the task of the data set: a task's name, or a mapping of name and settings.
        settings: the settings of that data set or function, such as ``extra=True`` for 'svhn'.
    """
    place = Path(root).expanduser() if root is not None else None
    labels = task is None or tasks.kind_of(task).labelled
    access = Access(place, verify, download, progress, workers, labels, memory)
    split: _Split = {"validation": validation, "seed": seed}
    if ":" in name:
        made = call_factory(name, trusted, "data", lambda make: make(**_arguments(name, make, settings, access)))
        return _from_object(made, task, access, name=name, split=split)
    dataset = DATASETS.find(name)
    _refuse_foreign(name, settings)
    with plain_errors():
        contents = dataset.read(dataset.configured(settings), access)
    if not isinstance(contents, Contents):
        return _from_object(contents, task, access, name=name, split=split)
    if task is not None:
        names = contents.task.names if contents.task else contents.classes
        if not labels:  # the outputs are the teacher's, whatever classes the samples are of
            names = getattr(dataset.configured(settings), "classes", None) or ()
        contents = replace(contents, task=tasks.made(task, contents.train.targets, names))
    return assembled(contents, name=name, **split)


class _Split(TypedDict):
    validation: int | float
    seed: int


def _from_object(made: object, task: TaskLike | None, access: Access, *, name: str, split: _Split) -> Data:
    """Data from the value that a function or a data set returned; ``Data`` already have a task."""
    if task is None:
        return from_object(made, workers=access.workers, memory=access.memory, name=name, **split)
    if isinstance(made, Data):
        raise UserError(f"{name} returns Data, which have the task {made.task.name!r}: leave task out")
    return from_object(made, task=task, workers=access.workers, memory=access.memory, name=name, **split)


def as_data(
    anything: object, *, validation: int | float = 0.1, seed: int = 0, task: TaskLike = "classification"
) -> Data:
    """Converts to ``Data``: data themselves, tensors (x, y), a Dataset, a pair (train, test) of either, or a name.

    >>> as_data("demo", validation=0).shape
    (1, 28, 28)

    A name is one of ``names()``, or the path of a folder with ``train/CLASS/`` below it, of an ``.npz`` or another file
    that a data set reads.
    """
    if not isinstance(anything, (str, os.PathLike)):
        return from_object(anything, validation=validation, seed=seed, task=task)
    name = os.fspath(anything)
    if (found := at_path(name)) is not None:
        return load(found, name, validation=validation, seed=seed)
    return load(name, validation=validation, seed=seed)


def _refuse_foreign(name: str, settings: Mapping[str, object]) -> None:
    """Raises a ``UserError`` for a setting of another data set, and names that data set."""
    for key in settings:
        if key not in DATASETS[name].known:
            owner = next((other.name for other in DATASETS.values() if key in other.known), None)
            if owner is not None:
                raise UserError(f"{key} is a setting of {owner!r}; {name!r} has none of that name: leave it out")


def _arguments(
    name: str, make: Callable[..., object], settings: Mapping[str, object], access: Access
) -> dict[str, object]:
    """The arguments of the function: its settings, and root and workers if it has parameters of these names."""
    parameters = inspect.signature(make).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    own = [key for key in parameters if key not in RESERVED]
    for key in settings:
        if key not in parameters and not anything:
            raise UserError(f"data {name!r} has no setting {key!r}{did_you_mean(key, own)}")
    if access.root is not None and "root" not in parameters:
        raise UserError(f"data {name!r}: its function has no parameter 'root': leave root out")
    given = {"root": access.root, "workers": access.workers, "memory": access.memory}
    common = {key: value for key, value in given.items() if key in parameters and value is not None}
    return {**common, **settings}
