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
from understudy.models.fingerprints import of_values
from understudy.objective import Objective
from understudy.ranks import Ranks

UNEVEN = (
    "on some processes only: which modules run must depend neither on the samples nor on chance (experts, layers that "
    "are left out). Train this student on one process"
)


def average_gradients(parameters: Iterable[nn.Parameter], ranks: Ranks) -> bytes:
    """Replace each gradient by its mean over the ranks, all of one type in one go, and return which there are.

    The same parameters must have gradients on all ranks; ``check_reached`` and ``Agreement`` look at that.
    """
    by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    reached = bytearray()
    for parameter in parameters:
        reached.append(parameter.grad is not None)
        if parameter.grad is not None:
            by_kind.setdefault((parameter.grad.dtype, parameter.grad.device), []).append(parameter.grad)
    for gradients in by_kind.values():
        mean = ranks.mean(torch.cat([gradient.flatten() for gradient in gradients]))
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))
    return bytes(reached)


def check_reached(networks: Iterable[nn.Module], ranks: Ranks) -> None:
    """A UserError if a parameter has a gradient on some processes only. All must call this together."""
    named = (pair for network in networks for pair in network.named_parameters())
    everywhere = ranks.objects([name for name, parameter in named if parameter.grad is not None])
    for name in dict.fromkeys(name for names in everywhere for name in names):
        if any(name not in names for names in everywhere):
            raise UserError(f"the parameter {name!r} has a gradient {UNEVEN}")


def check_batches(stage: Stage, data: Data, ranks: Ranks) -> None:
    """A UserError if the processes cannot take equal shares of a batch."""
    batch = min(stage.config.batch, len(data.train))
    if batch % ranks.world:
        raise UserError(
            f"stage {stage.name!r}: a batch of {batch} samples has no equal share for each of {ranks.world} processes: "
            f"set train.batch to a multiple of {ranks.world}"
        )


def differing(tensors: Iterable[tuple[str, Tensor]], ranks: Ranks) -> str | None:
    """The name of the first tensor that is not the same on all processes. All must call this together."""
    digests = {name: of_values(value) for name, value in tensors}
    all_digests = ranks.objects(digests)
    return next((name for name in digests if len({other.get(name) for other in all_digests}) > 1), None)


def check_begins(student: nn.Module, ranks: Ranks) -> None:
    """A UserError if the student begins with other weights on other processes: no average of gradients mends that."""
    name = differing((*student.named_parameters(), *student.named_buffers()), ranks)
    if name is not None:
        raise UserError(
            f"the student's {name!r} does not begin with the same values on all processes: let the network draw them "
            "from PyTorch's generator, which is seeded, or load them from a file"
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
    """The common values of a step on all ranks: means of the logged values, and whether to stop or to save.

    Raises:
        UserError: gradients of different parameters have been averaged since the last step.
    """

    def __init__(self, ranks: Ranks | None):
        self.ranks = ranks
        self.stop = self.save = self.written = False

    def mean(self, values: Tensor, *, stop: bool, save: bool, reached: int = 0, has_part: bool = False) -> Tensor:
        """The values' means over all ranks. Any rank may ask to ``stop``; the first decides when to ``save``.

        ``reached`` is a digest of which parameters had gradients, in 16 bits. A checkpoint in parts is ``written``
        when every rank ``has_part``.
        """
        if self.ranks is None:
            self.stop, self.save = stop, save
            return values
        said = stop, save and self.ranks.rank == 0, reached, reached * reached, has_part
        flags = torch.tensor(said, dtype=torch.float64)
        if values.device.type == "cpu":  # in one go
            total = self.ranks.summed(torch.cat([values.to(torch.float64), flags]))
            means, flags = total[: -len(said)] / self.ranks.world, total[-len(said) :]
        else:
            means, flags = self.ranks.mean(values), self.ranks.summed(flags)
        stops, saves, total_reached, squares, have_parts = flags.tolist()
        self.stop, self.save, self.written = stops > 0, saves > 0, have_parts == self.ranks.world
        if squares * self.ranks.world != total_reached * total_reached:  # they are not all the same
            raise UserError(f"in the last step, some parameters had a gradient {UNEVEN}")
        return means
