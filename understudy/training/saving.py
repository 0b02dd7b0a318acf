"""When checkpoints are written, and how: small states at once, large ones by a thread beside the training."""

import threading
import time
from pathlib import Path

from understudy.data.dataset import usable_memory
from understudy.training import checkpoints

SHARE = 0.02  # the largest share of the time for checkpoints
BESIDE = 64 * 2**20  # bytes of a state that is written by a thread, from a copy in main memory
ROOM = 4  # such a copy takes at most one part in so many of the memory


class Saver:
    """The checkpoints of a training, at most one of which is being written.

    Args:
        folder: where they go.
        every: seconds between two of them; longer where writing one would take over 2 % of the time.
        shares_cores: whether the training computes on the cores that write.
    """

    def __init__(self, folder: Path, every: float, *, shares_cores: bool):
        self.folder, self.every, self.shares_cores = folder, every, shares_cores
        self.paused = 0.0  # seconds that the training waited for the last one
        self.written = 0.0  # seconds until it was written
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    @property
    def until_next(self) -> float:
        """Seconds between two checkpoints; none after an error, which the next one raises."""
        if not self.every or self._error is not None:
            return 0.0
        taken = max(self.paused, self.written) if self.shares_cores else self.paused
        return max(self.every, taken / SHARE, 2 * self.written)

    def write(self, number: int, state: object, *, wait: bool = False) -> None:
        """Write a state; a large one from a copy, while the training goes on, unless it should ``wait``."""
        began = time.monotonic()
        self.finish()
        structure, tensors = checkpoints.flat(state)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        sharded = any(hasattr(tensor, "full_tensor") for tensor in tensors.values())  # all ranks gather them together
        if wait or sharded or size < BESIDE or not _has_room(size):
            checkpoints.write_flat(self.folder, number, structure, tensors)
            self.written = time.monotonic() - began
        else:
            copies = {name: tensor.to("cpu", copy=True) for name, tensor in tensors.items()}

            def beside() -> None:
                try:
                    checkpoints.write_flat(self.folder, number, structure, copies)
                except Exception as error:
                    self._error = error
                self.written = time.monotonic() - began

            self._thread = threading.Thread(target=beside, name="checkpoint", daemon=True)
            self._thread.start()
        self.paused = time.monotonic() - began

    def finish(self) -> None:
        """Wait for the one that is being written; its error is raised here."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error


def _has_room(size: int) -> bool:
    """Whether a copy of so many bytes leaves enough of the memory; where that is not known, it does."""
    memory = usable_memory()
    return not memory or size <= memory // ROOM
