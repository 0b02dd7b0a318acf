"""A network whose weights FSDP2 spreads over the ranks: each rank holds a part of every tensor."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.taps import Tap, call, evaluating, find

T = TypeVar("T")
UNITS = 16  # a module that is gathered by itself has at least this part of the network's values
_PASS = "_understudy_pass"  # the method of a sharded network that does the work of ``in_pass``


def sharded(
    network: nn.Module,
    inputs: Nested,
    device: torch.device,
    *,
    taps: Iterable[Tap] = (),
    called: str = "the network",
    prepare: Callable[[nn.Module], object] = lambda network: None,
) -> nn.Module:
    """A copy of a network on a device, whose parameters are spread over all ranks by ``fully_shard``.

    Modules with many parameters are gathered one after another, when they run. A forward pass finds them: a module that
    does not run exactly once, that shares parameters with a module outside of it, or that returns a view (FSDP2 loses
    it where ``x += y`` follows) is gathered with the module that holds it. So is a module with a tap inside, since a
    gradient may begin at the tap.

    Args:
        network: stays as it is.
        inputs: of the forward pass.
        called: the network in an error.
        prepare: called with the copy before it is sharded.
    """
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method  # slow to import

    try:
        network = copy.deepcopy(network).to(device)
    except Exception as error:  # a network may raise any error when it is copied
        raise UserError(f"{called} cannot be sharded, for it cannot be copied: {error}") from error
    scalar = next((name for name, parameter in network.named_parameters() if parameter.ndim == 0), None)
    if scalar is not None:
        raise UserError(f"{called} cannot be sharded: FSDP2 takes no parameter without dimensions, as {scalar!r} is")
    prepare(network)
    units = list(_units(network, inputs, [(find(network, tap, called=called), _begins_within(tap)) for tap in taps]))
    for parameter in network.parameters():
        parameter.data = parameter.data.contiguous()
    for module in (*units, network):  # the root's parameters, too, are spread again after each forward pass
        fully_shard(module, mesh=_mesh(device.type, dist.get_world_size()), reshard_after_forward=True)
    setattr(network, _PASS, lambda work: work())
    register_fsdp_forward_method(network, _PASS)
    return network


def in_pass(network: nn.Module, work: Callable[[], T]) -> T:
    """Do the work that makes a loss of a sharded network's answers, so that its weights are there when gradients begin.

    A loss may read values from inside the network alone, and its pass may be cut there; FSDP2 then knows of the forward
    pass by this work, and of the backward pass by what it returns. Of another network, the work is done as it is.
    """
    if not hasattr(network, _PASS):
        return work()
    return cast(T, getattr(network, _PASS)(work))


def of_rows(rows: Tensor, shape: torch.Size, device: torch.device) -> Tensor:
    """A tensor of a network that is ``sharded`` on a device; ``rows`` are this rank's part of it."""
    from torch.distributed.tensor import DTensor, Shard

    mesh, stride = _mesh(device.type, dist.get_world_size()), torch.empty(shape, device="meta").stride()
    return DTensor.from_local(rows.to(device), mesh, (Shard(0),), run_check=False, shape=shape, stride=stride)


@cache
def _mesh(kind: str, world: int) -> DeviceMesh:
    return init_device_mesh(kind, (world,))


def _begins_within(tap: Tap) -> bool:
    return tap.side == "input" or bool(tap.form)


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, Mapping)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)


def _units(network: nn.Module, inputs: Nested, tapped: Sequence[tuple[nn.Module, bool]]) -> Iterator[nn.Module]:
    """The modules that are gathered by themselves, inner ones first.

    ``tapped`` are modules with taps, each with whether a gradient, or a pass that is cut, begins or ends within it.
    """
    calls: Counter[nn.Module] = Counter()

    def look(module: nn.Module, _args: tuple[object, ...], output: object) -> None:
        calls[module] += 2 if any(tensor._is_view() for tensor in _tensors(output)) else 1

    modules = list(network.modules())
    hooks = [module.register_forward_hook(look) for module in modules]
    with torch.enable_grad(), evaluating(network):  # views are those of a training
        call(network, inputs)
    for hook in hooks:
        hook.remove()
    holders: dict[nn.Parameter, set[nn.Module]] = {}
    for module in modules:
        for parameter in module.parameters(recurse=False):
            holders.setdefault(parameter, set()).add(module)
    least = sum(parameter.numel() for parameter in holders) / UNITS
    gathered: set[nn.Parameter] = set()
    for module in reversed(modules[1:]):  # what a module holds comes after it
        inside = set(module.modules())
        rest = [parameter for parameter in module.parameters() if parameter not in gathered]
        enough = sum(parameter.numel() for parameter in rest) >= least
        alone = calls[module] == 1 and all(holders[parameter] <= inside for parameter in rest)
        if enough and alone and not any(tap in inside and (tap is not module or within) for tap, within in tapped):
            gathered.update(rest)
            yield module
