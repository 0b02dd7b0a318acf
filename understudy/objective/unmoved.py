"""Parameters that have gradients and that no optimizer moves, which a loop of one's own would not notice."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from understudy.errors import warn_caller
from understudy.precision import exact_dtype
from understudy.printable import some
from understudy.ranks import own_shard

FIRST, LAST = 4, 4096  # calls after which is looked, each time twice as many


class Unmoved:
    """Compares the sums of all parameters after some calls with those of the first one.

    The counters that PyTorch keeps of changes in place would not do: fused optimizers do not raise them. Nothing is
    said before the optimizer's first step, so that gradients may be accumulated over many calls.
    """

    def __init__(self, student: nn.Module, owned: nn.ModuleDict, adversaries: nn.ModuleDict):
        self._modules = {"student": student, "owned": owned, "adversaries": adversaries}
        self._calls, self._next = 0, FIRST
        self._before: dict[str, Tensor] = {}

    def look(self) -> "Unmoved | None":
        """One more call; None when there is nothing left to look for."""
        self._calls += 1
        if self._calls == 1:
            self._before = self._sums()
        if self._calls < self._next:
            return self
        self._next *= 2
        same = self._same()
        still = {name: (parameter, whose) for name, parameter, whose in self._learning() if name in same}
        moved = {name.split(".")[0] for name in self._before.keys() - still.keys()}
        if not moved & {"student", "owned"}:
            return self if self._next <= LAST else None
        adversaries = [name for name, (_, whose) in still.items() if whose == "adversaries"]
        if adversaries and "adversaries" not in moved:
            warn_caller(
                f"the adversaries have not moved in {self._calls} calls: they take a step of their own, on "
                "objective.adversary_loss(reading), before the student's; as_module(adversaries=optimizer) takes it"
            )
        idle = [
            name for name, (parameter, whose) in still.items() if whose != "adversaries" and parameter.grad is not None
        ]
        if idle:
            warn_caller(
                f"in no optimizer, it seems: {some(idle)}; they have gradients and have not moved in "
                f"{self._calls} calls, while others have: pass student.parameters() and objective.owned.parameters()"
            )
        return None

    def _sums(self) -> dict[str, Tensor]:
        """Of each parameter the sum and the sum of squares, on its device."""
        found: dict[str, Tensor] = {}
        for name, parameter, _ in self._learning():
            value, exact = own_shard(parameter.detach()), exact_dtype(parameter.device)
            found[name] = torch.stack([value.sum(dtype=exact), value.square().sum(dtype=exact)])
        return found

    def _same(self) -> set[str]:
        """The parameters with the sums of the first call, read from the device in one go."""
        now = self._sums()
        names = [name for name in now if name in self._before]
        if not names:
            return set()
        device = now[names[0]].device
        equal = torch.stack([(now[name] == self._before[name].to(now[name].device)).all().to(device) for name in names])
        return {name for name, unchanged in zip(names, equal.tolist(), strict=True) if unchanged}

    def _learning(self) -> Iterator[tuple[str, nn.Parameter, str]]:
        """The parameters that ask for gradients, by names for a message."""
        for whose, module in self._modules.items():
            for name, parameter in module.named_parameters():
                if parameter.requires_grad and not parameter.is_inference():
                    yield f"{whose}.{name}", parameter, whose
