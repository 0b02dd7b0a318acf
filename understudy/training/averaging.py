"""An exponential moving average of the student's weights (EMA)."""

import copy
from typing import TypedDict

import torch
from torch import Tensor, nn

from understudy.models.weights import restore


class AverageState(TypedDict):
    """The state of a moving average in a checkpoint."""

    updates: int
    network: dict[str, Tensor]


class Average:
    """An exponential moving average of parameters and statistics, with the decay ``min(decay, (1+n)/(10+n))``.

    ``begins`` is a copy of a network that cannot be copied any more, since it is sharded.
    """

    def __init__(self, network: nn.Module, decay: float, begins: nn.Module | None = None):
        self.source = network
        self.network = (copy.deepcopy(network) if begins is None else begins).requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for mean, value in zip(self.network.state_dict().values(), self.source.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def state_dict(self) -> AverageState:
        return {"updates": self.updates, "network": self.network.state_dict()}

    def load_state_dict(self, state: AverageState) -> None:
        self.updates = state["updates"]
        restore(self.network, state["network"])
