"""A copy of a network with its batch norms folded into the layers before them: equal outputs at a lower cost."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def copied(network: nn.Module) -> nn.Module:
    """A copy of the modules in evaluation mode that shares the tensors of the original."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared).eval()


def fold(network: nn.Module, answer: Callable[[], Iterable[Tensor]]) -> list[str]:
    """Fold batch norms into the layers before them, in place; returns the names of the removed batch norms.

    A batch norm is folded if it is the only reader of the layer's output. One forward pass, ``answer``, shows the
    readers; it returns the values that must stay unchanged.
    """
    with torch.no_grad(), _watched(network) as (made, normed), _Readers() as readers:
        kept = list(answer())
    modules = dict(network.named_modules())
    folded = []
    for norm, inputs in normed.items():
        layer = next((name for name, outputs in made.items() if len(outputs) == 1 and outputs[0] is inputs[0]), None)
        if layer is None or readers.of(inputs[0]) != 1 or any(value is inputs[0] for value in kept):
            continue
        if isinstance(modules[layer], nn.Linear) and inputs[0].ndim != 2:
            continue  # the norm's channels are not the layer's features
        _put(network, layer, _fused(modules[layer], modules[norm]))
        _put(network, norm, nn.Identity())
        folded.append(norm)
    return folded


class _Readers(TorchFunctionMode):
    """Counts for each tensor the operations that read it."""

    def __init__(self) -> None:
        super().__init__()
        self.read: dict[int, tuple[Tensor, int]] = {}  # the tensor is kept, so that its id is not used again

    def of(self, tensor: Tensor) -> int:
        return self.read.get(id(tensor), (tensor, 0))[1]

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        output = func(*args, **(kwargs or {}))
        if any(isinstance(value, Tensor) for value in tree_leaves(output)):  # not only a size or a type
            for value in tree_leaves((args, kwargs)):
                if isinstance(value, Tensor):
                    self.read[id(value)] = (value, self.of(value) + 1)
        return output


def _fused(layer: nn.Module, norm: nn.Module) -> nn.Module:
    fused = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
    return fused(layer, norm)  # type: ignore[type-var, arg-type]


@contextmanager
def _watched(network: nn.Module) -> Iterator[tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]]:
    """The outputs of each layer and the inputs of each batch norm while the network runs."""
    made: dict[str, list[Tensor]] = {}
    normed: dict[str, list[Tensor]] = {}

    def makes(name: str) -> Callable[..., None]:
        return lambda _module, _args, output: made.setdefault(name, []).append(output)

    def is_given(name: str) -> Callable[..., None]:
        return lambda _module, args: normed.setdefault(name, []).append(args[0])

    with ExitStack() as stack:
        for name, module in network.named_modules():
            if type(module) in LAYERS and _plain(module):
                stack.enter_context(module.register_forward_hook(makes(name)))
            elif type(module) in _NORMS and _plain(module) and module.running_mean is not None:
                stack.enter_context(module.register_forward_pre_hook(is_given(name)))
        yield made, normed


def _plain(module: nn.Module) -> bool:
    """Whether a module has no hooks and no parametrizations (weight norm, pruning)."""
    return not (module._forward_hooks or module._forward_pre_hooks or "parametrizations" in module._modules)


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)
