"""Rows of a batch that are chosen by their numbers in the memory of the CPU, so that no step waits for the device."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from understudy.randomness import Number

PIECE = 1 << 19  # values that are worked on together on a CPU


class OnHost(NamedTuple):
    """The numbers of views and samples of a batch, in the memory of the CPU.

    Random numbers that are drawn of these are those that are drawn of the numbers on the device.
    """

    epoch: Number
    ids: Tensor

    @classmethod
    def of(cls, epoch: Number, ids: Tensor) -> "OnHost":
        """These numbers, which are brought here from a device; that waits for it."""
        return cls(epoch if isinstance(epoch, int) else epoch.cpu(), ids.cpu())


def sent(values: Tensor, device: torch.device) -> Tensor:
    """Values on a device, without waiting for it."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def at_once(x: Tensor) -> int:
    """How many rows are worked on together: on a CPU so many as fit into its caches, on a device all."""
    return max(1, PIECE // x.shape[1:].numel() if x.device.type == "cpu" else len(x))


def in_pieces(places: Tensor, x: Tensor) -> Sequence[Tensor]:
    """The numbers of some rows of ``x``, in pieces that are worked on together."""
    return places.split(at_once(x)) if len(places) else ()


def change(x: Tensor, chosen: Tensor, changed: Callable[[Tensor], Tensor]) -> Tensor:
    """``x``, of whose rows those are changed for which ``chosen``, on the CPU, holds. It is written to.

    >>> change(torch.zeros(3, 1), torch.tensor([True, False, True]), lambda rows: rows + 1).flatten()
    tensor([1., 0., 1.])
    """
    for part in in_pieces(chosen.nonzero().flatten(), x):
        rows = sent(part, x.device)
        x.index_copy_(0, rows, changed(x.index_select(0, rows)))
    return x
