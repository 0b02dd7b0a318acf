"""Batches of texts of similar length: an order of an epoch, and inputs without the columns of padding."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from understudy import nested, randomness
from understudy.data.sources import InMemory, Source
from understudy.errors import UserError
from understudy.tasks.words import MASK

if TYPE_CHECKING:
    from understudy.data.parts import Batch


def lengths_of(source: Source) -> Tensor:
    """The number of tokens of each sample of a source; a ``UserError`` if its inputs do not tell it."""
    inputs = source.samples if isinstance(source, InMemory) else None
    mask = inputs.get(MASK) if isinstance(inputs, Mapping) else None
    if not isinstance(mask, Tensor):
        raise UserError(f"group_by_length is for texts in memory, whose inputs have an {MASK}: leave it out")
    mask = mask.cpu()
    if bool((mask[:, 1:] > mask[:, :-1]).any()):
        raise UserError(f"group_by_length takes padding off the end of texts, and here an {MASK} begins with padding")
    return mask.sum(1)


def by_length(order: Tensor, lengths: Tensor, *, batch: int, group: int, seed: int, epoch: int) -> Tensor:
    """An epoch's order, a function of (seed, epoch, lengths): batches of similar length, themselves in random order.

    The order is taken in groups of so many batches; the samples of each are sorted by their length.

    >>> order, lengths = torch.tensor([3, 1, 2, 0]), torch.tensor([5, 9, 6, 8])
    >>> sorted(by_length(order, lengths, batch=2, group=2, seed=0, epoch=0).view(2, 2).sort(1).values.tolist())
    [[0, 2], [1, 3]]
    """
    groups = [ids[lengths[ids].argsort(stable=True)] for ids in order.split(group * batch)]
    batches = torch.cat(groups).view(-1, batch)
    return batches[randomness.shuffled(seed, epoch, torch.arange(len(batches)), "batches")].flatten()


def shortened(batch: "Batch", lengths: Tensor) -> "Batch":
    """A batch without the columns that are padding in all of its texts."""
    assert batch.numbers is not None
    assert isinstance(batch.inputs, Mapping)
    longest, mask = int(lengths[batch.numbers].max()), batch.inputs[MASK]
    assert isinstance(mask, Tensor)
    shape = mask.shape
    inputs = nested.each(lambda value: value[:, :longest] if value.shape[:2] == shape else value, batch.inputs)
    return replace(batch, inputs=inputs)
