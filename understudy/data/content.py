"""The content of data as a hash: independent of where the files are, different when one pixel or label differs."""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from understudy import nested
from understudy.data.sets.folder import Images
from understudy.data.sources import InMemory, Source, Streamed
from understudy.nested import Nested


def content(source: Source) -> str:
    """SHA-256 over all samples and labels; it takes as long as reading them once."""
    whole = hashlib.sha256(digest(source.targets).encode())
    if isinstance(source, InMemory):
        whole.update(digest(source.samples).encode())
    elif isinstance(source, Streamed) and isinstance(source.dataset, Images):
        whole.update(f"{source.dataset.size} {source.dataset.channels}".encode())
        whole.update(_files(source.dataset.paths).encode())  # the files are read faster than decoded
    else:
        for batch in source.batches(torch.arange(len(source)).split(256), torch.device("cpu")):
            whole.update(digest(batch).encode())
    return whole.hexdigest()


def digest(values: Nested) -> str:
    """SHA-256 of types, shapes and values."""
    if not isinstance(values, Tensor):
        parts = "".join(f"{name} {digest(tensor)}" for name, tensor in nested.named(values))
        return hashlib.sha256(parts.encode()).hexdigest()
    plain = values.detach().cpu().contiguous()
    digest_of_tensor = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)}".encode())
    digest_of_tensor.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest_of_tensor.hexdigest()


def _files(paths: Sequence[Path]) -> str:
    """A hash over many files. It is kept in the user's cache until one of them is written again."""
    listed = "\n".join(f"{path.absolute()} {(seen := path.stat()).st_size} {seen.st_mtime_ns}" for path in paths)
    memory = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "understudy" / "content"
    place = memory / hashlib.sha256(listed.encode()).hexdigest()
    with contextlib.suppress(OSError, ValueError):
        return bytes.fromhex(place.read_text()).hex()
    digest_of_files = hashlib.sha256(b"".join(map(_file, paths))).hexdigest()
    with contextlib.suppress(OSError):  # without the cache, the files are read again the next time
        memory.mkdir(parents=True, exist_ok=True)
        part = place.with_name(f".{place.name}.{os.getpid()}.part")
        part.write_text(digest_of_files)
        os.replace(part, place)
    return digest_of_files


def _file(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
