"""Checkpoints: written under another name, synced and renamed, and checked by SHA-256. The last two are kept.

A file is the bytes of a safetensors file followed by their SHA-256. It is written and read tensor by tensor, so that
neither takes more memory than the state itself and one tensor. Tensors that are sharded over several ranks are gathered
one after another, so that a file holds the same however many ranks there are.
"""

import contextlib
import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypedDict

import torch
from torch import Tensor

from understudy import files
from understudy.errors import UserError
from understudy.files import Buffer, write_atomically
from understudy.ranks import whole_tensor
from understudy.training.state import flatten, unflatten

FORMAT = 2  # of the file; a checkpoint of another format is refused, since it cannot be resumed exactly
KEPT = 2
_DIGEST = hashlib.sha256().digest_size
_BLOCK = 1 << 20  # bytes per read where only the digest is computed
_KINDS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


class About(TypedDict):
    """A tensor in the header of a safetensors file."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class DamagedError(Exception):
    """The content of a file has changed."""


class Origin(Protocol):
    """The identity of a training in its checkpoints; see ``plans.training.Origin``."""

    def state(self) -> object: ...

    def resume(self, before: object, note: Callable[[str], None]) -> None:
        """Compare this training with the ``state`` in a checkpoint; refuses that of another training."""


@dataclass
class Newest:
    """The newest complete checkpoint, and a line for each damaged one that was skipped.

    Args:
        state: its content; None without a complete checkpoint.
    """

    state: object
    path: Path
    warnings: list[str]


def flat(state: object) -> tuple[str, dict[str, Tensor]]:
    """The structure of a state as JSON, and its tensors by their names in it."""
    tensors: dict[str, Tensor] = {}
    return json.dumps(flatten(state, tensors)), tensors


def write(folder: Path, number: int, state: object) -> Path:
    """Add a checkpoint and remove all others but the previous one."""
    return write_flat(folder, number, *flat(state))


def write_flat(folder: Path, number: int, structure: str, tensors: Mapping[str, Tensor]) -> Path:
    """The same of a state that is ``flat``."""
    path = folder / f"{number:012d}.checkpoint"
    write_atomically(path, _file(tensors, {"format": str(FORMAT), "state": structure}))
    newest_first = _newest_first(folder)
    kept = [other for other in newest_first if other <= path][:KEPT]
    for other in newest_first:
        if other not in kept:
            with contextlib.suppress(OSError):  # the next checkpoint removes it
                files.remove(other)
    return path


def take_part(state: object) -> None:
    """The part of a rank that does not write: its shares of sharded tensors, in the order in which one rank writes."""
    _, tensors = flat(state)
    for name in _in_order(tensors):
        whole_tensor(tensors[name])


def read(path: Path) -> object:
    """The state in a checkpoint; ``DamagedError`` if its content has changed."""
    with path.open("rb") as file:
        _check_digest(file, path)
        try:
            metadata, tensors = _content(file, path)
        except (KeyError, ValueError, TypeError, AttributeError, struct.error) as error:
            raise DamagedError(f"{path} cannot be read ({error!r})") from error
    number = metadata.get("format")
    if number != str(FORMAT):
        raise UserError(
            f"{path} has format {number}, and this version of Understudy goes on from format {FORMAT}: "
            "finish the run with the version that began it, or choose another --out"
        )
    return unflatten(json.loads(metadata["state"]), tensors)


def _content(file: BinaryIO, path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    file.seek(0)
    (length,) = struct.unpack("<Q", file.read(8))
    room = path.stat().st_size - _DIGEST - 8 - length
    if room < 0:
        raise ValueError("its header is longer than the file")
    header = json.loads(file.read(length))
    metadata = header.pop("__metadata__")
    for name, about in header.items():
        start, end = about["data_offsets"]
        if not 0 <= start <= end <= room:
            raise ValueError(f"tensor {name!r} lies outside the file")
    return metadata, {name: _tensor(file, 8 + length, about) for name, about in header.items()}


def _file(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[Buffer]:
    """The bytes of a safetensors file and their SHA-256, in pieces of one tensor each."""
    header: dict[str, object] = {"__metadata__": metadata}
    in_order = _in_order(tensors)
    end = 0
    for name in in_order:
        tensor, start = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    digest = hashlib.sha256()
    for piece in (struct.pack("<Q", len(head)), head):
        digest.update(piece)
        yield piece
    for name in in_order:
        numbers = whole_tensor(tensors[name]).to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().data
        digest.update(numbers)
        yield numbers
    yield digest.digest()


def _in_order(tensors: Mapping[str, Tensor]) -> list[str]:
    """The largest elements first, so that each tensor is aligned."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _check_digest(file: BinaryIO, path: Path) -> None:
    left, digest = path.stat().st_size - _DIGEST, hashlib.sha256()
    while left > 0 and (block := file.read(min(_BLOCK, left))):
        digest.update(block)
        left -= len(block)
    if left != 0 or file.read() != digest.digest():
        raise DamagedError(f"{path} is damaged (its checksum does not fit)")


def _tensor(file: BinaryIO, base: int, about: About) -> Tensor:
    start, end = about["data_offsets"]
    kind = _KINDS[about["dtype"]]
    content = bytearray(end - start)
    file.seek(base + start)
    if file.readinto(content) != len(content):  # type: ignore[attr-defined]
        raise ValueError("the file has become shorter")
    numbers = torch.frombuffer(content, dtype=kind) if content else torch.empty(0, dtype=kind)
    return numbers.reshape(about["shape"])


def newest(folder: Path) -> Newest | None:
    """The newest complete checkpoint; a damaged one is skipped."""
    warnings: list[str] = []
    for path in _newest_first(folder):
        try:
            return Newest(read(path), path, warnings)
        except (DamagedError, OSError) as error:
            warnings.append(f"{error}; falling back to the one before it")
    if warnings:
        warnings[-1] = warnings[-1].replace("falling back to the one before it", "no whole one is left: starting anew")
        return Newest(None, folder, warnings)
    return None


def clear(folder: Path) -> None:
    for path in [*folder.glob("*.checkpoint"), *folder.glob(".*.part")]:
        with contextlib.suppress(OSError):  # the next run in the folder removes it
            files.remove(path)
    files.remove_folder(folder)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.checkpoint"), reverse=True)
