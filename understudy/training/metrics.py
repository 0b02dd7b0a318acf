"""``metrics.jsonl``: one JSON object for each epoch."""

import json
from pathlib import Path
from typing import Any

from understudy import files
from understudy.errors import UserError


class Log:
    """PrintEpochs added one by one; after a kill, shortened to what the checkpoint knew."""

    def __init__(self, path: Path | None):
        self.path = path
        self.records: list[dict[str, Any]] = []

    def write(self, record: dict[str, Any]) -> int:
        """Add a line; answers with the file's length from here on."""
        self.records.append(record)
        if self.path is None:
            return 0
        try:
            # Synced, since the checkpoint will count on it, and is on the disk itself.
            return files.append(self.path, (json.dumps(record) + "\n").encode())
        except OSError as error:
            raise _unwritten(self.path, error) from error

    def shorten(self, length: int) -> None:
        if self.path is None or not self.path.exists():
            return
        whole = self.path.read_bytes()[:length]
        try:
            files.shorten(self.path, whole.rfind(b"\n") + 1)  # half a line is none
        except OSError as error:
            raise _unwritten(self.path, error) from error
        self.records = read(self.path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _unwritten(path: Path, error: OSError) -> UserError:
    if path.is_symlink():
        return UserError(f"{path} is a symbolic link, and nothing is written through it: remove the link")
    return UserError(f"cannot write {path}: {error.strerror}; make room and run the same command again")
