"""Networks that learn beside the student: fresh copies of an architecture, asked as the networks themselves are."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.models.preprocessing import Preprocessing
from understudy.nested import Nested
from understudy.objective.term import Reading
from understudy.taps import call, layers, logits_in


def fresh(network: nn.Module) -> nn.Module:
    """The same architecture with weights of its own, each layer's drawn as the layer draws them.

    Parameters that no layer knows how to draw (``nn.Parameter`` of the network itself) begin as they are there.
    """
    copied = deepcopy(network).requires_grad_(True).train()
    for module in copied.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return copied


def inputs_of(reading: Reading, term: str) -> Nested:
    """What the networks were given: a stored answer alone is not enough for a term that asks again."""
    if reading.inputs is None:
        raise UserError(f"{term} asks a network itself, so it needs the batch: make the reading with Objective.read")
    return reading.inputs


def prepared(network: nn.Module | None, inputs: Nested) -> Nested:
    """The inputs as they reach the network inside its fronts: a copy of the inner network has none of its own."""
    fronts = [] if network is None else [layer for layer in layers(network) if isinstance(layer, Preprocessing)]
    for front in fronts:
        if not isinstance(inputs, Tensor):
            raise UserError(f"{type(front).__name__} prepares images, and the batch holds {type(inputs).__name__}")
        with torch.no_grad():
            inputs = front.prepared(inputs)
    return inputs


def logits_of(network: nn.Module, inputs: Nested) -> Tensor:
    return logits_in(call(network, inputs))
