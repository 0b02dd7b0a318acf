"""One training step on several processes: shares of a batch, averaged gradients, and common decisions."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from understudy import nested
from understudy.config.settings import Settings
from understudy.config.stage import Stage
from understudy.data.parts import Batch, Data
from understudy.errors import UserError
from understudy.objective import Objective
from understudy.ranks import Ranks


def average_gradients(parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
    """Replace each gradient by its mean over the ranks, all of one type in one go.

    The same parameters have gradients on all ranks, since all compute the same terms.
    """
    by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_kind.setdefault((parameter.grad.dtype, parameter.grad.device), []).append(parameter.grad)
    for gradients in by_kind.values():
        mean = ranks.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))


def check_batches(stage: Stage, data: Data, ranks: Ranks) -> None:
    """A UserError if the processes cannot take equal shares of a batch."""
    batch = min(stage.config.batch, len(data.train))
    if batch % ranks.world:
        raise UserError(
            f"stage {stage.name!r}: a batch of {batch} samples has no equal share for each of {ranks.world} processes: "
            f"set train.batch to a multiple of {ranks.world}"
        )


def microbatches(batch: Batch, most: int | None) -> list[Batch]:
    """The batch in parts of at most so many samples."""
    if most is None or most >= len(batch):
        return [batch]
    return list(_parts(batch, most))


def _parts(batch: Batch, most: int) -> Iterator[Batch]:
    for start in range(0, len(batch), most):
        chosen = slice(start, start + most)
        yield replace(
            batch,
            inputs=nested.chosen(batch.inputs, chosen),
            targets=nested.chosen(batch.targets, chosen),
            ids=batch.ids[chosen],
            numbers=None if batch.numbers is None else batch.numbers[chosen],
            views=None if batch.views is None else batch.views[chosen],
        )


def check_microbatch(objective: Objective, settings: Settings) -> None:
    """A UserError if gradients of parts of a batch do not add up to the gradient of the batch."""
    across = [name for name, part in objective.parts.items() if part.term.reads.batch]
    if across:
        raise UserError(f"settings.microbatch: term {across[0]!r} looks at the whole batch: leave microbatch out")
    if objective.balance is not None:
        raise UserError("settings.microbatch: auto() measures gradients of the whole batch: leave microbatch out")
    if settings.teacher_batches > 1:
        raise UserError("settings.microbatch and settings.teacher_batches exclude each other: leave one of them out")
    networks = (objective.student, objective.owned)
    norm = any(isinstance(module, _BatchNorm) for network in networks for module in network.modules())
    if norm and settings.batch_norm == "batch":
        raise UserError(
            "settings.microbatch: batch norms take their statistics over the whole batch: "
            'set settings.batch_norm = "process" for statistics of a microbatch, or leave microbatch out'
        )


class Agreement:
    """The common values of a step on all ranks: means of the logged values, and whether to stop or to save."""

    def __init__(self, ranks: Ranks | None):
        self.ranks = ranks
        self.stop = self.save = False

    def mean(self, values: Tensor, *, stop: bool, save: bool) -> Tensor:
        """The values' means over all ranks. Any rank may ask to ``stop``; the first decides when to ``save``."""
        if self.ranks is None:
            self.stop, self.save = stop, save
            return values
        flags = torch.tensor([float(stop), float(save and self.ranks.rank == 0)], dtype=torch.float64)
        if values.device.type == "cpu":  # in one go
            total = self.ranks.summed(torch.cat([values.to(torch.float64), flags]))
            means, flags = total[:-2] / self.ranks.world, total[-2:]
        else:
            means, flags = self.ranks.mean(values), self.ranks.summed(flags)
        self.stop, self.save = flags[0].item() > 0, flags[1].item() > 0
        return means
