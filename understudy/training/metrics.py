"""``metrics.jsonl``: one JSON object for each epoch."""

from pathlib import Path

from understudy import files
from understudy.errors import UserError
from understudy.training.records import Epoch


class Log:
    """The log of a training, one line per epoch; after a kill it is cut to the length in the checkpoint."""

    def __init__(self, path: Path | None):
        self.path = path
        self.epochs: list[Epoch] = []

    def write(self, epoch: Epoch) -> int:
        """Add a line; returns the file's length from here on."""
        self.epochs.append(epoch)
        if self.path is None:
            return 0
        try:
            # Synced before the checkpoint that refers to it.
            return files.append(self.path, epoch.line().encode())
        except OSError as error:
            raise _unwritten(self.path, error) from error

    def shorten(self, length: int) -> None:
        if self.path is None or not self.path.exists():
            return
        whole = self.path.read_bytes()[:length]
        try:
            files.shorten(self.path, whole.rfind(b"\n") + 1)  # an incomplete line is dropped
        except OSError as error:
            raise _unwritten(self.path, error) from error
        self.epochs = read(self.path)


def read(path: Path) -> list[Epoch]:
    """The epochs of a log."""
    return [Epoch.of_line(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _unwritten(path: Path, error: OSError) -> UserError:
    if path.is_symlink():
        return UserError(f"{path} is a symbolic link, and nothing is written through it: remove the link")
    return UserError(f"cannot write {path}: {error.strerror}; make room and run the same command again")
