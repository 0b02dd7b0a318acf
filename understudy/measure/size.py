"""The size of a network: parameters, bytes, multiplications, activations."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from understudy import nested
from understudy.nested import Nested
from understudy.objective import evaluating
from understudy.taps import call
from understudy.taps.tracing import counting, in_steps


@dataclass(frozen=True)
class Size:
    """``multiplications`` are those of one sample, counted by PyTorch's own counter (a multiply-add counts once);
    ``activation_bytes`` are the most that one sample keeps alive at once."""

    parameters: int
    bytes: int
    multiplications: int
    activation_bytes: int


def size(network: nn.Module, example: Nested) -> Size:
    """Of a network on inputs such as ``example`` (only its first sample is used)."""
    parameters = sum(p.numel() for p in network.parameters())
    held = [*network.parameters(), *network.buffers()]
    held_bytes = sum(t.numel() * t.element_size() for t in held)
    return Size(parameters, held_bytes, multiplications(network, example), activation_bytes(network, example))


def multiplications(network: nn.Module, example: Nested) -> int:
    """The multiplications of one sample, by PyTorch's own counter; network and example may be on the meta device."""
    with torch.no_grad(), evaluating(network), counting() as counter:
        call(network, nested.chosen(example, slice(1)))
    flops: int = counter.get_total_flops()
    return flops // 2


def activation_bytes(network: nn.Module, example: Nested) -> int:
    """The largest number of bytes alive at once in the forward pass of one sample: the input and the activations.

    Counted from the tensors of the forward pass, on any device; the workspaces of kernels are not included.
    """
    sample = nested.each(torch.clone, nested.chosen(example, slice(1)))
    held = [*network.parameters(), *network.buffers()]
    live = _Live(held, sample)
    with torch.no_grad(), evaluating(network), in_steps(), live:
        call(network, sample)
    return live.peak


class _Live(TorchDispatchMode):
    """Tracks the lifetime of every storage that an operation makes."""

    def __init__(self, held: list[Tensor], given: Nested):
        super().__init__()
        self.alive: int = 0
        self.peak: int = 0
        self.held = {tensor.untyped_storage()._cdata for tensor in held}
        self.seen: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        for tensor in nested.tensors(given):
            self._see(tensor)

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return made

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self.held or key in self.seen:
            return

        def ends(_: object) -> None:
            self.alive -= size
            self.seen.pop(key, None)

        self.seen[key] = weakref.ref(storage, ends)
        self.alive += size
        self.peak = max(self.peak, self.alive)
