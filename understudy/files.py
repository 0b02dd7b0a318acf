"""Atomic files: written to a temporary name, synced, renamed; digests; JSON."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from understudy.errors import UserError

Buffer: TypeAlias = bytes | memoryview
SCRATCH = "understudy-scratch-"  # prefix of folders that are removed at the end of the process


def write_atomically(path: Path, data: bytes | Iterable[Buffer]) -> None:
    """Write the complete file or none: a reader never sees a part, and a full disk keeps the old file.

    ``data`` are the bytes, or an iterable of pieces, so that a large file need not fit in memory.
    Files below a scratch folder are not synced, since nothing reads them after a crash.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:  # follows no link
            for piece in (data,) if isinstance(data, bytes) else data:
                file.write(piece)
            if is_kept(path):
                file.flush()
                os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise UserError(
            f"cannot write {path}: {error.strerror}. What was saved before is untouched: "
            "make room (or choose another --out) and run the same command again"
        ) from error
    if is_kept(path):
        sync_folder(path.parent)


def is_kept(path: Path) -> bool:
    """Whether a file outlives the process: it is in no scratch folder."""
    return not any(part.startswith(SCRATCH) for part in path.parts)


def sync_folder(folder: Path) -> None:
    """Make renames within a folder durable, if the system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as indented JSON, whole or not at all."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if the file does not exist or is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
