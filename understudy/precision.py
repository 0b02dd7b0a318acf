"""Losses are computed in float32 at least, for any precision of the networks."""

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """bfloat16 and float16 become float32; float64 stays (gradient checks need it)."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
