"""Batches of texts of similar length: an order of an epoch, and inputs without the columns of padding."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from understudy import nested, randomness
from understudy.data.sources import InMemory, Source
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.tasks.words import MASK, OF

if TYPE_CHECKING:
    from understudy.data.parts import Batch


Lengths = Mapping[str, Tensor]  # by the name of the mask: that of the task, and those of further token tables


def lengths_of(source: Source) -> Lengths:
    """The number of tokens of each sample of a source; a ``UserError`` if its inputs do not tell it."""
    inputs = source.samples if isinstance(source, InMemory) else None
    named = inputs if isinstance(inputs, Mapping) else {}
    masks = {name: mask for name, mask in named.items() if name.endswith(MASK) and isinstance(mask, Tensor)}
    if MASK not in masks:
        raise UserError(f"group_by_length is for texts in memory, whose inputs have an {MASK}: leave it out")
    for name, mask in masks.items():
        if bool((mask[:, 1:] > mask[:, :-1]).any()):
            raise UserError(
                f"group_by_length takes padding off the end of texts, and here an {name} begins with padding"
            )
    return {name: mask.sum(1).cpu() for name, mask in masks.items()}


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


def shortened(batch: "Batch", lengths: Lengths) -> "Batch":
    """A batch without the columns that are padding in all of its texts."""
    numbers = batch.numbers
    assert numbers is not None
    longest = {name: int(of_mask[numbers].max()) for name, of_mask in lengths.items()}
    return replace(batch, inputs=_cut(batch.inputs, longest))


def of_mean_length(inputs: Nested, lengths: Lengths, ids: Tensor) -> Nested:
    """Inputs with as many columns as the texts of these samples have tokens on average, to time a step with."""
    return _cut(inputs, {name: round(of_mask[ids].double().mean().item()) for name, of_mask in lengths.items()})


def _cut(inputs: Nested, longest: Mapping[str, int]) -> Nested:
    """The first columns of inputs, as many as are given for their mask."""
    assert isinstance(inputs, Mapping)
    found = dict(inputs)
    for name, columns in longest.items():
        mask, table = inputs[name], name.removesuffix(MASK)
        assert isinstance(mask, Tensor)
        cut = partial(_columns, shape=mask.shape, longest=columns)
        for key in [key for key in inputs if key.startswith(table) and OF not in key.removeprefix(table)]:
            found[key] = nested.each(cut, inputs[key])
    return found


def _columns(value: Tensor, *, shape: torch.Size, longest: int) -> Tensor:
    return value[:, :longest] if value.shape[:2] == shape[:2] else value
