"""Nested tensors: a tensor, or a mapping or tuple of nested tensors, all with the samples as their first dimension.

Inputs, targets and answers have this form: pixels are one tensor, tokens a mapping of ids and mask. Lists become
tuples and mappings become dicts where a new value is made.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias, Union

import torch
from torch import Tensor

from understudy.errors import UserError

Nested: TypeAlias = Union[Tensor, Mapping[str, "Nested"], Sequence["Nested"]]  # noqa: UP007 - it refers to itself
Shape: TypeAlias = Union[tuple[int, ...], dict[str, "Shape"], tuple["Shape", ...]]  # noqa: UP007 - of one sample


def each(change: Callable[[Tensor], Tensor], value: Nested) -> Nested:
    """The same structure with every tensor changed.

    >>> each(lambda tensor: tensor + 1, {"ids": torch.tensor([1, 2])})
    {'ids': tensor([2, 3])}
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: each(change, part) for name, part in value.items()}
    return tuple(each(change, part) for part in value)


def named(value: Nested, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its name, in order; the name of a single tensor is empty.

    >>> [name for name, _ in named({"boxes": (torch.zeros(2, 4), torch.zeros(2))})]
    ['boxes.0', 'boxes.1']
    """
    if isinstance(value, Tensor):
        yield name, value
        return
    for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
        yield from named(part, f"{name}.{key}" if name else str(key))


def filled(structure: Nested, tensors: Mapping[str, Tensor], name: str = "") -> Nested:
    """The same structure with these tensors, by the names that ``named`` returns.

    >>> filled({"ids": torch.zeros(1)}, {"ids": torch.tensor([7])})
    {'ids': tensor([7])}
    """
    if isinstance(structure, Tensor):
        return tensors[name]
    inner = f"{name}." if name else ""
    if isinstance(structure, Mapping):
        return {key: filled(part, tensors, f"{inner}{key}") for key, part in structure.items()}
    return tuple(filled(part, tensors, f"{inner}{place}") for place, part in enumerate(structure))


def tensors(value: Nested) -> Iterator[Tensor]:
    """Every tensor, in order."""
    if isinstance(value, Tensor):
        yield value
        return
    for part in value.values() if isinstance(value, Mapping) else value:
        yield from tensors(part)


def together(change: Callable[[list[Tensor]], Tensor], values: Sequence[Nested]) -> Nested:
    """Combines several values of the same structure, tensor by tensor.

    >>> together(torch.cat, [(torch.zeros(1), torch.ones(1)), (torch.ones(1), torch.ones(1))])
    (tensor([0., 1.]), tensor([1., 1.]))
    """
    first = values[0]
    if isinstance(first, Tensor):
        return change(list(values))  # type: ignore[arg-type]  # the structure is that of the first
    if isinstance(first, Mapping):
        return {name: together(change, [value[name] for value in values]) for name in first}  # type: ignore[call-overload, index]
    return tuple(together(change, [value[place] for value in values]) for place in range(len(first)))  # type: ignore[index]


def concatenated(values: Sequence[Nested]) -> Nested:
    """Concatenates batches."""
    return values[0] if len(values) == 1 else together(torch.cat, values)


def chosen(value: Nested, places: Tensor | slice) -> Nested:
    """Selects samples by a tensor of numbers, a mask or a slice."""
    return each(lambda tensor: tensor[places], value)


def count(value: Nested) -> int:
    """The number of samples."""
    for tensor in tensors(value):
        return len(tensor)
    raise UserError("there is no tensor in this value, so it has no samples")


def device(value: Nested) -> torch.device | None:
    """The device of the first tensor; None without one."""
    return next((tensor.device for tensor in tensors(value)), None)


def moved(value: Nested, device: torch.device, *, non_blocking: bool = False) -> Nested:
    """Moves all tensors to a device."""
    return each(lambda tensor: tensor.to(device, non_blocking=non_blocking), value)


def same_count(value: Nested, samples: int, what: str) -> None:
    """A UserError if a tensor has another number of samples."""
    for name, tensor in named(value):
        if tensor.ndim < 1 or len(tensor) != samples:
            there = len(tensor) if tensor.ndim else "none"
            raise UserError(f"{what}{f' {name!r}' if name else ''}: {there} samples, and there must be {samples}")


def shape_of(value: Nested) -> Shape:
    """The shape of one sample, in the structure of the value.

    >>> shape_of({"ids": torch.zeros(8, 16), "mask": torch.zeros(8, 16)})
    {'ids': (16,), 'mask': (16,)}
    """
    if isinstance(value, Tensor):
        return tuple(value.shape[1:])
    if isinstance(value, Mapping):
        return {name: shape_of(part) for name, part in value.items()}
    return tuple(shape_of(part) for part in value)


def same(one: Nested, other: Nested) -> bool:
    """Whether structure and values are equal; NaN equals NaN."""
    ours, theirs = list(named(one)), list(named(other))
    return [name for name, _ in ours] == [name for name, _ in theirs] and all(
        a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
        for (_, a), (_, b) in zip(ours, theirs, strict=True)
    )


def not_finite(value: Nested) -> list[int]:
    """The numbers of the samples with NaN or infinity."""
    broken = [
        (~torch.isfinite(tensor.reshape(len(tensor), -1)).all(1)).nonzero().flatten().cpu()
        for tensor in tensors(value)
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]
    return sorted(set(torch.cat(broken).tolist())) if broken else []


def stacked(samples: Iterable[Nested]) -> Nested:
    """Stacks samples without batch dimension to a batch."""
    return together(torch.stack, list(samples))
