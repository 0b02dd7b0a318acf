"""Batch norm over the batches of all ranks, on any device; ``nn.SyncBatchNorm`` knows GPUs only."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from understudy.precision import wide
from understudy.ranks import Ranks, ranks, summed

FUSED = ("cpu",)  # devices on which the kernels of PyTorch's batch norm are used, and on which tests have run


class OverRanks(_BatchNorm):
    """Mixed into a batch norm: while several processes train, its statistics are those of the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        group = ranks()
        if group is None or not (self.training or self.running_mean is None):
            return super().forward(x)
        self._check_input_dim(x)
        norm = _Fused.apply if x.device.type in FUSED else _composed
        ones = x.new_ones(x.shape[1])
        weight, bias = (self.weight, self.bias) if self.affine else (ones, torch.zeros_like(ones))
        y: Tensor
        y, mean, variance, count = norm(x, wide(weight), wide(bias), self.eps, group)
        if self.training and self.track_running_stats:
            self._move(mean.detach(), (variance * (count / (count - 1))).detach())
        return y

    def _move(self, mean: Tensor, variance: Tensor) -> None:
        """The running statistics, as `nn.BatchNorm2d` moves them."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


Normed = tuple[Tensor, Tensor, Tensor, Tensor]  # the values; the mean, variance and count of the whole batch


def _composed(x: Tensor, weight: Tensor, bias: Tensor, eps: float, group: Ranks) -> Normed:
    """The norm by operations that any device has."""
    places = [dim for dim in range(x.ndim) if dim != 1]
    shape = [1, -1] + [1] * (x.ndim - 2)
    values = wide(x)
    own = values.new_full((1,), x.numel() // x.shape[1])
    *sums, count = summed(torch.cat([values.sum(places), own])).split(x.shape[1])
    mean = sums[0] / count
    centred = values - mean.reshape(shape)
    variance = summed(centred.square().sum(places)) / count
    scale = torch.rsqrt(variance + eps)
    y = centred * scale.reshape(shape) * weight.reshape(shape) + bias.reshape(shape)
    return y.to(x.dtype), mean, variance, count


class _Fused(torch.autograd.Function):
    """The norm by the kernels of PyTorch's batch norm, with one exchange between the ranks in each direction.

    The statistics of the ranks are gathered: on CPUs this takes half of the time of a sum.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, group: Ranks) -> Normed:
        own = wide(x.new_zeros(3, x.shape[1]))
        own[0], own[1] = torch.batch_norm_update_stats(x, own[0].clone(), own[1].clone(), 0.0)
        own[2] = x.numel() // x.shape[1]
        means, variances, counts = group.gathered(own[None]).unbind(1)
        count = counts.sum(0)
        shares = counts / count
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean).square())).sum(0)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.group = eps, group
        ctx.mark_non_differentiable(mean, variance, count)
        return F.batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance, count = ctx.saved_tensors
        scaled, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        if not ctx.needs_input_grad[0]:
            return None, of_weight, of_bias, None, None
        sums = ctx.group.gathered(torch.stack([of_weight, of_bias])[None]).sum(0)
        # What reaches a value through the mean and the variance is a line in it, which the forward kernel computes.
        factor, shift = sums * (-weight * torch.rsqrt(variance + ctx.eps) / count)
        return scaled.add_(F.batch_norm(x, mean, variance, factor, shift, eps=ctx.eps)), of_weight, of_bias, None, None


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
