"""What every reader of a data set shares: its settings, what it finds, and how that becomes a ``Data``."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from understudy import nested
from understudy.data.parts import Data, Part, channel_statistics, split
from understudy.data.sources import InMemory, Source
from understudy.errors import UserError
from understudy.nested import Shape
from understudy.tasks import Classification, Task

MEMORY_LIMIT = 512 * 1024**2  # bytes; larger sets are streamed by worker processes
Progress = Callable[[str, int, int | None], None]  # file, bytes so far, bytes in all where known


@dataclass(frozen=True)
class Options:
    """How a named data set is read; each reader looks at what concerns it."""

    verify: bool = True
    download: bool = True
    progress: Progress | None = None
    workers: int = 2
    classes: tuple[str, ...] | None = None
    size: int | None = None
    channels: int = 3
    extra: bool = False


@dataclass(frozen=True)
class Found:
    """A training source, the way to the test source, and the task; without one, classification into ``classes``."""

    train: Source
    open_test: Callable[[], Source] | None
    classes: tuple[str, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)
    task: Task | None = None


def assembled(found: Found, *, name: str, validation: int | float, seed: int) -> Data:
    """The data set in its three parts; the test source is opened only when it is asked for."""
    task = found.task or Classification(found.classes)
    checked(found.train, task, f"{name}, training part")
    shape = sample_shape(found.train)
    train, chosen = split(found.train, validation, seed=seed, strata=task.strata(found.train.targets))
    mean, std = channel_statistics(train)
    open_source = found.open_test

    def open_test() -> Part:
        assert open_source is not None
        with plain_errors():
            source = open_source()
        checked(source, task, f"{name}, test part")
        if sample_shape(source) != shape:
            raise UserError(f"{name}: test samples have shape {sample_shape(source)}, training samples {shape}")
        return Part(source, torch.arange(len(source)))

    return Data(
        train=train,
        validation=chosen,
        open_test=open_test if open_source else None,
        task=task,
        shape=shape,
        name=name,
        mean=mean,
        std=std,
        facts=found.facts,
    )


@contextmanager
def plain_errors() -> Iterator[None]:
    """A file that vanished or may not be read is the user's to put right."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read {error.filename or 'the data'} ({error.strerror or error})") from error


def checked(source: Source, task: Task, what: str) -> None:
    """There are samples, and every target is one of the task; targets get the types in which training uses them."""
    if not len(source):
        raise UserError(f"{what}: there are no samples")
    if len(source) != (targets := nested.count(source.targets)):
        raise UserError(f"{what}: {len(source)} samples and {targets} labels; there must be one for each")
    try:
        source.targets = task.converted(source.targets)
        task.check(source.targets)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def sample_shape(source: Source) -> Shape:
    """The shape of one sample's input."""
    if isinstance(source, InMemory):
        return nested.shape_of(source.samples)
    first = torch.zeros(1, dtype=torch.int64)
    return nested.shape_of(next(iter(source.batches([first], torch.device("cpu")))))


def md5_of(path: Path) -> str:
    """The md5 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def check_md5(path: Path, found: str, expected: str) -> None:
    """The file holds what was published."""
    if found != expected:
        raise UserError(
            f"{path} is not the published file (md5 of its content {found}, expected {expected}): delete it to "
            "download it again, or pass verify=False if the data are meant to differ"
        )


def md5_of_content(content: bytes) -> str:
    """The md5 of what a file holds, unpacked."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def truncated(path: Path, expected: int, found: int) -> UserError:
    """The line for a file of the wrong size."""
    kind = "truncated" if found < expected else "too long"
    return UserError(f"{path} is {kind}: {expected:,} bytes expected, {found:,} found; delete it and get it again")
