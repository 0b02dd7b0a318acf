"""``metrics.jsonl``: one JSON object for each epoch."""

import json
import os
from pathlib import Path
from typing import Any

from understudy.errors import UserError
from understudy.files import is_kept


class Log:
    """Lines added one by one; after a kill, shortened to what the checkpoint knew."""

    def __init__(self, path: Path | None):
        self.path = path
        self.records: list[dict[str, Any]] = []

    def write(self, record: dict[str, Any]) -> int:
        """Add a line; answers with the file's length from here on."""
        self.records.append(record)
        if self.path is None:
            return 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
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
        self.records = read(self.path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
