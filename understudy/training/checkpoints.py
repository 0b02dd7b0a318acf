"""Checkpoints: written under another name, synced and renamed, and checked by SHA-256. The last two are kept.

The state of a student that is sharded is written in parts, one file by each rank (``parts``). Its checkpoint is there
when the first rank has written the file that names the parts with their SHA-256, after all of them.
"""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from understudy import files
from understudy.errors import UserError
from understudy.files import write_atomically
from understudy.training import parts
from understudy.training.parts import Contents, Share
from understudy.training.state import flatten, unflatten
from understudy.training.tensor_file import UNREADABLE, DamagedError, Header, checked, pieces

FORMAT, IN_PARTS = 2, 3  # of the file; a checkpoint of another format is refused, since it cannot be resumed exactly
KEPT = 2
_SUFFIX = ".checkpoint"


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
    path = _path(folder, number)
    write_atomically(path, pieces(tensors, {"format": str(FORMAT), "state": structure}))
    _remove_others(path, 0)
    return path


def write_part(folder: Path, number: int, rank: int, world: int, tensors: Mapping[str, Tensor]) -> str:
    """Write a rank's part of a checkpoint, which is not there before ``complete``; the SHA-256 of the part."""
    return parts.write(parts.path_of(_path(folder, number), rank, world), tensors)


def complete(folder: Path, number: int, structure: str, shapes: dict[str, list[int]], digests: Sequence[str]) -> Path:
    """Add a checkpoint whose parts are written: the last thing of it, by the first rank."""
    path, contents = _path(folder, number), Contents(list(digests), shapes)
    for rank in range(len(digests)):
        part = parts.path_of(path, rank, len(digests))
        if not part.exists():
            raise UserError(
                f"process {rank} has written its part of a checkpoint, and {part} is not there for the first one: "
                "choose an --out on a disk that all processes share"
            )
    metadata = {"format": str(IN_PARTS), "state": structure, "parts": contents.text()}
    write_atomically(path, pieces({}, metadata))
    _remove_others(path, len(digests))
    return path


def read(path: Path, share: Share | None = None) -> object:
    """The state in a checkpoint; of one in parts a rank's ``share`` is enough for it.

    Raises:
        DamagedError: the content of a file of it has changed.
    """
    with path.open("rb") as file:
        checked(file, path)
        header = Header(file, path)
        number = header.metadata.get("format")
        if number not in (str(FORMAT), str(IN_PARTS)):
            raise UserError(
                f"{path} has format {number}, and this version of Understudy goes on from formats {FORMAT} and "
                f"{IN_PARTS}: finish the run with the version that began it, or choose another --out"
            )
        try:
            tensors = {name: header.read(file, name) for name in header.tensors}
            if number == str(IN_PARTS):
                tensors |= parts.read(path, header.metadata["parts"], share)
            return unflatten(json.loads(header.metadata["state"]), tensors)
        except UNREADABLE as error:
            raise DamagedError(f"{path} cannot be read ({error!r})") from error


def newest(folder: Path, share: Share | None = None) -> Newest | None:
    """The newest complete checkpoint; a damaged one is skipped."""
    warnings: list[str] = []
    for path in _newest_first(folder):
        try:
            return Newest(read(path, share), path, warnings)
        except (DamagedError, OSError) as error:
            warnings.append(f"{error}; falling back to the one before it")
    if warnings:
        warnings[-1] = warnings[-1].replace("falling back to the one before it", "no whole one is left: starting anew")
        return Newest(None, folder, warnings)
    return None


def clear(folder: Path) -> None:
    for path in [*folder.glob(f"*{_SUFFIX}"), *_parts(folder), *folder.glob(".*.part")]:
        with contextlib.suppress(OSError):  # the next run in the folder removes it
            files.remove(path)
    files.remove_folder(folder)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:012d}{_SUFFIX}"


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_SUFFIX}"), reverse=True)


def _parts(folder: Path) -> list[Path]:
    return list(folder.glob(f"*{parts.SUFFIX}"))


def _remove_others(path: Path, world: int) -> None:
    """Remove all checkpoints but this one, which has so many parts, and the one before it, with parts of no other."""
    newest_first = _newest_first(path.parent)
    kept = [other for other in newest_first if other <= path][:KEPT]
    left = {other.stem for other in kept if other != path}
    own = {parts.path_of(path, rank, world) for rank in range(world)}
    unused = [part for part in _parts(path.parent) if part not in own and part.name.partition(".")[0] not in left]
    for other in [*(other for other in newest_first if other not in kept), *unused]:
        with contextlib.suppress(OSError):  # the next checkpoint removes it
            files.remove(other)
