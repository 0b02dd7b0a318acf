"""What a forward pass holds beside the weights: the peak of its live activations."""

import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from understudy import nested
from understudy.nested import Nested
from understudy.objective import evaluating
from understudy.taps import call


def activation_bytes(network: nn.Module, example: Nested) -> int:
    """The most bytes that are alive at once while one sample is answered: the input, and what each layer hands on.

    Counted from the tensors of the forward pass on any device; the work space of kernels is not among them.
    """
    sample = nested.each(torch.clone, nested.chosen(example, slice(1)))
    held = [*network.parameters(), *network.buffers()]
    live = _Live(held, sample)
    with torch.no_grad(), evaluating(network), live:
        call(network, sample)
    return live.peak


class _Live(TorchDispatchMode):
    """Follows every storage from the operation that made it to its end."""

    def __init__(self, held: list[Tensor], given: Nested):
        super().__init__()
        self.alive: int = 0
        self.peak: int = 0
        self.held = {tensor.untyped_storage()._cdata for tensor in held}
        self.seen: dict[int, Any] = {}
        for tensor in nested.tensors(given):
            self._see(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
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

        def ends(_: Any) -> None:
            self.alive -= size
            self.seen.pop(key, None)

        self.seen[key] = weakref.ref(storage, ends)
        self.alive += size
        self.peak = max(self.peak, self.alive)
