"""Tests of other libraries' loops and trackers; `make test-loops` has them."""

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

collect_ignore_glob = [] if find_spec("lightning") and find_spec("accelerate") else ["test_*.py"]


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    images = torch.randn(32, 3, 8, 8)
    return images, images.mean((1, 2, 3)).mul(8).long().clamp(-1, 1) + 1


def net(width: int) -> nn.Sequential:
    convolution = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
    return nn.Sequential(convolution, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 3))


@pytest.fixture
def networks() -> tuple[nn.Sequential, nn.Sequential]:
    """Teacher and student."""
    torch.manual_seed(1)
    return net(6), net(2)
