"""Batch norms on each of the two processes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from understudy import whole_norm
from understudy.ranks import ranks
from understudy.whole_norm import over_ranks

Case = tuple[Callable[[], nn.Module], tuple[int, ...], torch.dtype]  # the norm, its inputs' shape and dtype

NORMS: dict[str, Case] = {
    "maps": (lambda: nn.BatchNorm2d(3), (8, 3, 4, 5), torch.float64),
    "maps in float32": (lambda: nn.BatchNorm2d(3), (8, 3, 4, 5), torch.float32),
    "maps in bfloat16": (lambda: nn.BatchNorm2d(3), (8, 3, 4, 5), torch.bfloat16),
    "weights in bfloat16": (lambda: nn.BatchNorm2d(3).bfloat16(), (8, 3, 4, 5), torch.bfloat16),
    "one channel": (lambda: nn.BatchNorm2d(1), (8, 1, 4, 5), torch.float64),
    "without weights": (lambda: nn.BatchNorm2d(3, affine=False), (8, 3, 4, 5), torch.float64),
    "without statistics": (lambda: nn.BatchNorm2d(3, track_running_stats=False), (8, 3, 4, 5), torch.float64),
    "a mean of all steps": (lambda: nn.BatchNorm2d(3, momentum=None), (8, 3, 4, 5), torch.float64),
    "vectors": (lambda: nn.BatchNorm1d(3), (8, 3), torch.float64),
    "volumes": (lambda: nn.BatchNorm3d(3), (8, 3, 2, 4, 5), torch.float64),
}


def normed(rank: int | None, name: str, first: int = 4, fused: bool = True) -> dict[str, Tensor]:
    """Two steps of a batch norm; with a rank on its part of the batch, of which the first rank has ``first`` samples.

    The values and gradients of the whole batch are returned, the weights' gradients summed, and the statistics.
    """
    make, shape, dtype = NORMS[name]
    generator = torch.Generator().manual_seed(3)
    norm = make()
    norm = norm.double() if dtype == torch.float64 else norm
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.empty(parameter.shape).uniform_(0.5, 1.5, generator=generator))
    group = None if rank is None else ranks()
    if group is None and dtype == torch.bfloat16:
        norm = norm.float()  # PyTorch rounds the statistics to the weights' precision
    values = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_norm, "FUSED", ("cpu",) if fused else ())
        if group is not None:
            over_ranks(norm)
        for step in range(2):
            made = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(2)]
            if len(shape) == 4:
                made[0] = made[0].to(memory_format=torch.channels_last)
            if group is not None:
                made = [value.tensor_split([first])[group.rank] for value in made]
            x, upstream = made[0].clone().requires_grad_(), made[1]
            y = norm(x + 100)  # far from 0, where a difference of squares loses all digits
            y.backward(upstream)
            assert x.grad is not None
            for key, value in {f"output {step}": y.detach(), f"gradient {step}": x.grad}.items():
                values[key] = value if group is None else torch.cat(group.objects(value))
    for key, parameter in norm.named_parameters():
        assert parameter.grad is not None
        gradient = parameter.grad.double()
        values[f"of {key}"] = gradient if group is None else group.summed(gradient)
    return values | dict(norm.named_buffers())
