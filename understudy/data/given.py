"""Data that the user brings: tensors, and any map-style PyTorch ``Dataset``."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from understudy.data.dataset import MEMORY_LIMIT, Contents, assembled, class_names
from understudy.data.parts import Data
from understudy.data.sources import InMemory, Source, Streamed, as_tensor
from understudy.errors import UserError

Pair = tuple[Any, Any]  # inputs and class numbers, as tensors or arrays
_READ_TWICE = 4  # samples that must be the same both times
_FORMS = "a Data, tensors (x, y), a Dataset, a pair (train, test) of either, or a known data set's name"


def from_tensors(
    train: Pair,
    test: Pair | None = None,
    *,
    validation: int | float = 0.1,
    seed: int = 0,
    classes: int | Sequence[str] | None = None,
    name: str = "tensors",
) -> Data:
    """Data of tensors or arrays: ``from_tensors((x, y), test=(x_test, y_test))``, with y the class numbers."""
    source = _in_memory(train, "train")
    opened = None if test is None else _in_memory(test, "test")  # it is in memory already; used only at the end
    found = Contents(source, None if opened is None else lambda: opened, class_names(classes, source.targets))
    return assembled(found, name=name, validation=validation, seed=seed)


def from_datasets(
    train: Any,
    test: Any = None,
    *,
    validation: int | float = 0.1,
    seed: int = 0,
    classes: int | Sequence[str] | None = None,
    workers: int = 2,
    name: str = "dataset",
) -> Data:
    """Data of map-style PyTorch datasets whose items are (input, class number).

    Small ones are read into memory once; larger ones are read by worker processes, batch by batch.
    They must not augment at random: that is what views are for.
    """
    for part in (train, test):
        if part is not None:
            _check_map_style(part)
    source = _source(train, "train", workers)
    named = classes if classes is not None else getattr(train, "classes", None)
    names = class_names(named if isinstance(named, (int, list, tuple)) else None, source.targets)
    found = Contents(source, None if test is None else lambda: _source(test, "test", workers), names)
    return assembled(found, name=name, validation=validation, seed=seed)


def from_object(
    anything: Any, *, validation: int | float = 0.1, seed: int = 0, workers: int = 2, name: str | None = None
) -> Data:
    """Data of an object that holds them: itself, tensors (x, y), a Dataset, or (train, test) of either."""
    if isinstance(anything, Data):
        return anything if name is None else replace(anything, name=name)
    tensors: dict[str, Any] = {"validation": validation, "seed": seed, "name": name or "tensors"}
    datasets: dict[str, Any] = {**tensors, "workers": workers, "name": name or "dataset"}
    if _is_tensors(anything):
        return from_tensors(anything, **tensors)
    if isinstance(anything, (tuple, list)) and len(anything) == 2:
        train, test = anything
        if _is_tensors(train) and _is_tensors(test):
            return from_tensors(train, test, **tensors)
        return from_datasets(train, test, **datasets)
    if isinstance(anything, (tuple, list)):
        raise UserError(f"data is a {type(anything).__name__} of {len(anything)}; give {_FORMS}")
    return from_datasets(anything, **datasets)


def _is_tensors(thing: Any) -> TypeGuard[Pair]:
    kinds = (Tensor, np.ndarray)
    return isinstance(thing, (tuple, list)) and len(thing) == 2 and all(isinstance(t, kinds) for t in thing)


def _in_memory(pair: Pair, part: str) -> InMemory:
    if not _is_tensors(pair):
        raise UserError(f"{part}: give a pair (x, y) of tensors or arrays, not {type(pair).__name__}")
    x, y = (torch.as_tensor(t) for t in pair)
    if x.ndim < 2:
        raise UserError(f"{part}: x has shape {tuple(x.shape)}; its first dimension must be the samples, then theirs")
    return InMemory(x.float() if x.dtype == torch.float64 else x, _class_numbers(y, part))


def _class_numbers(labels: Tensor, part: str) -> Tensor:
    """One whole number per sample."""
    labels = labels.detach().cpu()
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise UserError(f"{part}: labels have shape {tuple(labels.shape)}; give class numbers (one-hot: y.argmax(1))")
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise UserError(f"{part}: labels must be whole class numbers, found {labels[labels != labels.round()][0]:g}")
    return labels.to(torch.int64)


def _check_map_style(dataset: Any) -> None:
    if isinstance(dataset, torch.utils.data.DataLoader):
        raise UserError("give the loader's dataset (loader.dataset): order and batches are made here")
    iterable = isinstance(dataset, torch.utils.data.IterableDataset)
    if iterable or not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or isinstance(dataset, dict):
        raise UserError(f"{type(dataset).__name__} has no numbered items (len(data), data[i]); give {_FORMS}")


def _source(dataset: Any, part: str, workers: int) -> Source:
    if not len(dataset):
        raise UserError(f"{part}: the dataset is empty")
    if isinstance(dataset, torch.utils.data.TensorDataset) and len(dataset.tensors) == 2:
        return _in_memory(dataset.tensors, part)
    sample = _check_items(dataset, part)
    if sample.nbytes * len(dataset) <= MEMORY_LIMIT:
        return _read_all(dataset, part)
    labels = _known_labels(dataset)
    if labels is None:
        labels = _labels_by_reading(dataset, workers)
    return Streamed(dataset, _class_numbers(labels, part), workers=workers)


def _check_items(dataset: Any, part: str) -> Tensor:
    """The first sample, after a look at whether items are (input, label) and stay the same when read again."""
    for index in range(min(_READ_TWICE, len(dataset))):
        sample, again = _sample(dataset, index, part), _sample(dataset, index, part)
        if sample.shape != again.shape or not torch.equal(sample.nan_to_num(), again.nan_to_num()):
            raise UserError(
                f"{part}: sample {index} differs when it is read again: take the random transforms out of the dataset "
                "and draw views instead (data.Views), so that every run sees the same"
            )
    return _sample(dataset, 0, part)


def _sample(dataset: Any, index: int, part: str) -> Tensor:
    item = dataset[index]
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        kind = f"{type(item).__name__} of {len(item)}" if hasattr(item, "__len__") else type(item).__name__
        raise UserError(f"{part}: item {index} is a {kind}; a dataset's items must be (input, class number)")
    try:
        sample = as_tensor(item[0])
    except (TypeError, ValueError) as error:
        raise UserError(f"{part}: the input of item {index} is no tensor, array or picture ({error})") from error
    _check_label(item[1], index, part)
    return sample.float() if sample.dtype == torch.float64 else sample


def _check_label(label: Any, index: int, part: str) -> None:
    try:
        number = np.asarray(label)
    except (TypeError, ValueError):
        number = np.array("ragged")
    if number.size != 1 or number.dtype.kind not in "biuf":
        raise UserError(f"{part}: labels must be class numbers, but item {index} has {str(label)[:40]!r}")


def _read_all(dataset: Any, part: str) -> InMemory:
    first = _sample(dataset, 0, part)
    samples = torch.empty(len(dataset), *first.shape, dtype=first.dtype)
    labels = []
    for index in range(len(dataset)):
        sample, label = dataset[index]
        sample = as_tensor(sample)
        if sample.shape != first.shape:
            raise UserError(
                f"{part}: sample {index} has shape {tuple(sample.shape)}, sample 0 {tuple(first.shape)}; "
                "all must have one shape (resize them in the dataset)"
            )
        samples[index] = sample
        labels.append(label)
    return InMemory(samples, _class_numbers(_stacked(labels, part), part))


def _stacked(labels: list[Any], part: str) -> Tensor:
    try:
        return torch.as_tensor(np.array([np.asarray(label) for label in labels]))
    except (TypeError, ValueError) as error:
        raise UserError(f"{part}: labels must be class numbers ({error})") from error


def _known_labels(dataset: Any) -> Tensor | None:
    """Labels that the dataset lists, where they are those that its items carry."""
    if isinstance(dataset, torch.utils.data.Subset):
        inner = _known_labels(dataset.dataset)
        return None if inner is None else inner[torch.as_tensor(dataset.indices)]
    for attribute in ("targets", "labels"):
        listed = getattr(dataset, attribute, None)
        if listed is None or not hasattr(listed, "__len__") or len(listed) != len(dataset):
            continue
        try:
            labels = torch.as_tensor(listed)
        except (TypeError, ValueError, RuntimeError):
            continue
        if all(_same(labels[i], dataset[i][1]) for i in range(min(_READ_TWICE, len(dataset)))):
            return labels
    return None


def _same(listed: Tensor, label: Any) -> bool:
    return listed.numel() == 1 and np.asarray(label).size == 1 and int(listed) == int(label)


class _LabelsOf:
    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> int:
        return int(self.dataset[index][1])


def _labels_by_reading(dataset: Any, workers: int) -> Tensor:
    """One pass over the items, for their labels alone."""
    make: Callable[..., Any] = torch.utils.data.DataLoader
    loader = make(_LabelsOf(dataset), batch_size=64, num_workers=workers, generator=torch.Generator())
    return torch.cat(list(loader))
