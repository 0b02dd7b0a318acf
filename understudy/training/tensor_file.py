"""Tensors in a file: the bytes of a safetensors file, followed by their SHA-256.

A file is written and read tensor by tensor, so that neither takes more memory than the tensors and one of them.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import BinaryIO, TypedDict

import torch
from torch import Tensor

from understudy.files import Buffer

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
UNREADABLE = (KeyError, ValueError, TypeError, AttributeError, struct.error)  # what a header without sense raises


class About(TypedDict):
    """A tensor in the header of a safetensors file."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class DamagedError(Exception):
    """The content of a file has changed."""


class Header:
    """What a file says of itself: its ``metadata``, and where its ``tensors`` lie.

    Raises:
        DamagedError: it makes no sense.
    """

    def __init__(self, file: BinaryIO, path: Path):
        try:
            file.seek(0)
            (length,) = struct.unpack("<Q", file.read(8))
            room = path.stat().st_size - _DIGEST - 8 - length
            if room < 0:
                raise ValueError("its header is longer than the file")
            self.tensors: dict[str, About] = json.loads(file.read(length))
            self.metadata: dict[str, str] = self.tensors.pop("__metadata__")
            for name, about in self.tensors.items():
                start, end = about["data_offsets"]
                if not 0 <= start <= end <= room:
                    raise ValueError(f"tensor {name!r} lies outside the file")
        except UNREADABLE as error:
            raise DamagedError(f"{path} cannot be read ({error!r})") from error
        self.base = 8 + length

    def kind(self, name: str) -> torch.dtype:
        """The type of a tensor's elements."""
        return _KINDS[self.tensors[name]["dtype"]]

    def read(self, file: BinaryIO, name: str) -> Tensor:
        """A tensor of the file."""
        about = self.tensors[name]
        start, end = about["data_offsets"]
        if prod(about["shape"]) * self.kind(name).itemsize != end - start:
            raise ValueError(f"tensor {name!r} has another size than its shape")
        tensor = torch.empty(about["shape"], dtype=self.kind(name))
        self.read_into(file, name, 0, tensor)
        return tensor

    def read_into(self, file: BinaryIO, name: str, skipped: int, into: Tensor) -> None:
        """Fill a contiguous tensor from the bytes of one in the file, after so many bytes of it."""
        if into.numel() == 0:
            return
        file.seek(self.base + self.tensors[name]["data_offsets"][0] + skipped)
        content = bytes_of(into)
        if file.readinto(content) != len(content):  # type: ignore[attr-defined]
            raise ValueError("the file has become shorter")


def bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a contiguous tensor in main memory, which are not copied."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def pieces(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], digest: "hashlib._Hash | None" = None
) -> Iterator[Buffer]:
    """The bytes of a file, in pieces of one tensor each; the last one is the ``digest``, a SHA-256, of the others."""
    header: dict[str, object] = {"__metadata__": metadata}
    in_order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # so that each one is aligned
    end = 0
    for name in in_order:
        tensor, start = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    digest = digest or hashlib.sha256()
    for piece in (struct.pack("<Q", len(head)), head):
        digest.update(piece)
        yield piece
    for name in in_order:
        content = bytes_of(tensors[name].to("cpu").contiguous())
        digest.update(content)
        yield content
    yield digest.digest()


def checked(file: BinaryIO, path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal; ``DamagedError`` if it is not the one at its end."""
    left, digest = path.stat().st_size - _DIGEST, hashlib.sha256()
    file.seek(0)
    while left > 0 and (block := file.read(min(_BLOCK, left))):
        digest.update(block)
        left -= len(block)
    if left != 0 or file.read() != digest.digest():
        raise DamagedError(f"{path} is damaged (its checksum does not fit)")
    return digest.hexdigest()
