"""What every reader of a data set shares: its settings, what it finds, and how that becomes a ``Data``."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from understudy.data.parts import Data, Part, channel_statistics, split
from understudy.data.sources import InMemory, Source
from understudy.errors import UserError

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
    """A training source, the way to the test source, and the class names."""

    train: Source
    open_test: Callable[[], Source] | None
    classes: tuple[str, ...]
    facts: dict[str, object] = field(default_factory=dict)


def assembled(found: Found, *, name: str, validation: int | float, seed: int) -> Data:
    """The data set in its three parts; the test source is opened only when it is asked for."""
    classes = len(found.classes)
    check_labels(found.train, classes, f"{name}, training part")
    shape = sample_shape(found.train)
    train, chosen = split(found.train, validation, seed=seed, classes=classes)
    mean, std = channel_statistics(train)
    open_source = found.open_test

    def open_test() -> Part:
        assert open_source is not None
        with plain_errors():
            source = open_source()
        check_labels(source, classes, f"{name}, test part")
        if sample_shape(source) != shape:
            raise UserError(f"{name}: test samples have shape {sample_shape(source)}, training samples {shape}")
        return Part(source, torch.arange(len(source)))

    return Data(
        train=train,
        validation=chosen,
        open_test=open_test if open_source else None,
        classes=found.classes,
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


def check_labels(source: Source, classes: int, what: str) -> None:
    """There are samples, and every label is a class number."""
    if not len(source):
        raise UserError(f"{what}: there are no samples")
    if len(source) != len(source.targets):
        raise UserError(f"{what}: {len(source)} samples and {len(source.targets)} labels; there must be one for each")
    wrong = ((source.targets < 0) | (source.targets >= classes)).nonzero().flatten()
    if len(wrong):
        first = int(wrong[0])
        raise UserError(
            f"{what}: sample {first} has label {int(source.targets[first])}, "
            f"but the {classes} classes are numbered 0 to {classes - 1} ({len(wrong)} such labels)"
        )


def sample_shape(source: Source) -> tuple[int, ...]:
    """The shape of one sample."""
    if isinstance(source, InMemory):
        return tuple(source.samples.shape[1:])
    first = torch.zeros(1, dtype=torch.int64)
    return tuple(next(iter(source.batches([first], torch.device("cpu")))).shape[1:])


def class_names(classes: int | Sequence[str] | None, labels: Tensor) -> tuple[str, ...]:
    """Names given, or numbers: as many as said, or as the labels call for."""
    if classes is None:
        classes = int(labels.max()) + 1 if len(labels) else 0
    if isinstance(classes, int):
        return tuple(str(number) for number in range(classes))
    return tuple(classes)


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
