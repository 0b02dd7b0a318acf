"""A momentum of its own for the gradient of each term: what DOT and DeepKD need, offered to every method.

``SGD(momentum_gap=0.075)`` gives the labels a smaller momentum than all other terms; ``Stage(momenta=...)`` gives each
term its own. Such a step goes backwards once for each momentum, so it costs more than a step of plain SGD.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from understudy.config.optimizers import SGD, Groups
from understudy.config.stage import Stage
from understudy.errors import UserError
from understudy.objective.labels import Labels


def momenta_of(stage: Stage) -> dict[str, float] | None:
    """The momentum for the gradient of each term of a stage, by the term's name; None if all terms have the same one.

    A momentum gap means nothing to a stage without labels, or with labels alone: its terms keep the plain momentum.

    >>> from understudy import TrainConfig
    >>> from understudy.terms import CE, KD
    >>> momenta_of(Stage("soft", CE() + KD(), TrainConfig(optimizer=SGD(momentum=0.5, momentum_gap=0.25))))
    {'ce': 0.25, 'kd': 0.75}
    >>> momenta_of(Stage("soft", CE() + KD(), TrainConfig())) is None
    True
    """
    optimizer, parts = stage.config.optimizer, stage.objective.named()
    gap = optimizer.momentum_gap if isinstance(optimizer, SGD) else None
    added = stage.momenta
    if added is not None and gap is not None:
        raise UserError(
            f"stage {stage.name!r} sets the momentum of each term itself, and train.optimizer.momentum_gap = {gap:g} "
            "would have no effect: leave it out"
        )
    if added is None and gap is not None:
        labels = [isinstance(part.term, Labels) for part in parts.values()]
        added = tuple(-gap if is_labels else gap for is_labels in labels) if len(set(labels)) == 2 else None
    if added is None:
        return None
    if not isinstance(optimizer, SGD):
        raise UserError(
            f"stage {stage.name!r} has a momentum for each term, which is SGD's, and the optimizer is "
            f'{optimizer.name!r}: set train.optimizer.name = "sgd"'
        )
    if len(added) != len(parts):
        raise UserError(f"stage {stage.name!r}: {len(added)} momenta are given for its {len(parts)} terms")
    momenta = {name: optimizer.momentum + more for name, more in zip(parts, added, strict=True)}
    for name, momentum in momenta.items():
        if not 0 <= momentum < 1:
            raise UserError(
                f"stage {stage.name!r}: the momentum of term {name!r} is {momentum:g}, and must be from 0 to below 1: "
                f"change train.optimizer.momentum = {optimizer.momentum:g} or what is added to it"
            )
    return momenta if len(set(momenta.values())) > 1 else None


class TermwiseSGD(torch.optim.Optimizer):
    """SGD with one buffer of momentum for each group of terms; the update is the sum of theirs.

    A parameter that only one group of terms reaches (a regressor) has the plain momentum. Weight decay is added to the
    gradient of the first group.

    Args:
        groups: of the parameters, as for PyTorch's optimizers.
        description: rate, momentum, Nesterov's form and weight decay.
        momenta: of the groups of terms.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = TermwiseSGD([{"params": [weight]}], SGD(lr=0.5, nesterov=False, weight_decay=0.0), (0.8, 1.0))
    >>> for _ in range(2):
    ...     optimizer.step_by([{weight: torch.ones(1)}, {weight: torch.zeros(1)}])
    >>> weight
    Parameter containing:
    tensor([-0.4000], requires_grad=True)
    """

    def __init__(self, groups: Groups, description: SGD, momenta: Sequence[float]):
        super().__init__(
            groups,
            {
                "lr": description.lr,
                "momentum": description.momentum,
                "weight_decay": description.weight_decay,
                "nesterov": description.nesterov,
            },
        )
        self.momenta = tuple(momenta)

    @torch.no_grad()
    def step_by(self, gradients: Sequence[Mapping[Tensor, Tensor]]) -> None:
        """One step down the gradients of all groups of terms; a mapping holds those of the parameters it reaches."""
        for group in self.param_groups:
            for parameter in group["params"]:
                self._update(parameter, [of_terms.get(parameter) for of_terms in gradients], group)

    def _update(self, parameter: Tensor, gradients: list[Tensor | None], group: Mapping[str, float]) -> None:
        state = self.state[parameter]
        # Of terms that have no gradient in this step, the momentum goes on.
        reached = [n for n, gradient in enumerate(gradients) if gradient is not None or f"momentum_buffer_{n}" in state]
        decay = group["weight_decay"]
        change: Tensor | None = None
        for number in reached:
            gradient, momentum = gradients[number], self.momenta[number] if len(reached) > 1 else group["momentum"]
            gradient = torch.zeros_like(parameter) if gradient is None else gradient
            if decay and number == reached[0]:
                gradient = gradient.add(parameter, alpha=decay)
            key = f"momentum_buffer_{number}"
            if key not in state:
                state[key] = torch.zeros_like(parameter)
            buffer = state[key].mul_(momentum).add_(gradient)
            direction = gradient.add(buffer, alpha=momentum) if group["nesterov"] else buffer
            change = direction if change is None else change + direction
        if change is not None:
            parameter.add_(change, alpha=-group["lr"])
