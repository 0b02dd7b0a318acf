"""Networks asked again: fresh copies of an architecture, changed inputs, and another value at a tap."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.models.preprocessing import Preprocessing
from understudy.nested import Nested
from understudy.objective.term import Reading
from understudy.taps import (
    CLASSIFICATION,
    Answer,
    Tap,
    TappedNetwork,
    call,
    evaluating,
    find,
    inner,
    layers,
    logits_in,
    picked,
)
from understudy.taps.forms import RELU, read
from understudy.tasks.task import Task


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
    return _asked(network, (tap,), inputs)


def continued(network: nn.Module, tap: Tap, value: Tensor, inputs: Nested, taps: tuple[Tap, ...], task: Task) -> Answer:
    """A network's answer, and its values at ``taps``, as if it had ``value`` at a tap: the other network's, perhaps.

    What comes before the tap is computed and dropped. The gradient passes to ``value`` and to the network's weights, as
    far as these ask for one. Buffers, such as a batch norm's running means, stay as they are.

    Args:
        network: in the mode in which it runs; for a teacher see ``frozen``.
        tap: of a module's output, in the form in which ``value`` is; tokens before a grid stay those of the network.
        value: of the shape that the tap reads.
        inputs: of the batch.
        taps: further taps behind this one.
        task: of the answer.
    """
    if tap.side != "output" or tap.form == RELU:
        raise UserError(f"a network cannot go on from {str(tap)!r}: name what a module answers")

    def replaced(_module: nn.Module, _args: object, output: object) -> Tensor:
        return _in_place_of(output, value, tap)

    handle = find(inner(network), tap).register_forward_hook(replaced)
    kept = [(module, name, buffer) for module in inner(network).modules() for name, buffer in _moving(module)]
    for module, name, buffer in kept:  # copies, since the graph of the backward pass may hold what is written to
        setattr(module, name, buffer.clone())
    try:
        return _asked(network, taps, inputs, task)
    finally:
        handle.remove()
        for module, name, buffer in kept:
            setattr(module, name, buffer)


def mixed_in_part(
    called: str, network: nn.Module, taps: Sequence[Tap], answer: Answer, inputs: Nested
) -> Iterator[str]:
    """A remark for taps from which ``continued`` goes on only in part, since the network goes around them.

    With the value of one sample in the place of all, the value at the last tap must be that of one sample, too. Taps
    with a form are left out: tokens before a grid are the network's own.

    Args:
        called: the network in the remark.
        network: without fronts, as in ``Shapes``.
        taps: in their order; the network goes on from all but the last.
        answer: traced, with the values at these taps.
        inputs: of the trace.
    """
    *before, last = taps
    around = [str(tap) for tap in before if not tap.form and _goes_around(network, tap, answer[tap], inputs, last)]
    if around:
        yield (
            f"what the {called} computes after {', '.join(map(repr, around))} reads more of what comes before, as by a "
            "connection around it, so that the networks are mixed only in part: name the ends of whole stages"
        )


def _goes_around(network: nn.Module, tap: Tap, value: Tensor, inputs: Nested, last: Tap) -> bool:
    try:
        with torch.no_grad(), evaluating(network):
            values = continued(network, tap, value[:1].expand_as(value), inputs, (last,), CLASSIFICATION)[last].float()
    except (UserError, RuntimeError):  # the network's front makes other inputs of these
        return False
    return bool((values - values[:1]).abs().max() > 1e-3 * values.abs().max())


def _asked(network: nn.Module, taps: tuple[Tap, ...], inputs: Nested, task: Task = CLASSIFICATION) -> Answer:
    """What the innermost network answers, prepared and picked by its fronts."""
    answer = call(TappedNetwork(inner(network), taps, task=task), prepared(network, inputs))
    return Answer(picked(network, answer.output), dict(answer), task)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """A context in which gradients pass through a network and its weights get none."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _moving(module: nn.Module) -> list[tuple[str, Tensor]]:
    """The buffers that a forward pass may write to: those of a module in training."""
    return list(module.named_buffers(recurse=False)) if module.training else []


def _in_place_of(output: object, value: Tensor, tap: Tap) -> Tensor:
    """A value in the form in which the module answers."""
    if not isinstance(output, Tensor):
        raise UserError(f"a network cannot go on from {str(tap)!r}, which answers with several values")
    wanted = read(output, tap.form)
    if value.shape != wanted.shape:
        raise UserError(f"{str(tap)!r} is {tuple(wanted.shape)}, and {tuple(value.shape)} is to take its place")
    value = value.to(output.dtype)
    if tap.form and output.ndim == 3:
        grid = value.flatten(2).mT
        return torch.cat([output[:, : output.shape[1] - grid.shape[1]], grid], 1)
    return value.permute(0, 2, 3, 1) if tap.form else value
