"""Several processes that train one network: how many there are, values of all of them, and what wraps a network.

A rank holds an equal slice of each batch. Gradients are averaged over the ranks by what wraps the step
(DistributedDataParallel, fully_shard), so every backward pass here yields the gradient of the sum of all ranks'
losses: the average of that is the gradient of one process.
"""

import gc
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.parallel import DistributedDataParallel

from understudy import nested
from understudy.errors import UserError
from understudy.nested import Nested

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The ranks of a training: this one's number, and how many there are."""

    rank: int
    world: int

    def gathered(self, value: Tensor) -> Tensor:
        """The batches of all ranks as one, in the order of the ranks; gradients return to the rank they belong to."""
        whole: Tensor = _Gather.apply(value, self.rank, self.world)
        return whole

    def whole(self, value: Nested) -> Nested:
        """The same of nested tensors."""
        return nested.each(self.gathered, value)

    def own(self, value: Tensor) -> Tensor:
        """This rank's part of a value of the whole batch."""
        return value[self.slice(len(value))]

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the ranks, without gradients."""
        return self.summed(value) / self.world

    def equal_counts(self, samples: int, device: torch.device) -> None:
        """A UserError if the ranks hold different numbers of samples; on an accelerator an assertion of the device."""
        counts = torch.tensor([samples, -samples], device=device)
        dist.all_reduce(counts, op=dist.ReduceOp.MAX)
        if device.type == "cpu":
            most, least = counts[0].item(), -counts[1].item()
            if most != least:
                raise UserError(
                    f"the ranks hold between {least} and {most} samples of one batch: give each rank an equal slice "
                    "(DistributedSampler with drop_last=True and a loader with drop_last=True)"
                )
        else:
            torch._assert_async((counts[0] == -counts[1]).reshape(()))

    def objects(self, value: T) -> list[T]:
        """The values of all ranks, in their order; of tensors those on the CPU."""
        values: list[T] = [value] * self.world
        dist.all_gather_object(values, value)
        return values

    def from_first(self, value: T) -> T:
        """The first rank's value."""
        values = [value]
        dist.broadcast_object_list(values, 0)
        return values[0]

    def summed(self, value: Tensor) -> Tensor:
        """The sum over the ranks, without gradients."""
        total = value.detach().clone()
        dist.all_reduce(total)
        return total

    def slice(self, count: int) -> slice:
        """This rank's part of so many samples, an equal share for each rank."""
        share = count // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def spread_from_first(self, tensors: Iterable[Tensor]) -> None:
        """All ranks take the first one's values."""
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)


_alone: ContextVar[bool] = ContextVar("alone", default=False)


def ranks() -> Ranks | None:
    """The ranks that train together; None where this process works alone.

    >>> ranks() is None
    True
    """
    if _alone.get():
        return None
    world = processes()
    return Ranks(dist.get_rank(), world) if world > 1 else None


def processes() -> int:
    """The number of processes in the process group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@contextmanager
def alone(apart: bool = True) -> Iterator[None]:
    """A context in which this process does by itself what the others do not do; ``alone(False)`` within it ends it."""
    token = _alone.set(apart)
    try:
        yield
    finally:
        _alone.reset(token)


def one_process(doing: str) -> None:
    """A UserError where several processes were started for what one does."""
    started = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    count = max(started, processes())
    if count > 1 and not _alone.get():
        raise UserError(
            f"{doing} runs in one process, and {count} were started: start it without torchrun; distill and answers "
            "work on several"
        )


class _Place(FunctionCtx):
    place: slice  # of this rank's samples in the whole batch


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: _Place, value: Tensor, rank: int, world: int) -> Tensor:
        context.place = slice(rank * len(value), (rank + 1) * len(value))
        values = [torch.empty_like(value, memory_format=torch.contiguous_format) for _ in range(world)]
        dist.all_gather(values, value.contiguous())
        return torch.cat(values)

    @staticmethod
    @once_differentiable
    def backward(context: _Place, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total[context.place], None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(context: FunctionCtx, value: Tensor) -> Tensor:
        total = value.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(context: FunctionCtx, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def summed(value: Tensor) -> Tensor:
    """The sum over the ranks, with gradients."""
    total: Tensor = _Sum.apply(value)
    return total


def wrapper(network: nn.Module) -> str | None:
    """What averages a network's gradients over several processes, or spreads it over several devices, by name."""
    for module in network.modules():
        if isinstance(module, DistributedDataParallel):
            return "DistributedDataParallel" if dist.get_world_size(module.process_group) > 1 else None
        if isinstance(module, nn.DataParallel):
            return "DataParallel" if len(module.device_ids) > 1 else None
        if type(module).__name__ == "FullyShardedDataParallel":
            return "FullyShardedDataParallel" if ranks() else None
    return "fully_shard" if ranks() and is_sharded(network) else None


def is_sharded(network: nn.Module) -> bool:
    """Whether ``fully_shard`` (FSDP2) was called on it or a part of it."""
    return any(True for _ in _sharded_parts(network))


def reshard(network: nn.Module) -> None:
    """After a pass beside the training, FSDP2 would keep the parameters of the root whole, and nobody trains those."""
    for module in _sharded_parts(network):
        module.reshard()  # type: ignore[operator]


@contextmanager
def unsharded(network: nn.Module) -> Iterator[None]:
    """Outside of a forward pass, the parameters of FSDP2 are whole for a while."""
    parts = list(_sharded_parts(network))
    for part in parts:
        part.unshard()  # type: ignore[operator]
    yield
    for part in parts:
        part.reshard()  # type: ignore[operator]


def own_shard(value: Tensor) -> Tensor:
    """This rank's part of a tensor that FSDP2 shards; any other tensor as it is."""
    local: Tensor = value.to_local() if hasattr(value, "to_local") else value
    return local


def whole_tensor(value: Tensor) -> Tensor:
    """A tensor that is sharded, whole on each rank; any other tensor as it is. All ranks must call this together."""
    whole: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return whole


def sharded_like(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor with this rank's part of it, where ``like`` is sharded; any other tensor as it is."""
    if not hasattr(like, "placements") or hasattr(value, "placements"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor  # slow to import

    assert isinstance(like, DTensor)
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def part_of(value: Tensor, like: Tensor) -> Tensor:
    """A tensor of which ``value`` is this rank's part, sharded as ``like`` is."""
    from torch.distributed.tensor import DTensor

    assert isinstance(like, DTensor)
    return DTensor.from_local(
        value, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def _sharded_parts(network: nn.Module) -> Iterator[nn.Module]:
    fsdp = sys.modules.get("torch.distributed.fsdp")  # nothing is sharded where nobody has imported it
    if fsdp is not None and hasattr(fsdp, "FSDPModule"):
        yield from (module for module in network.modules() if isinstance(module, fsdp.FSDPModule))


def averaging(network: nn.Module) -> nn.Module | None:
    """The DistributedDataParallel whose forward pass runs now, if it holds the network."""
    active = getattr(DistributedDataParallel, "_active_ddp_module", None)
    return active if active is not None and _holds(active, network) else None


def passed_by(network: nn.Module) -> bool:
    """Whether a DistributedDataParallel holds the network, which is called without it. Looks at every object."""
    wrappers = (thing for thing in gc.get_objects() if type(thing) is DistributedDataParallel)
    return any(_holds(thing, network) for thing in wrappers)


def _holds(outer: nn.Module, network: nn.Module) -> bool:
    return any(module is network for module in outer.modules())
