"""A checkpoint in parts: each rank writes what it holds of a student that is sharded, and reads what it will hold.

A tensor that FSDP2 shards is cut along its first dimension, so its parts in the order of the ranks are the whole
tensor. Any number of ranks therefore reads the rows it needs from the parts of any other number.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from understudy.files import write_atomically
from understudy.ranks import own_shard
from understudy.training.tensor_file import DamagedError, Header, checked, pieces

SUFFIX = ".shard"


@dataclass(frozen=True)
class Share:
    """The rows that a rank reads: its share of each sharded tensor's.

    Args:
        placed: makes of these rows, and the shape of the whole tensor, what the rank trains with.
    """

    rank: int
    world: int
    placed: Callable[[Tensor, torch.Size], Tensor]

    def rows(self, count: int) -> tuple[int, int]:
        """The first of this rank's rows among so many, and the one after its last, as ``torch.chunk`` has them."""
        size = -(-count // self.world)
        return min(self.rank * size, count), min((self.rank + 1) * size, count)


@dataclass(frozen=True)
class Contents:
    """What a checkpoint says of its parts.

    Args:
        digests: the SHA-256 of each rank's file, in hexadecimal.
        shapes: those of the tensors of which each rank has a part; the first rank's file holds the others whole.
    """

    digests: list[str]
    shapes: dict[str, list[int]]

    def text(self) -> str:
        return json.dumps(vars(self))


def path_of(checkpoint: Path, rank: int, world: int) -> Path:
    """The file of one rank's part."""
    return checkpoint.with_suffix(f".{rank}-of-{world}{SUFFIX}")


def cut(tensors: Mapping[str, Tensor], rank: int) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
    """What this rank writes of a state's tensors, and the shapes of those that are sharded; nothing is copied."""
    own, shapes = dict[str, Tensor](), dict[str, list[int]]()
    for name, tensor in tensors.items():
        placements = getattr(tensor, "placements", ())
        assert all(placement.is_shard(0) for placement in placements)
        if placements:
            shapes[name] = list(tensor.shape)
        if placements or rank == 0:
            own[name] = own_shard(tensor)
    return own, shapes


def write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a rank's part and return its SHA-256."""
    digest = hashlib.sha256()
    write_atomically(path, pieces(tensors, {}, digest))
    return digest.hexdigest()


def read(checkpoint: Path, text: str, share: Share | None) -> dict[str, Tensor]:
    """The tensors of a checkpoint in parts, whole or as a rank's ``share``.

    The files that are read are compared with their digests; without a ``share``, and on the first rank, all of them.

    Raises:
        DamagedError: one of them is missing or damaged, or belongs to another checkpoint.
    """
    contents = Contents(**json.loads(text))
    world = len(contents.digests)
    paths = [path_of(checkpoint, rank, world) for rank in range(world)]
    with ExitStack() as stack:
        try:
            opened = [stack.enter_context(path.open("rb")) for path in paths]
        except FileNotFoundError as error:
            raise DamagedError(f"{error.filename} is missing") from error
        if share is None or share.rank == 0:
            for number in range(world):
                _check(opened[number], paths[number], contents.digests[number])
        files = [(file, Header(file, path)) for file, path in zip(opened, paths, strict=True)]
        looked = set(range(world) if share is None or share.rank == 0 else ())
        tensors = dict[str, Tensor]()
        for name, shape in contents.shapes.items():
            first, last = share.rows(shape[0]) if share else (0, shape[0])
            rows = torch.empty((last - first, *shape[1:]), dtype=files[0][1].kind(name))
            filled = 0
            for number, (file, header, begin, end) in enumerate(_lying(files, name)):
                low, high = max(begin, first), min(end, last)
                if low >= high:
                    continue
                if number not in looked:
                    _check(file, paths[number], contents.digests[number])
                    looked.add(number)
                width = prod(shape[1:]) * rows.element_size()
                header.read_into(file, name, (low - begin) * width, rows[low - first : high - first])
                filled += high - low
            if filled != last - first:
                raise ValueError(f"the parts of {name!r} have another size than its shape")
            tensors[name] = share.placed(rows, torch.Size(shape)) if share else rows
        file, header = files[0]
        if 0 not in looked:
            _check(file, paths[0], contents.digests[0])
        whole = {name: header.read(file, name) for name in header.tensors if name not in contents.shapes}
    return whole | tensors


def _lying(files: Sequence[tuple[BinaryIO, Header]], name: str) -> Iterator[tuple[BinaryIO, Header, int, int]]:
    """Each file with the rows of a tensor that it holds."""
    end = 0
    for file, header in files:
        begin, end = end, end + header.tensors[name]["shape"][0]
        yield file, header, begin, end


def _check(file: BinaryIO, path: Path, digest: str) -> None:
    if checked(file, path) != digest:
        raise DamagedError(f"{path} belongs to another checkpoint")
