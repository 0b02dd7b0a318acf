"""Which tensor is the answer of each network of a call, where networks return several."""

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from understudy.data import Data
from understudy.errors import UserError, did_you_mean
from understudy.models.output import OutputChoice
from understudy.objective import evaluating
from understudy.recipe.objects import GivenNetwork
from understudy.taps import call

# For all networks, or by the role of each.
OutputChoices: TypeAlias = OutputChoice | Mapping[str, OutputChoice]


class NamedAnswers:
    """The argument ``output`` of a call.

    One choice is for every network that was passed as an object and returns something else than a single tensor; a
    mapping names the networks, as in ``{"teacher": "logits"}``.

    Args:
        data: samples of which show what a network returns.

    >>> answers = NamedAnswers({"teacher": 1}, understudy.data.from_tensors((torch.rand(4, 2), torch.arange(4) % 2)))
    >>> answers.by_role("teacher"), answers.by_role("student")
    (1, None)
    """

    def __init__(self, output: OutputChoices | None, data: Data):
        self.output, self.data = output, data
        self._roles, self._applied = list[str](), set[str]()

    def by_role(self, called: str) -> OutputChoice | None:
        """The choice that a mapping has for a network: for ``"teacher2"`` its own, or that of ``"teacher"``."""
        role = called.rstrip("0123456789")
        self._roles += [called, role]
        if not isinstance(self.output, Mapping):
            return None
        key = called if called in self.output else role
        self._applied.add(key)
        return self.output.get(key)

    def apply(self, given: GivenNetwork) -> None:
        """Wrap an object, if its answer is chosen here."""
        choice = self.by_role(given.called)
        if not isinstance(self.output, Mapping) and self.output is not None and self._returns_several(given):
            choice = self.output
            self._applied.add(given.called)
        if choice is not None:
            given.answer_with(choice)

    def table_key(self, called: str) -> str | int | None:
        """The choice for a network by name, which stands in its table."""
        choice = self.by_role(called)
        if callable(choice):
            raise UserError(f"output of the {called}: it is given by its name, so name its answer, or give a place")
        return choice

    def check(self) -> None:
        """Raises a ``UserError`` where the choice is for no network of the call."""
        if isinstance(self.output, Mapping):
            for name in self.output:
                if name not in self._applied:
                    raise UserError(
                        f"output: the call has no network {name!r}{did_you_mean(name, dict.fromkeys(self._roles))}"
                    )
        elif self.output is not None and not self._applied:
            raise UserError(
                f"output={self.output!r}: none of the modules returns more than a single tensor, which is its answer; "
                "leave output out, or name the network, as in output={'teacher': ...}"
            )

    def _returns_several(self, given: GivenNetwork) -> bool:
        module = given.module if given.module is not None else given.network(0, "student")
        return not isinstance(_returned(module, self.data), Tensor)


def _returned(module: nn.Module, data: Data) -> object:
    """What a network returns for two samples; None where it does not take them, which the pre-flight check reports."""
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    try:
        with torch.no_grad(), evaluating(module):
            returned: object = call(module, data.example(2, device))
    except Exception:  # a user's network may raise anything
        return None
    return returned
