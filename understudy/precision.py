"""Losses are computed in float32 at least, for any precision of the networks; figures in float64."""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """bfloat16 and float16 become float32; float64 stays (gradient checks need it)."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def exact_dtype(device: torch.device) -> torch.dtype:
    """In which sums are kept: float64; Apple's GPUs have none, and keep them in float32.

    >>> exact_dtype(torch.device("cpu")), exact_dtype(torch.device("mps"))
    (torch.float64, torch.float32)
    """
    return torch.float32 if device.type == "mps" else torch.float64


def exact(x: Tensor) -> Tensor:
    """The value in float64, on the CPU where its device has none."""
    return x.cpu().double() if x.device.type == "mps" else x.double()
