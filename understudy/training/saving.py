"""When checkpoints are written, and how: small states at once, large ones by a thread beside the training."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from understudy.data.dataset import usable_memory
from understudy.errors import UserError
from understudy.ranks import Ranks
from understudy.training import checkpoints, parts

SHARE = 0.02  # the largest share of the time for checkpoints
BESIDE = 64 * 2**20  # bytes of a state that is written by a thread, from a copy in main memory
ROOM = 4  # such a copy takes at most one part in so many of the memory


@dataclass(frozen=True)
class Pending:
    """A checkpoint of which the ranks write their parts."""

    number: int
    structure: str
    shapes: dict[str, list[int]]


@dataclass(frozen=True)
class Written:
    """What a rank says of its part: its SHA-256, or why there is none, and the seconds that it took."""

    digest: str
    error: str | None
    paused: float
    written: float


class Saver:
    """The checkpoints of a training, at most one of which is being written.

    Args:
        folder: where they go.
        every: seconds between two of them; longer where writing one would take over 2 % of the time.
        shares_cores: whether the training computes on the cores that write.
        ranks: those that write a part each, of a student that is sharded. All of them call ``write`` and ``finish`` at
            the same place of the training.
    """

    def __init__(self, folder: Path, every: float, *, shares_cores: bool, ranks: Ranks | None = None):
        self.folder, self.every, self.shares_cores, self.ranks = folder, every, shares_cores, ranks
        self.paused = 0.0  # seconds that the training waited for the last one
        self.written = 0.0  # seconds until it was written
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._pending: Pending | None = None
        self._digest = ""  # of this rank's part

    @property
    def until_next(self) -> float:
        """Seconds between two checkpoints; none after an error, which the next one raises."""
        if not self.every or self._error is not None:
            return 0.0
        taken = max(self.paused, self.written) if self.shares_cores else self.paused
        return max(self.every, taken / SHARE, 2 * self.written)

    @property
    def has_part(self) -> bool:
        """Whether this rank has written its part, or could not, of a checkpoint that is not complete yet."""
        return self._pending is not None and (self._thread is None or not self._thread.is_alive())

    def write(self, number: int, state: object, *, wait: bool = False) -> None:
        """Write a state; a large one from a copy, while the training goes on, unless it should ``wait``."""
        began = time.monotonic()
        self.finish()
        structure, tensors = checkpoints.flat(state)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())  # of all ranks
        if self.ranks is not None:
            tensors, shapes = parts.cut(tensors, self.ranks.rank)
            self._pending = Pending(number, structure, shapes)
        beside = size >= BESIDE and not wait and self._has_room(tensors)
        if beside:
            tensors = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}

        def work() -> None:
            try:
                if self.ranks is None:
                    checkpoints.write_flat(self.folder, number, structure, tensors)
                else:
                    rank, world = self.ranks.rank, self.ranks.world
                    self._digest = checkpoints.write_part(self.folder, number, rank, world, tensors)
            except Exception as error:
                self._error = error
            self.written = time.monotonic() - began

        if beside:
            self._thread = threading.Thread(target=work, name="checkpoint", daemon=True)
            self._thread.start()
            self.paused = time.monotonic() - began
        else:
            work()
            self.paused = time.monotonic() - began
            self.finish()

    def finish(self) -> None:
        """Wait for the one that is being written; its error, on any rank, is raised here."""
        error = self._joined()
        pending, self._pending = self._pending, None
        if pending is not None and self.ranks is not None:
            self._complete(pending, error, self.ranks)
        elif error is not None:
            raise error

    def abandon(self) -> None:
        """Wait for what is being written after an error of the training, which the other ranks may not share.

        A checkpoint in parts is given up, since all ranks would have to complete it.
        """
        self._joined()
        self._pending = None

    def _joined(self) -> Exception | None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        return error

    def _complete(self, pending: Pending, error: Exception | None, ranks: Ranks) -> None:
        """Complete a checkpoint where all ranks have written their parts; else all of them raise an error."""
        began = time.monotonic()
        said = None if error is None else f"{error}"
        everywhere = ranks.objects(Written(self._digest, said, self.paused, self.written))
        if error is not None:
            raise error
        for rank, other in enumerate(everywhere):
            if other.error is not None:
                raise UserError(f"process {rank}: {other.error}")
        if ranks.rank == 0:
            try:
                digests = [other.digest for other in everywhere]
                checkpoints.complete(self.folder, pending.number, pending.structure, pending.shapes, digests)
            except UserError as caught:
                said = str(caught)
        said = ranks.from_first(said)
        if said is not None:
            raise UserError(said)
        self.paused = max(other.paused for other in everywhere) + time.monotonic() - began
        self.written = max(self.paused, *(other.written for other in everywhere))

    def _has_room(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether a copy leaves enough of the memory, on all ranks; where that is not known, it does."""
        memory = usable_memory()
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if self.ranks is None:
            return not memory or size <= memory // ROOM
        here = int(os.environ.get("LOCAL_WORLD_SIZE", self.ranks.world))  # ranks of a machine, which copy at once
        return all(self.ranks.objects(not memory or size * here <= memory // ROOM))
