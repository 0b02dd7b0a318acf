"""Named data sets: their settings, how they are read, and how ``Data`` are made from their contents."""

import dataclasses
import hashlib
import math
import os
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor

from understudy import nested
from understudy.data.parts import Data, Part, channel_statistics, split
from understudy.data.sources import InMemory, MapDataset, Source, Streamed
from understudy.errors import UserError, did_you_mean
from understudy.nested import Nested, Shape
from understudy.printable import shown
from understudy.tasks import Classification, Regression, SoftLabels, Task
from understudy.tasks.classification import are_distributions
from understudy.tasks.words import Words

MOST_UNPACKED = 500_000_000  # bytes of a gzipped file's content
MODEST = 512 * 1024**2  # bytes of samples that are kept in memory on any machine
SHARE = 8  # more are kept up to this part of the machine's memory, and above it they are streamed by worker processes
MOSTLY = 0.5  # share of distributions among the rows of a file above which all are meant to be such
_CONTAINER = (  # the limit of a container, or "max": of cgroups in version 2, and in version 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
FEW = 256  # images that are read sooner than worker processes have started
Progress = Callable[[str, int, int | None], None]  # file, bytes so far, total bytes or None


@dataclass(frozen=True)
class Access:
    """The options that are common to the reading of all named data sets.

    Args:
        root: the folder that the user gave, or None.
        verify: refuse files that are not the published ones.
        download: download missing files.
        progress: called with (file name, bytes so far, bytes in all or None) while downloading.
        workers: processes that read data which do not fit in memory.
        memory: the gigabytes that the samples of a part may take in memory; None follows from the machine.
        labels: false if the task leaves labels out, so that samples without any may be read.

    >>> Access(root=Path("photos")).folder
    PosixPath('photos')
    """

    root: Path | None = None
    verify: bool = True
    download: bool = True
    progress: Progress | None = None
    workers: int = 2
    labels: bool = True
    memory: float | None = None

    @property
    def folder(self) -> Path:
        """The folder that holds the data sets: ``root``, $UNDERSTUDY_DATA, or one in the user's cache."""
        default = os.environ.get("UNDERSTUDY_DATA") or "~/.cache/understudy/data"
        return self.root if self.root is not None else Path(default).expanduser()


@dataclass(frozen=True)
class Contents:
    """The contents of a data set: a training source, a function that opens the test source, the task, and facts.

    Without a task, the data set is classification into ``classes``. The run folder records ``facts``. ``problems``
    looks at files without reading them whole, those of the test part too, and returns what is wrong with them.
    A data set with a validation part names it; no training samples are then split off, and ``validation = 0`` leaves it
    out. If a data set is not ``divisible``, because its samples tell of each other, none are split off in any case.
    ``image`` describes how an image file becomes a sample, where that is not the rule of the task (``data.images``).
    ``token_tables`` are those by which texts are inputs beside the task's own (``tasks.words.by_tables``).

    >>> Contents(train, open_test=lambda: test, classes=("cat", "dog"))  # doctest: +SKIP
    """

    train: Source
    open_test: Callable[[], Source] | None
    classes: tuple[str, ...] = ()
    facts: dict[str, object] = field(default_factory=dict)
    task: Task | None = None
    problems: Callable[[], Iterator[str]] | None = None
    validation: Source | None = None
    divisible: bool = True
    image: dict[str, object] = field(default_factory=dict)
    token_tables: Mapping[str, Words] = field(default_factory=dict)

    def named(self, classes: tuple[str, ...] | None) -> "Contents":
        """The same contents with other class names, if given."""
        if classes is None:
            return self
        if len(classes) != len(self.classes):
            raise UserError(f"there are {len(self.classes)} classes, but classes= names {len(classes)}")
        return replace(self, classes=classes)


@dataclass(frozen=True)
class Named:
    """The settings of a data set with class names that can be replaced.

    Args:
        classes: the classes' names in the order of their numbers.
    """

    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class NoSettings:
    """The settings of a data set without settings."""


S = TypeVar("S")
RESERVED = frozenset(
    {
        "name",
        "root",
        "validation",
        "student_samples",
        "unlabelled",
        "workers",
        "memory",
        "whiten",
        "task",
        "settings",
        "answered_by",
    }
)


@dataclass(frozen=True)
class DataSet(Generic[S]):
    """A named data set: a one-line description, the function that reads it, and its settings.

    Args:
        name: the name for ``understudy.data.load`` and ``[data] name = ...``.
        about: a one-line description.
        read: a function of its settings and of an ``Access``. It returns ``Contents``, or anything that
            ``understudy.distill`` takes as data.
        settings: a frozen dataclass whose fields are the settings; their annotations are checked.
        suffixes: of files of this form: one, or a folder that holds some, needs no name of a data set.

    >>> @dataclass(frozen=True)
    ... class Settings:
    ...     samples: int = 8
    >>> def read(settings, access):
    ...     return torch.zeros(settings.samples, 3), torch.arange(settings.samples) % 2
    >>> DataSet("zeros", "zeros of two classes", read, Settings).configured({"samples": 4})
    Settings(samples=4)
    """

    name: str
    about: str
    read: Callable[[S, Access], object]
    settings: type[S] = NoSettings  # type: ignore[assignment]
    suffixes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if taken := RESERVED.intersection(self.known):
            raise UserError(f"data set {self.name!r}: the setting {min(taken)!r} is one of all data sets; rename it")

    def lies_at(self, path: Path) -> bool:
        """Whether a path is a file of this form, or a folder that holds some."""
        if path.is_dir():
            return any(file.suffix in self.suffixes for file in path.iterdir())
        return path.suffix in self.suffixes and path.is_file()

    @property
    def known(self) -> list[str]:
        """The names of its settings."""
        return [setting.name for setting in dataclasses.fields(self.settings)]  # type: ignore[arg-type]

    def mistakes(self, given: Mapping[str, object], beside: Iterable[str] = ()) -> dict[str, str]:
        """Each invalid setting with the reason; ``beside`` are further valid keys for suggestions."""
        known = [*self.known, *beside]
        reasons = {
            key: f"data set {self.name!r} has no such setting{did_you_mean(key, known)}"
            for key in given
            if key not in self.known
        }
        checked = self._checked({key: value for key, value in given.items() if key in self.known})
        return reasons | (checked if isinstance(checked, dict) else {})

    def configured(self, given: Mapping[str, object]) -> S:
        """The settings as an object; a ``UserError`` for the first invalid one."""
        for key, reason in self.mistakes(given).items():
            raise UserError(f"{self.name!r}: {key}: {reason}")
        settings = self._checked(given)
        assert not isinstance(settings, dict)
        return settings

    def _checked(self, given: Mapping[str, object]) -> S | dict[str, str]:
        """The settings as an object, or the reasons why they are invalid."""
        from pydantic import TypeAdapter, ValidationError  # late: it takes longer to import than all of this package

        try:
            return TypeAdapter(self.settings).validate_python(dict(given))
        except ValidationError as error:
            reasons: dict[str, str] = {}
            for entry in error.errors():
                message = str(entry["msg"])
                missing = entry["type"] in ("missing", "missing_argument")
                reason = f"{message[0].lower()}{message[1:]} (it is {shown(entry['input'])})"
                reasons.setdefault(str(entry["loc"][0]), "it must be given" if missing else reason)
            return reasons


def assembled(contents: Contents, *, name: str, validation: int | float, seed: int) -> Data:
    """The data set in its three parts; the test source is opened on first use."""
    task = contents.task or Classification(contents.classes)
    checked(contents.train, task, f"{name}, training part")
    shape = sample_shape(contents.train)

    def check_shape(source: Source, called: str) -> None:
        if sample_shape(source) != shape:
            raise UserError(f"{name}: {called} samples have shape {sample_shape(source)}, training samples {shape}")

    if contents.validation is not None:
        checked(contents.validation, task, f"{name}, validation part")
        check_shape(contents.validation, "validation")
        train, chosen = _whole(contents.train), _whole(contents.validation) if validation else None
    else:
        count = validation if contents.divisible else 0
        train, chosen = split(contents.train, count, seed=seed, strata=task.strata(contents.train.targets))
    mean, std = channel_statistics(train, MODEST)
    open_source = contents.open_test

    def open_test() -> Part:
        assert open_source is not None
        with plain_errors():
            source = open_source()
        checked(source, task, f"{name}, test part")
        check_shape(source, "test")
        return _whole(source)

    return Data(
        train=train,
        validation=chosen,
        open_test=open_test if open_source else None,
        task=task,
        shape=task.sizes(shape),
        name=name,
        mean=mean,
        std=std,
        image=contents.image,
        token_tables=contents.token_tables,
        facts=contents.facts,
        look=contents.problems,
    )


def task_of(targets: Tensor, names: Sequence[str] | None) -> Task:
    """The task of targets in a file: one column of class numbers, several of probabilities, or numbers.

    >>> task_of(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), None).name, task_of(torch.rand(4, 2), None).name
    ('soft-labels', 'regression')
    """
    if targets.ndim == 1:
        return Classification.of(targets, names=names)
    rows = targets.ndim == 2 and targets.shape[1] > 1
    if rows and are_distributions(targets.float()).float().mean() > MOSTLY:  # the others are then named as errors
        return SoftLabels.of(targets, names=names)
    return Regression.of(targets, names=names)


def _whole(source: Source) -> Part:
    return Part(source, torch.arange(len(source)))


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turns the ``OSError`` of a missing or unreadable file into a ``UserError``."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot read {error.filename or 'the data'} ({error.strerror or error})") from error


def problems_of(read: Callable[[], object]) -> Callable[[], Iterator[str]]:
    """The error of a test part as ``Contents.problems``: it is found before a training, and not when all are done.

    Args:
        read: what is to be read of the part; its warnings come when the part is opened.

    >>> def read():
    ...     raise UserError("no labels")
    >>> list(problems_of(read)())
    ['no labels']
    """

    def look() -> Iterator[str]:
        try:
            with plain_errors(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read()
        except UserError as error:
            yield str(error)

    return look


def checked(source: Source, task: Task, what: str) -> None:
    """Checks that there are samples with valid targets, and converts the targets to the types used in training."""
    if not len(source):
        raise UserError(f"{what}: there are no samples")
    if len(source) != (targets := nested.count(source.targets)):
        raise UserError(f"{what}: {len(source)} samples and {targets} labels; there must be one for each")
    source.targets = check_targets(source.targets, task, what)


def check_targets(targets: Nested, task: Task, what: str) -> Nested:
    """The targets in the types used in training; a ``UserError`` if they are not valid."""
    try:
        found = task.converted(targets)
        task.check(found)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    return found


def sample_shape(source: Source) -> Shape:
    """The shape of one sample's input."""
    if isinstance(source, InMemory):
        return nested.shape_of(source.samples)
    first = torch.zeros(1, dtype=torch.int64)
    return nested.shape_of(next(iter(source.batches([first], torch.device("cpu")))))


def memory_for_samples(gigabytes: float | None = None) -> float:
    """The bytes that the samples of a part may take in memory: those given, or an eighth of what this process may use.

    It is 512 MiB at least. Processes that torchrun started on a machine share it.

    >>> memory_for_samples(2)
    2000000000.0
    """
    if gigabytes is not None:
        return gigabytes * 1e9
    return max(MODEST, usable_memory() / SHARE / int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def usable_memory() -> int:
    """The bytes of memory that this process may use, a container's limit included; 0 where the system does not say.

    No more than the memory of a GPU, to which samples in memory are moved.

    >>> usable_memory() >= 0
    True
    """
    try:
        whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0
    if torch.cuda.is_available():
        whole = min(whole, torch.cuda.get_device_properties(0).total_memory)
    for limit in _CONTAINER:
        with suppress(OSError, ValueError):  # no container, or one without a limit
            whole = min(whole, int(limit.read_text(encoding="utf-8")))
    return whole


def warn_of_unread(root: Path, names: Sequence[str], known: str) -> None:
    """Warn of what lies beside the parts of a data set and is none of them, as under a misspelt name.

    >>> warn_of_unread(Path("photos"), [], "train, val and test")
    """
    if names:
        few = ", ".join(map(shown, names[:5])) + (", ..." if len(names) > 5 else "")
        warnings.warn(f"{root}: {few}: not read, since parts are called {known}", stacklevel=2)


def image_source(images: MapDataset, targets: Nested, shape: tuple[int, ...], access: Access) -> Source:
    """Images of bytes of one shape, decoded once into memory where they fit; else by workers when they are needed."""
    size = len(images) * math.prod(shape)
    if size > memory_for_samples(access.memory):
        return Streamed(images, targets, workers=access.workers)
    return kept(Streamed(images, targets, workers=access.workers if len(images) > FEW else 0), size)


def kept(streamed: Streamed, size: int) -> InMemory:
    """Samples of so many bytes, read into memory once."""
    lists = list(torch.arange(len(streamed)).split(64))
    whole: Nested | None = None
    for ids, batch in zip(lists, streamed.batches(lists, torch.device("cpu")), strict=True):
        if whole is None:
            whole = nested.each(lambda values: values.new_empty((len(streamed), *values.shape[1:])), batch)
        for values, part in zip(nested.tensors(whole), nested.tensors(batch), strict=True):
            values[ids] = part
    samples = torch.empty(0) if whole is None else whole
    return InMemory(samples, streamed.targets, read_from=streamed if size > MODEST else None)


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """A hash of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def unpacked(path: Path, most: int = MOST_UNPACKED) -> bytes:
    """What a gzipped file holds, as far as it goes; a ``UserError`` where that is more than any data set's file.

    Raises:
        zlib.error: the file is damaged.
    """
    unpacking = zlib.decompressobj(wbits=31)
    content = unpacking.decompress(path.read_bytes(), most + 1)
    if len(content) > most:
        raise UserError(f"{path} unpacks to more than {most:,} bytes, which no published file does: delete it")
    return content


def check_md5(path: Path, actual: str, expected: str) -> None:
    """Raises a ``UserError`` if the md5 is not that of the published file."""
    if actual != expected:
        raise UserError(
            f"{path} is not the published file (md5 of its content {actual}, expected {expected}): delete it to "
            "download it again, or pass verify=False if the data are meant to differ"
        )


def md5_of_content(content: bytes) -> str:
    """The md5 of the unpacked content of a file."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def truncated(path: Path, expected: int, actual: int) -> UserError:
    """The error for a file of the wrong size."""
    kind = "truncated" if actual < expected else "too long"
    return UserError(f"{path} is {kind}: {expected:,} bytes expected, {actual:,} found; delete it and get it again")
