"""Weights without tuning: terms scaled so that their gradients on the student have the size of the first term's."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from understudy.objective.term import Expression, Sum, Weighted, as_sum
from understudy.ranks import Ranks

EVERY = 20  # steps from one measurement to the next; each costs one more backward pass for every term
DECAY = 0.95  # of the running mean over measurements: its memory is about 400 steps


def balanced(terms: Expression, *, published: bool = False) -> Sum:
    """The same terms, all but the first weighted by the size of their gradients.

    A number before a term then says how large its gradient is to be, as a multiple of the first term's.

    >>> from understudy.terms import CE, KD, Hint
    >>> print(balanced(CE() + KD(temperature=4) + 0.5 * Hint("layer2 -> layer2")))
    CE() + auto() * KD() + auto(0.5) * Hint(pair='layer2 -> layer2')

    Args:
        published: the terms come with weights that were tuned for a scale of their own (a method's defaults): these
            numbers are dropped, and every term counts as much as the first.
    """
    first, *others = as_sum(terms).parts
    return Sum((first, *(replace(part, factor=1.0 if published else part.factor, balanced=True) for part in others)))


class Balance(nn.Module):
    """The running sizes of the terms' gradients on the student, and the scales that follow from them.

    It looks anew every ``EVERY`` steps, for the first time at the first one. Its state decides how a training goes
    on, so it is part of the objective's.
    """

    sizes: Tensor
    looks: Tensor

    def __init__(self, parts: Mapping[str, Weighted]):
        super().__init__()
        self.names = list(parts)
        self.steered = [part.balanced and number > 0 for number, part in enumerate(parts.values())]
        self.anchor = abs(next(iter(parts.values())).factor)
        self.steps = 0
        self.register_buffer("sizes", torch.zeros(len(parts), dtype=torch.float32))
        self.register_buffer("looks", torch.zeros((), dtype=torch.float32))

    def look(self, means: Mapping[str, Tensor], student: nn.Module, ranks: Ranks | None = None) -> None:
        """A step of the training: now and then, each term's gradient is measured before they are added."""
        if self.steps % EVERY == 0:
            parameters = [p for p in student.parameters() if p.requires_grad]
            found = torch.stack([gradient_size(means[name], parameters, ranks) for name in self.names])
            memory = (self.looks / (self.looks + 1)).clamp(max=DECAY)  # a plain mean, until there is enough of it
            self.sizes.mul_(memory).add_(found * (1 - memory))
            self.looks.add_(1)
        self.steps += 1

    def scales(self) -> dict[str, Tensor | float]:
        """By which each term is multiplied; 1 where nothing is known of it, or it has no gradient."""
        wanted = self.anchor * self.sizes[0]
        scales = torch.where((self.sizes > 0) & (wanted > 0), wanted / self.sizes, 1.0)
        return {
            name: scale if steered else 1.0
            for name, scale, steered in zip(self.names, scales.unbind(), self.steered, strict=True)
        }

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps = int(state)


def gradient_size(value: Tensor, parameters: Iterable[nn.Parameter], ranks: Ranks | None = None) -> Tensor:
    """The length of the gradient of ``value`` on all of the parameters, averaged over ranks; its graph is kept."""
    if not value.requires_grad:
        return torch.zeros((), device=value.device)
    found = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    if ranks is not None and any(gradient is not None for gradient in found):
        whole = torch.cat([gradient.float().flatten() for gradient in found if gradient is not None])
        return ranks.mean(whole).square().sum().sqrt()
    squares = [gradient.float().square().sum() for gradient in found if gradient is not None]
    return torch.stack(squares).sum().sqrt() if squares else torch.zeros((), device=value.device)
