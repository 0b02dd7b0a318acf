"""Batch norm over the batches of all ranks, on any device; ``nn.SyncBatchNorm`` knows GPUs only."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from understudy.ranks import ranks, summed


class OverRanks(_BatchNorm):
    """Mixed into a batch norm: while several processes train, its statistics are those of the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        group = ranks()
        if group is None or not (self.training or self.running_mean is None):
            return super().forward(x)
        self._check_input_dim(x)
        places = [dim for dim in range(x.ndim) if dim != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        values = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        count = x.numel() // x.shape[1] * group.world
        mean = summed(values.sum(places)) / count
        centred = values - mean.reshape(shape)
        variance = summed(centred.square().sum(places)) / count
        scale = torch.rsqrt(variance + self.eps)
        if self.training and self.track_running_stats:
            self._move(mean.detach(), variance.detach() * (count / (count - 1)))
        y = centred * scale.reshape(shape)
        if self.affine:
            y = y * self.weight.reshape(shape) + self.bias.reshape(shape)
        return y.to(x.dtype)

    def _move(self, mean: Tensor, variance: Tensor) -> None:
        """The running statistics, as `nn.BatchNorm2d` moves them."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


def over_ranks(network: nn.Module) -> None:
    """All batch norms of a network take their statistics over all ranks from now on; weights and names stay."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not isinstance(module, (OverRanks, nn.SyncBatchNorm)):
            module.__class__ = _over_ranks(type(module))


def of_own_rank(network: nn.Module) -> None:
    """The other way round: each rank's batch norms are as they were."""
    for module in network.modules():
        if isinstance(module, OverRanks):
            module.__class__ = type(module).__bases__[1]


_KINDS: dict[type[_BatchNorm], type[_BatchNorm]] = {}


def _over_ranks(norm: type[_BatchNorm]) -> type[_BatchNorm]:
    if norm not in _KINDS:
        _KINDS[norm] = type(norm.__name__, (OverRanks, norm), {"__module__": norm.__module__, "__doc__": norm.__doc__})
    return _KINDS[norm]
