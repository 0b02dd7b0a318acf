"""Several networks of one architecture as one batched program: for seeds, and for sweeps of settings."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from understudy.errors import UserError


class SideBySide(nn.Module):
    """Networks of one architecture that run as one program, each with its own weights.

    A small network leaves most of a GPU idle, and each of its calls waits for the host. Several of them side by side
    (``torch.vmap``) take as many calls as one. The networks themselves are trained: their parameters are those of this
    module, and their buffers, such as the statistics of batch norms, are updated. Outputs and gradients are those of
    the networks one by one, up to rounding; dropout draws for each of them.

    Args:
        networks: with the same layers, settings of layers and shapes. Forward passes must do the same whatever the
            values are.

    >>> students = SideBySide([torch.nn.Linear(4, 3) for _ in range(5)])
    >>> students(torch.rand(2, 4)).shape
    torch.Size([5, 2, 3])
    """

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        if not networks:
            raise UserError("networks to run side by side: none is given")
        _check_alike(networks)
        self.networks = nn.ModuleList(networks)
        self._form = (_form_of(networks[0]),)  # in a tuple, so that it is no part of this module

    def forward(self, inputs: Tensor, *, each: bool = False) -> Tensor:
        """The networks' outputs, one after another in the first dimension.

        Args:
            inputs: for all networks; with ``each`` the first dimension holds those of each network.
        """
        (form,) = self._form
        for module, *same in zip(form.modules(), *(network.modules() for network in self.networks), strict=True):
            module.training = same[0].training
            if any(one.training is not module.training for one in same):
                raise UserError("networks that run side by side are all in training mode or all in evaluation mode")
        parameters = _stacked([dict(network.named_parameters()) for network in self.networks])
        buffers = _stacked([dict(network.named_buffers()) for network in self.networks])

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
            output: Tensor = functional_call(form, (parameters, buffers), (x,))
            return output

        batched = vmap(one, in_dims=(0, 0, 0 if each else None), randomness="different")
        outputs: Tensor = batched(parameters, buffers, inputs)
        with torch.no_grad():
            for name, values in buffers.items():
                for network, value in zip(self.networks, values, strict=True):
                    network.get_buffer(name).copy_(value)
        return outputs


def _stacked(of_each: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([tensors[name] for tensors in of_each]) for name in of_each[0]}


def _form_of(network: nn.Module) -> nn.Module:
    """The modules of a network without its numbers; those that share a parameter still share it."""
    numbers: dict[int, Tensor] = {id(buffer): torch.empty_like(buffer, device="meta") for buffer in network.buffers()}
    for parameter in network.parameters():
        numbers[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    return copy.deepcopy(network, numbers)


def _check_alike(networks: Sequence[nn.Module]) -> None:
    """A UserError that names the first network that has other layers or tensors than the first one, or is one again."""
    forms = [[*_tensors(network), *_layers(network)] for network in networks]
    for number, form in enumerate(forms):
        if form != forms[0]:
            other = next((mine[0] for mine, first in zip(form, forms[0], strict=False) if mine != first), "its layers")
            raise UserError(
                f"networks run side by side if they are alike: number {number + 1} differs from the first in {other}"
            )
        same = next((earlier for earlier in range(number) if networks[earlier] is networks[number]), None)
        if same is not None:
            raise UserError(f"networks to run side by side: number {number + 1} is number {same + 1} again")


def _tensors(network: nn.Module) -> Iterator[tuple[object, ...]]:
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        yield name, tuple(value.shape), value.dtype


def _layers(network: nn.Module) -> Iterator[tuple[object, ...]]:
    """Each layer's class, and its settings as far as they are numbers, words or functions."""
    of_all = vars(nn.Module()).keys()
    for name, module in network.named_modules():
        yield name or "its class", type(module)
        for key, value in vars(module).items():
            if key not in of_all:
                yield f"{name}.{key}" if name else key, _comparable(value)


def _comparable(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(map(_comparable, value))
    return getattr(value, "__qualname__", type(value).__qualname__)
