"""An exponential moving average of the student's weights (EMA)."""

import copy
from typing import TypedDict

import torch
from torch import Tensor, nn

from understudy.models.weights import restore
from understudy.ranks import own_shard


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
        pairs = self._pairs()
        numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        if numbers:  # all in a few calls, since each one costs a GPU more than most tensors do
            means, values = map(list, zip(*numbers, strict=True))
            torch._foreach_lerp_(means, values, 1 - decay)
        for mean, value in pairs:
            if not mean.is_floating_point():
                mean.copy_(value)

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Each mean and its value, once: layers that share a tensor name it several times."""
        values = zip(self.network.state_dict().values(), self.source.state_dict().values(), strict=True)
        pairs = [(own_shard(mean), own_shard(value)) for mean, value in values]
        return list({(mean.data_ptr(), mean.shape): (mean, value) for mean, value in pairs}.values())

    def state_dict(self) -> AverageState:
        return {"updates": self.updates, "network": self.network.state_dict()}

    def load_state_dict(self, state: AverageState) -> None:
        self.updates = state["updates"]
        restore(self.network, state["network"])
