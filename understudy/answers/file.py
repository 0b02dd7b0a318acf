"""One value of one view of every sample in one file: a record for each sample, in the place of its number.

A record is its words and a checksum behind them, written in one piece. A place that was never written, or not to its
end, has the checksum 0 and counts as empty; a record whose checksum does not fit is damaged. So a process may be killed
at any moment, and several may write at once: they write the same into the same places.
"""

import contextlib
import os
import threading
import weakref
from io import FileIO
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from understudy import files, randomness
from understudy.answers.encoding import WORD
from understudy.data.dataset import usable_memory

AT_ONCE = 8 * 2**20  # bytes that the system is asked to read
SHARE = 4  # of the memory that a file may take


class Shelf:
    """The file of one value of one view.

    Args:
        path: need not exist; it is made, empty, when something is written. Empty places take no room on the disk.
        places: the number of samples.
        words: of one record.
    """

    def __init__(self, path: Path, places: int, words: int):
        self.path, self.places, self.words = path, places, words
        # Of the store's and the file's own name: a file that was copied to another place does not fit there.
        self._key = crc32(f"{path.parent.name}/{path.name}".encode())
        self._weights = randomness.bits(0, 0, torch.arange(words), "stored/weights") | 1
        self._reading: FileIO | None = None
        self._file: int | None = None
        self._closing: weakref.finalize[..., Shelf] | None = None

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The words of these samples; which of them are there; which are damaged.

        The file is read, not mapped into memory: a file that another process cuts short, or a place for which a full
        file system has no room, would end the whole process by SIGBUS when a mapped page of it is touched.
        """
        file = self._readable()
        if file is None:
            nowhere = torch.zeros(len(ids), dtype=torch.bool)
            return torch.zeros(len(ids), self.words, dtype=torch.int64), nowhere, nowhere
        records = torch.from_numpy(self._records(file, ids.tolist()))
        words, written = records[:, :-1].contiguous(), records[:, -1]
        there = written == self._checksums(words, ids)
        return words, there, ~there & (written != 0)

    def write(self, ids: Tensor, words: Tensor) -> None:
        """Put these records into their places. Each is written in one piece, its checksum last."""
        file = self._open()
        records = torch.cat((words, self._checksums(words, ids)[:, None]), 1).numpy()
        for place, record in zip(ids.tolist(), records, strict=True):
            os.lseek(file, place * self._width, os.SEEK_SET)
            files.write(file, memoryview(record))

    def close(self) -> None:
        if self._reading is not None:
            self._reading.close()
        if self._closing is not None:
            self._closing()
        self._closing = self._reading = self._file = None

    @property
    def _width(self) -> int:
        return (self.words + 1) * WORD

    def _checksums(self, words: Tensor, ids: Tensor) -> Tensor:
        """One for each record, never 0: a sum with odd weights, which sees any word that changed; and its place's.

        High halves are laid over low ones before: a product with an odd number changes the highest bit alone where
        the highest bit changes, so that two such changes would cancel out.
        """
        folded = words ^ ((words >> 32) & 0xFFFFFFFF)
        sums = (folded * self._weights).sum(1) ^ randomness.bits(self._key, 0, ids, "stored/place")
        return torch.where(sums == 0, 1, sums)

    def _records(self, file: FileIO, places: list[int]) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
        """The records in these places; beyond the end of the file they are empty."""
        width, records = self._width, np.empty((len(places), self.words + 1), np.int64)
        rows = memoryview(records.data).cast("B")
        for number, place in enumerate(places):
            file.seek(place * width)
            if file.readinto(rows[number * width : (number + 1) * width]) != width:
                records[number] = 0
        return records

    def _readable(self) -> FileIO | None:
        """The file, opened for reading; None if it does not exist."""
        if self._reading is None and self.path.exists():
            self._reading = FileIO(self.path)
            weakref.finalize(self, self._reading.close)
            read_ahead(self.path)
        return self._reading

    def _open(self) -> int:
        if self._file is None:
            self._file = files.open_handle(self.path, os.O_RDWR | os.O_CREAT)
            self._closing = weakref.finalize(self, os.close, self._file)
            if os.fstat(self._file).st_size < self.places * self._width:
                files.truncate(self._file, self.places * self._width)
        return self._file


def read_ahead(path: Path) -> None:
    """Let the system read a file into its memory, beside this process; an epoch needs each record of it once.

    Records lie in another order than an epoch asks for them, so that each one alone would be waited for.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    size = path.stat().st_size
    if AT_ONCE < size <= usable_memory() // SHARE:
        threading.Thread(target=_read_ahead, args=(path, size), daemon=True).start()


def _read_ahead(path: Path, size: int) -> None:
    with contextlib.suppress(OSError), path.open("rb") as file:
        for start in range(0, size, AT_ONCE):
            os.posix_fadvise(file.fileno(), start, AT_ONCE, os.POSIX_FADV_WILLNEED)
