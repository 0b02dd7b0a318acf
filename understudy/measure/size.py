"""The size of a network: parameters, bytes, multiplications, activations."""

import contextlib
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from understudy import nested
from understudy.nested import Nested
from understudy.objective import evaluating
from understudy.taps import call
from understudy.taps.tracing import flop_counter


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
    counter = flop_counter(dict.fromkeys(_RECURRENT, _recurrent))
    with torch.no_grad(), _in_steps(network), sdpa_kernel(SDPBackend.MATH), counter:
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
    with torch.no_grad(), _in_steps(network), live:
        call(network, sample)
    return live.peak


@contextlib.contextmanager
def _in_steps(network: nn.Module) -> Iterator[None]:
    """Evaluation in which PyTorch's attention and encoder layers call operations that are counted, not a single one."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluating(network):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


_RECURRENT = (torch.ops.aten.mkldnn_rnn_layer, torch.ops.aten._cudnn_rnn)


def _recurrent(inputs: Sequence[int], *others: object, **_: object) -> int:
    """Twice the multiplications of recurrent layers, of the shapes of their arguments: each matrix meets each step."""
    matrices = [shape for shape in _shapes(others[:4]) if len(shape) == 2]  # weights and biases, before the state
    return 2 * math.prod(inputs[:-1]) * sum(map(math.prod, matrices))


def _shapes(arguments: object) -> Iterator[torch.Size]:
    if isinstance(arguments, torch.Size):
        yield arguments
    elif isinstance(arguments, (list, tuple)):
        for one in arguments:
            yield from _shapes(one)


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
