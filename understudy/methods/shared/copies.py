"""Networks that train beside the student: fresh copies of an architecture, and their forward passes."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.models.preprocessing import Preprocessing
from understudy.nested import Nested
from understudy.objective.term import Reading
from understudy.taps import Answer, Tap, TappedNetwork, call, inner, layers, logits_in


def fresh(network: nn.Module) -> nn.Module:
    """The same architecture with new weights, drawn by each layer's ``reset_parameters``.

    Parameters of the network itself (``nn.Parameter``), which no layer draws, keep their values.
    """
    copied = deepcopy(network).requires_grad_(True).train()
    for module in copied.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    return copied


def inputs_of(reading: Reading, term: str) -> Nested:
    """The inputs of the networks; a ``UserError`` for a reading without them."""
    if reading.inputs is None:
        raise UserError(f"{term} asks a network itself, so it needs the batch: make the reading with Objective.read")
    return reading.inputs


def prepared(network: nn.Module | None, inputs: Nested) -> Nested:
    """The inputs after the network's preprocessing, for a copy of the inner network, which has none."""
    fronts = [] if network is None else [layer for layer in layers(network) if isinstance(layer, Preprocessing)]
    for front in fronts:
        if not isinstance(inputs, Tensor):
            raise UserError(f"{type(front).__name__} prepares images, and the batch holds {type(inputs).__name__}")
        with torch.no_grad():
            inputs = front.prepared(inputs)
    return inputs


def logits_of(network: nn.Module, inputs: Nested) -> Tensor:
    return logits_in(call(network, inputs))


def answer_of(network: nn.Module, tap: Tap, inputs: Nested) -> Answer:
    """What a network answers to further inputs, with the value at a tap; it is not compiled for them."""
    return call(TappedNetwork(inner(network), (tap,)), prepared(network, inputs))
