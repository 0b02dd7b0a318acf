"""Checkpoints that survive a kill at any moment: written aside, synced, renamed; checked by SHA-256; two are kept.

A file is the bytes of a safetensors file followed by their SHA-256.
"""

import contextlib
import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
from torch import Tensor

from understudy.files import write_atomically
from understudy.training.state import flatten, unflatten

KEPT = 2
_DIGEST = hashlib.sha256().digest_size


class DamagedError(Exception):
    """A file's bytes are not those that were written."""


class Origin(Protocol):
    """What a training is, as its checkpoints say it; see ``plans.origin``."""

    def state(self) -> Any: ...

    def goes_on(self, found: Any, note: Callable[[str], None]) -> None:
        """Called with what the checkpoint says that is gone on from; refuses that of another training."""


@dataclass
class Found:
    """The newest checkpoint that is whole, and a line for each damaged one that was passed over."""

    state: Any
    path: Path
    warnings: list[str]


def write(folder: Path, number: int, state: Any) -> Path:
    """Add a checkpoint and drop all but it and the one before (also damaged ones from further on)."""
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(flatten(state, tensors))
    data = safetensors.torch.save(tensors, metadata={"state": structure})
    path = folder / f"{number:012d}.checkpoint"
    write_atomically(path, data + hashlib.sha256(data).digest())
    found = _newest_first(folder)
    kept = [other for other in found if other <= path][:KEPT]
    for other in found:
        if other not in kept:
            other.unlink(missing_ok=True)
    return path


def read(path: Path) -> Any:
    data = path.read_bytes()
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise DamagedError(f"{path} is damaged (its checksum does not fit)")
    length = struct.unpack("<Q", body[:8])[0]
    structure = json.loads(body[8 : 8 + length])["__metadata__"]["state"]
    return unflatten(json.loads(structure), safetensors.torch.load(body))


def newest(folder: Path) -> Found | None:
    """The newest checkpoint that is whole; a damaged one falls back to the one before it."""
    warnings: list[str] = []
    for path in _newest_first(folder):
        try:
            return Found(read(path), path, warnings)
        except (DamagedError, OSError) as error:
            warnings.append(f"{error}; falling back to the one before it")
    if warnings:
        warnings[-1] = warnings[-1].replace("falling back to the one before it", "no whole one is left: starting anew")
        return Found(None, folder, warnings)
    return None


def clear(folder: Path) -> None:
    for path in [*folder.glob("*.checkpoint"), *folder.glob(".*.part")]:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.checkpoint"), reverse=True)
