"""Data that can only be read one after the other: an iterable with a stated length, whose items are numbered once."""

import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from understudy import nested
from understudy.data.dataset import MODEST
from understudy.data.sources import as_sample, divided
from understudy.errors import UserError
from understudy.files import SCRATCH, remove_tree
from understudy.nested import Nested

_READ_TWICE = 4  # items that must be the same both times


@dataclass(frozen=True)
class Stream:
    """An iterable data set with its length. Every iteration must give the same items in the same order.

    Its items are read once, from the first to the last, and get their positions as numbers, so that order, views and
    resumption are those of any other data. They are kept in memory, or in a scratch file where they take more than
    512 MB.

    Args:
        make: a function that makes a new iterator, such as a generator function; or an iterable that begins again
            each time, such as an ``IterableDataset`` or a streamed data set of the Hugging Face Hub.
        length: the number of items: those of (input, target), or inputs alone for ``from_inputs``.

    >>> def rows():
    ...     for number in range(20):
    ...         yield torch.full((3,), float(number)), number % 2
    >>> understudy.data.from_datasets(Stream(rows, 20), validation=4).train.ids.shape
    torch.Size([16])
    """

    make: Callable[[], Iterable[object]] | Iterable[object]
    length: int

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[object]:
        made = self.make() if callable(self.make) else self.make
        return iter(made)


def stream_of(dataset: object) -> Stream | None:
    """The stream that a data set is; None for one with numbered items, and for one of unknown length."""
    if isinstance(dataset, Stream):
        return dataset
    if not isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__len__"):
        return None
    try:
        return Stream(dataset, len(dataset))
    except TypeError:  # what PyTorch's own raise for a length that nobody states
        return None


class Numbered:
    """The items of a stream by their positions, as a map-style dataset; they are read when the first is asked for."""

    def __init__(self, stream: Stream):
        if stream.length < 1:
            raise UserError(f"a stream of length {stream.length}: state how many items there are")
        self.stream = stream
        self._read: _Read | None = None

    def __len__(self) -> int:
        return self.stream.length

    def __getitem__(self, index: int) -> object:
        if self._read is None:
            self._read = _read(self.stream)
        return self._read[index]


class _Read:
    """The items of a stream after they have been read: whole, or their targets beside the samples in a file."""

    def __init__(self, rest: list[object], file: "_File | None" = None):
        self.rest, self.file = rest, file

    def __getitem__(self, index: int) -> object:
        return self.rest[index] if self.file is None else (self.file[index], self.rest[index])


class _File:
    """Samples of one shape in a scratch file, which is removed with this object."""

    def __init__(self, first: Tensor, length: int):
        self.folder = Path(tempfile.mkdtemp(prefix=SCRATCH))
        weakref.finalize(self, _remove, self.folder, os.getpid())
        self.shape, self.type, self.dtype = (length, *first.shape), first.numpy().dtype, first.dtype
        self._reserve(first.nbytes * length)
        self._rows: np.ndarray | None = np.memmap(self.path, self.type, "r+", shape=self.shape)

    def _reserve(self, size: int) -> None:
        """Take the room on the disk now: a write into mapped memory would kill the process when none is left."""
        try:
            with self.path.open("wb") as file:
                file.truncate(size)
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise UserError(
                f"the stream takes {size / 1e9:,.2f} GB, and no such file can be made in {self.folder.parent} "
                f"({error.strerror}): make room, or set TMPDIR to another disk"
            ) from error

    @property
    def path(self) -> Path:
        return self.folder / "samples"

    @property
    def rows(self) -> np.ndarray:
        if self._rows is None:
            self._rows = np.memmap(self.path, self.type, "r", shape=self.shape)
        return self._rows

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_rows": None}

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(np.array(self.rows[index]))

    def put(self, index: int, sample: Nested) -> None:
        if not isinstance(sample, Tensor) or sample.shape != self.shape[1:] or sample.dtype != self.dtype:
            there = f"{tuple(sample.shape)} {sample.dtype}" if isinstance(sample, Tensor) else "several tensors"
            raise UserError(
                f"item {index} of the stream has {there}, the first {self.shape[1:]} {self.dtype}: all that take more "
                "than 512 MB must be alike"
            )
        self.rows[index] = sample.numpy()


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # and not a worker process that was forked from it
        remove_tree(folder)


def _read(stream: Stream) -> _Read:
    """The items of a stream, which must be as many as it states, and the same when it begins again."""
    again, items = list(islice(iter(stream), _READ_TWICE)), iter(stream)
    kept: list[object] = []
    file: _File | None = None
    for index, item in enumerate(items):
        if index >= stream.length:
            raise UserError(f"the stream has more items than the {stream.length:,} that it states")
        sample, target = _divided(item)
        if index < len(again) and not nested.same(sample, _divided(again[index])[0]):
            raise UserError(
                f"item {index} of the stream differs when it is read again: an iterator can be read once only (give a "
                "function that makes it), and a shuffled or augmented one gives no numbered samples (leave both out)"
            )
        if index == 0 and sum(tensor.nbytes for tensor in nested.tensors(sample)) * stream.length > MODEST:
            if not isinstance(sample, Tensor) or target is None:
                raise UserError(
                    "the stream takes more than 512 MB, and only items (tensor, target) of such a one can be kept: "
                    "write it to files that are read by number (the data sets webdataset, parquet, numpy)"
                )
            file = _File(sample, stream.length)
        if file is None:
            kept.append(item)
        else:
            file.put(index, sample)
            kept.append(target)
    if len(kept) < stream.length:
        raise UserError(
            f"the stream ends after {len(kept):,} items, and states {stream.length:,}: correct its length; an iterator "
            "can be read once only, so give a function that makes it"
        )
    return _Read(kept, file)


def _divided(item: object) -> tuple[Nested, object]:
    """The input of an item as tensors, and its target; None where it has none."""
    try:
        value, target = divided(item)
    except TypeError:
        value, target = item, None
    try:
        return as_sample(value), target
    except (TypeError, ValueError) as error:
        raise UserError(f"the input of an item of the stream is no tensor, array or picture ({error})") from error
