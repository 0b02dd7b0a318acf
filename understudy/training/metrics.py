"""``metrics.jsonl``: one JSON object for each epoch."""

import os
from pathlib import Path

from understudy.errors import UserError
from understudy.files import is_kept
from understudy.training.records import Epoch


class Log:
    """The epochs of a training, added one by one; after a kill, shortened to what the checkpoint knew."""

    def __init__(self, path: Path | None):
        self.path = path
        self.epochs: list[Epoch] = []

    def write(self, epoch: Epoch) -> int:
        """Add a line; returns the file's length from here on."""
        self.epochs.append(epoch)
        if self.path is None:
            return 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(epoch.line())
                file.flush()
                if is_kept(self.path):
                    os.fsync(file.fileno())  # the checkpoint will count on it, and is on the disk itself
                return file.tell()
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; make room and run the same command again"
            ) from error

    def shorten(self, length: int) -> None:
        if self.path is None or not self.path.exists():
            return
        whole = self.path.read_bytes()[:length]
        os.truncate(self.path, whole.rfind(b"\n") + 1)  # half a line is none
        self.epochs = read(self.path)


def read(path: Path) -> list[Epoch]:
    """The epochs of a log."""
    return [Epoch.of_line(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
