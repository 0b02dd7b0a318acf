"""Class numbers as distributions."""

import torch
from torch import Tensor


def one_hot(numbers: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 at each class, else 0. ``F.one_hot`` looks at the values, which a gradient of each sample does not allow."""
    zeros = torch.zeros(*numbers.shape, classes, dtype=dtype, device=numbers.device)
    return zeros.scatter(-1, numbers.unsqueeze(-1), 1.0)
