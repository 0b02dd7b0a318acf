"""Outputs of a network under dropout: of its dropout modules, or else dropout before its classifier."""

from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.taps import Answer, Tap, call, eagerly, evaluating, find, inner, logits_in

DROPOUTS = nn.modules.dropout._DropoutNd


class Dropouts:
    """Draws outputs of a network in evaluation mode with only its dropout modules in training mode.

    Args:
        network: a network with dropout modules, or else with a classifier: a linear layer whose output is the
            network's output.
        example: a small batch, with which the classifier is determined.
        rate: of the dropout before the classifier, for a network without dropout modules.

    ``tap`` must be read in the usual forward pass; with it, samples need no forward pass.
    """

    def __init__(self, network: nn.Module, example: Nested, rate: float):
        self.network, self.rate = network, rate
        self.tap = None if self._own() else _classifiers_input(network, example)

    def draw(self, inputs: Nested, answer: Answer, teaching: AbstractContextManager[object]) -> Tensor:
        """Logits with newly drawn dropout; ``answer`` is the usual answer to the same inputs."""
        with torch.no_grad(), teaching:
            if self.tap is not None:
                classifier: nn.Module = find(self.network, self.tap)
                return logits_in(call(classifier, F.dropout(answer[self.tap], self.rate, training=True)))
            with evaluating(self.network):
                for module in self._own():
                    module.train()
                return logits_in(call(self.network, inputs))

    def _own(self) -> list[nn.Module]:
        return [module for module in self.network.modules() if isinstance(module, DROPOUTS) and module.p > 0]


def _classifiers_input(network: nn.Module, example: Nested) -> Tap:
    """The input of the linear layer whose output is the network's output."""
    answers: dict[str, Tensor] = {}
    linear = {path: module for path, module in inner(network).named_modules() if isinstance(module, nn.Linear)}
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: answers.update({path: output}))
        for path, module in linear.items()
    ]
    try:
        with torch.no_grad(), evaluating(network), eagerly(network):
            logits = logits_in(call(network, example))
    finally:
        for hook in hooks:
            hook.remove()
    for path, answer in answers.items():
        if answer.shape == logits.shape and torch.equal(answer, logits):
            return Tap(path, "input")
    raise UserError(
        f"the teacher {type(inner(network)).__name__} has no dropout module, nor a linear layer that answers last, "
        "before which one could stand, so its answers do not vary: take a teacher with nn.Dropout in it, or another "
        "method (logit-regression)"
    )
