"""The content of data as a hash: independent of where the files are, different when one pixel or label differs."""

import hashlib

import torch
from torch import Tensor

from understudy import nested
from understudy.data.kept import Kept
from understudy.data.pictures import Pictures
from understudy.data.sources import InMemory, Source, Streamed
from understudy.nested import Nested


def content(source: Source) -> str:
    """SHA-256 over all samples and labels; it takes as long as reading them once.

    It is the same whether samples that are large were kept in memory or not.
    """
    whole = hashlib.sha256(digest(source.targets).encode())
    read = source.read_from if isinstance(source, InMemory) else source
    if isinstance(source, InMemory) and read is None:
        whole.update(digest(source.samples).encode())
    elif isinstance(read, Streamed) and isinstance(read.dataset, (Pictures, Kept)):
        whole.update(read.dataset.content.encode())  # the files are read faster than decoded
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
