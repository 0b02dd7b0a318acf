"""Fingerprints of teachers and data sets: SHA-256 of everything that answers depend on."""

import hashlib
import re
from collections.abc import Iterable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from understudy import nested
from understudy.data.content import content
from understudy.data.parts import Part
from understudy.data.sources import InMemory, Source
from understudy.errors import UserError
from understudy.nested import Nested

_READ_TWICE = 64  # samples of a source that is read anew each time, and might not stay the same
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_known: "WeakKeyDictionary[Source, str]" = WeakKeyDictionary()


def of_network(network: nn.Module) -> str:
    """Of its modules with their settings, and of every weight and statistic."""
    network = network._modules.get("_orig_mod") or network  # a compiled network has the answers of its original
    digest = hashlib.sha256(of_layers(network).encode())
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        digest.update(name.encode())
        _add(digest, value)
    return digest.hexdigest()


def of_layers(network: nn.Module) -> str:
    """Of its modules with their settings alone, as text."""
    return _ADDRESS.sub("", repr(network))


def of_samples(source: Source) -> str:
    """Of all samples; where they are not in memory, that takes as long as reading them once."""
    if source not in _known:
        if isinstance(source, InMemory) and source.read_from is None:
            _known[source] = of_values(source.samples)
        else:
            _known[source] = _of_streamed(source)
    return _known[source]


def of_pool(part: Part) -> str:
    """The fingerprint of the samples that can be mixed with each other."""
    return of_values(part.ids)


def of_values(values: Nested) -> str:
    digest = hashlib.sha256()
    for name, tensor in nested.named(values):
        digest.update(name.encode())
        _add(digest, tensor)
    return digest.hexdigest()


def _of_streamed(source: Source) -> str:
    """The fingerprint of the files and of some decoded samples: another decoder may give other pixels."""
    every = torch.arange(len(source))[:: -(-len(source) // _READ_TWICE)]
    once, again = (nested.concatenated(list(source.batches([every], torch.device("cpu")))) for _ in range(2))
    if not nested.same(once, again):
        raise UserError(
            "the data set changes its samples from one reading to the next, so no stored answer can belong to them: "
            "leave the augmentation to views, or run without stored answers"
        )
    return content(source) + of_values(once)


def _add(digest: "hashlib._Hash", values: Tensor) -> None:
    plain = values.detach().cpu().contiguous()
    digest.update(f"{plain.dtype} {tuple(plain.shape)}".encode())
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)


def brief(parts: Iterable[str]) -> str:
    """A short name for several of them together."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:12]
