"""What a network weighs: parameters, bytes, multiplications, activations."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from understudy import nested
from understudy.measure.memory import activation_bytes
from understudy.nested import Nested
from understudy.objective import evaluating
from understudy.taps import call


@dataclass(frozen=True)
class Size:
    """``multiplications`` are those of one sample, counted by PyTorch's own counter (a multiply-add counts once);
    ``activation_bytes`` are the most that one sample keeps alive at once."""

    parameters: int
    bytes: int
    multiplications: int
    activation_bytes: int


def size(network: nn.Module, example: Nested) -> Size:
    """Of a network on inputs such as ``example`` (only its first sample is used)."""
    parameters = sum(p.numel() for p in network.parameters())
    held = [*network.parameters(), *network.buffers()]
    with torch.no_grad(), evaluating(network), FlopCounterMode(display=False) as counter:
        call(network, nested.chosen(example, slice(1)))
    held_bytes = sum(t.numel() * t.element_size() for t in held)
    return Size(parameters, held_bytes, counter.get_total_flops() // 2, activation_bytes(network, example))
