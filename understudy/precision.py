"""Losses are computed in float32 at least, for any precision of the networks; figures in float64; NaN stays NaN."""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """bfloat16 and float16 become float32; float64 stays (gradient checks need it)."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def or_nan(values: Tensor, of: Tensor) -> Tensor:
    """The values (N, ...), NaN for each sample of which another tensor (N, ...) holds NaN.

    A choice by the other tensor (its largest entry, an order, a sign) hides that it holds none, and the trainer could
    not end at a loss that is no number.

    >>> or_nan(torch.tensor([1.0, 2.0]), torch.tensor([[0.0, 1.0], [torch.nan, 1.0]]))
    tensor([1., nan])
    """
    lost = of.isnan().flatten(1).any(1)
    return values.masked_fill(lost.view(-1, *[1] * (values.ndim - 1)), torch.nan)


def exact_dtype(device: torch.device) -> torch.dtype:
    """In which sums are kept: float64; Apple's GPUs have none, and keep them in float32.

    >>> exact_dtype(torch.device("cpu")), exact_dtype(torch.device("mps"))
    (torch.float64, torch.float32)
    """
    return torch.float32 if device.type == "mps" else torch.float64


def exact(x: Tensor) -> Tensor:
    """The value in float64, on the CPU where its device has none."""
    return x.cpu().double() if x.device.type == "mps" else x.double()
