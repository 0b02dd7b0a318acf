"""Weights without tuning: terms scaled so that their gradients on the student have the size of the first term's."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from understudy.objective.term import Expression, Sum, Weighted, as_sum
from understudy.ranks import Ranks

EVERY = 20  # steps between measurements; each costs one more backward pass for every term
DECAY = 0.95  # of the running mean over measurements: its memory is about 400 steps


def balanced(terms: Expression, *, published: bool = False) -> Sum:
    """The same terms, all but the first weighted by the size of their gradients.

    A factor before a term is then the size of its gradient, as a multiple of the first term's.

    >>> from understudy.terms import CE, KD, Hint
    >>> print(balanced(CE() + KD(temperature=4) + 0.5 * Hint("layer2 -> layer2")))
    CE() + auto() * KD() + auto(0.5) * Hint(pair='layer2 -> layer2')

    Args:
        published: the factors are weights that were tuned for unbalanced terms (a method's defaults): they
            are dropped, and the gradient of every term has the size of the first term's.
    """
    first, *others = as_sum(terms).parts
    return Sum((first, *(replace(part, factor=1.0 if published else part.factor, balanced=True) for part in others)))


class Balance(nn.Module):
    """The running sizes of the terms' gradients on the student, and the scales that follow from them.

    Sizes are measured every ``EVERY`` steps, starting with the first one. The state changes the training, so it is
    part of the objective's state.
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
        """Counts a training step; every ``EVERY`` steps, each term's gradient is measured."""
        if self.steps % EVERY == 0:
            parameters = [p for p in student.parameters() if p.requires_grad]
            sizes = torch.stack([gradient_size(means[name], parameters, ranks) for name in self.names])
            memory = (self.looks / (self.looks + 1)).clamp(max=DECAY)  # a plain mean over the first measurements
            self.sizes.mul_(memory).add_(sizes * (1 - memory))
            self.looks.add_(1)
        self.steps += 1

    def scales(self) -> dict[str, Tensor | float]:
        """The factor of each term; 1 before the first measurement and for a term without gradient."""
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
    """The norm of the gradient of ``value`` with respect to all parameters, averaged over ranks; the graph is kept."""
    if not value.requires_grad:
        return torch.zeros((), device=value.device)
    found = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    if ranks is not None and any(gradient is not None for gradient in found):
        whole = torch.cat([gradient.float().flatten() for gradient in found if gradient is not None])
        return ranks.mean(whole).square().sum().sqrt()
    squares = [gradient.float().square().sum() for gradient in found if gradient is not None]
    return torch.stack(squares).sum().sqrt() if squares else torch.zeros((), device=value.device)
