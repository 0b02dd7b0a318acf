"""Data that the user brings: tensors, and any map-style PyTorch ``Dataset``."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypedDict, TypeGuard

import numpy as np
import torch
from torch import Tensor

from understudy import nested, tasks
from understudy.data.dataset import MODEST, Contents, assembled, check_targets, kept, memory_for_samples, problems_of
from understudy.data.numbered import Numbered, Stream, stream_of
from understudy.data.parts import Data
from understudy.data.sources import (
    TARGETS,
    InMemory,
    MapDataset,
    Source,
    Streamed,
    as_sample,
    as_targets,
    divided,
    stacked,
)
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.tasks import Task
from understudy.tasks.boxes import are_boxes, padded

Pair = tuple[object, object]  # inputs and targets, as tensors or arrays, or mappings or tuples of them
TaskLike = Task | str | Mapping[str, object]  # a task, its name, or a mapping of its name and settings
_READ_TWICE = 4  # samples that must be the same both times
_FORMS = (
    "a Data, tensors (x, y), a Dataset, a pair (train, test) of either, inputs without labels (one tensor, or "
    "data.from_inputs), or a known data set's name"
)


class _Options(TypedDict):
    validation: int | float
    seed: int
    task: TaskLike


def from_tensors(
    train: Pair,
    test: Pair | None = None,
    *,
    validation: int | float = 0.1,
    seed: int = 0,
    classes: int | Sequence[str] | None = None,
    task: TaskLike = "classification",
    name: str = "tensors",
) -> Data:
    """Data of tensors or arrays: ``from_tensors((x, y), test=(x_test, y_test))``.

    Args:
        train, test: pairs of inputs and targets. Either may be a mapping or tuple of tensors whose first dimension is
            the sample: ``({"input_ids": ids, "attention_mask": mask}, y)``. Targets of a detection may be a list with
            ``boxes`` and ``classes`` of each image.
        validation: the size of the validation part, taken off the training samples: a number, a share below 1, or 0.
        seed: selects these samples.
        classes: the names of the outputs, or their number; by default they follow from the targets.
        task: the task: classification by default; ``"regression"``, ``"multilabel"``, ``"binary"``, a
            mapping of name and settings, or a ``Task``.
        name: of the data, in reports.

    >>> x, y = torch.rand(20, 3, 8, 8), torch.arange(20) % 2
    >>> data = from_tensors((x, y), classes=["cat", "dog"])
    >>> len(data.train), len(data.validation), data.task.about
    (18, 2, '2 classes')
    """
    source = _in_memory(train, "train")
    opened = None if test is None else _in_memory(test, "test")  # it is in memory already; used only at the end
    open_test = None if opened is None else lambda: opened
    data = _assembled(source, open_test, task, classes, name, validation, seed)
    if opened is None:
        return data
    return replace(data, look=problems_of(lambda: check_targets(opened.targets, data.task, f"{name}, test part")))


def from_datasets(
    train: "MapDataset | Stream | torch.utils.data.IterableDataset[object]",
    test: "MapDataset | Stream | torch.utils.data.IterableDataset[object] | None" = None,
    *,
    validation: int | float = 0.1,
    seed: int = 0,
    classes: int | Sequence[str] | None = None,
    task: TaskLike = "classification",
    workers: int = 2,
    memory: float | None = None,
    name: str = "dataset",
) -> Data:
    """Data of PyTorch datasets whose items are (input, target), or mappings with an entry ``label``.

    They are map-style, or a ``Stream``: an iterable with a stated length, as is an ``IterableDataset`` with a length.
    Small ones are read into memory once: by default up to an eighth of the machine's, 512 MiB at least, or up to so
    many gigabytes of ``memory`` for each part. Larger ones are read by worker processes, batch by batch.
    They must not augment at random: use ``Augmentation``. ``task`` and ``classes`` are those of ``from_tensors``.

    >>> from torch.utils.data import TensorDataset
    >>> from_datasets(TensorDataset(torch.rand(20, 4), torch.arange(20) % 2)).classes
    ('0', '1')
    """
    numbered = _map_style(train)
    test_part = None if test is None else _map_style(test)
    source = _source(numbered, "train", workers, memory)
    named = classes if classes is not None else getattr(train, "classes", None)
    names = named if isinstance(named, (int, list, tuple)) else None
    opened = None if test_part is None else lambda: _source(test_part, "test", workers, memory)
    return _assembled(source, opened, task, names, name, validation, seed)


def from_inputs(
    train: object,
    test: object | None = None,
    *,
    validation: int | float = 0.1,
    seed: int = 0,
    classes: int | Sequence[str] | None = None,
    task: TaskLike = "unlabelled",
    workers: int = 2,
    memory: float | None = None,
    name: str = "inputs",
) -> Data:
    """Data without labels; what counts on them is the agreement with the teacher.

    Args:
        train, test: inputs as a tensor, an array or a mapping of them, or a dataset whose items are inputs; of items
            (input, label) the label is left out.
        classes: the names of the teacher's outputs, or their number; by default numbers, as many as it has.
        validation, seed, workers, memory, name: those of ``from_datasets``.
        task: ``"unlabelled"``, or ``"embedding"`` for a teacher whose answer is a feature vector.

    >>> data = from_inputs(torch.rand(20, 3, 8, 8))
    >>> len(data.train), len(data.validation), data.task.about
    (18, 2, "no labels (the outputs are the teacher's)")
    """
    source = source_of_inputs(train, "train", workers, memory)
    opened = None if test is None else lambda: source_of_inputs(test, "test", workers, memory)
    return _assembled(source, opened, task, classes, name, validation, seed)


def source_of_inputs(inputs: object, part: str, workers: int, memory: float | None) -> Source:
    """Inputs alone as a source, with zeros in the place of targets."""
    if _holds_tensors(inputs):
        try:
            x = _as_nested(inputs)
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{part}: give inputs as tensors or arrays: {error}") from error
        return _in_memory((x, torch.zeros(nested.count(x), dtype=torch.int64)), part)
    return _source(_Inputs(_map_style(inputs)), part, workers, memory)


class _Inputs:
    """The inputs of a dataset, with zeros in the place of labels."""

    def __init__(self, dataset: MapDataset):
        self.dataset = dataset
        self.targets = torch.zeros(len(dataset), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[object, int]:
        item = self.dataset[index]
        try:
            return divided(item)[0], 0
        except TypeError:
            return item[0] if isinstance(item, (tuple, list)) and len(item) == 1 else item, 0


def _assembled(
    source: Source,
    open_test: Callable[[], Source] | None,
    task: TaskLike,
    names: int | Sequence[str] | None,
    name: str,
    validation: int | float,
    seed: int,
) -> Data:
    if not len(source):
        raise UserError(f"{name}: there are no samples")
    try:
        made = tasks.made(task, source.targets, names)
    except UserError as error:
        raise UserError(f"{name}, training part: {error}") from None
    return assembled(Contents(source, open_test, task=made), name=name, validation=validation, seed=seed)


def from_object(
    anything: object,
    *,
    validation: int | float = 0.1,
    seed: int = 0,
    task: TaskLike = "classification",
    workers: int = 2,
    memory: float | None = None,
    name: str | None = None,
) -> Data:
    """Data of an object that holds them: itself, tensors (x, y), a Dataset, or (train, test) of either; inputs alone.

    >>> from_object((torch.rand(20, 4), torch.arange(20) % 2)).shape
    (4,)
    """
    if isinstance(anything, Data):
        return anything if name is None else replace(anything, name=name)
    options: _Options = {"validation": validation, "seed": seed, "task": task}
    if _is_inputs(anything):
        options["task"] = "unlabelled" if task == "classification" else task
        return from_inputs(anything, workers=workers, memory=memory, name=name or "inputs", **options)
    if _is_tensors(anything):
        return from_tensors(anything, name=name or "tensors", **options)
    if isinstance(anything, (tuple, list)) and len(anything) == 2:
        train, test = anything
        if _is_tensors(train) and _is_tensors(test):
            return from_tensors(train, test, name=name or "tensors", **options)
        test = None if test is None else _map_style(test)
        return from_datasets(_map_style(train), test, workers=workers, memory=memory, name=name or "dataset", **options)
    if isinstance(anything, (tuple, list)):
        raise UserError(f"data is a {type(anything).__name__} of {len(anything)}; give {_FORMS}")
    return from_datasets(_map_style(anything), workers=workers, memory=memory, name=name or "dataset", **options)


def _is_tensors(thing: object) -> TypeGuard[Pair]:
    if not isinstance(thing, (tuple, list)) or len(thing) != 2 or not _holds_tensors(thing[0]):
        return False
    return _holds_tensors(thing[1]) or _is_plain_list(thing[1])


def _is_plain_list(thing: object) -> bool:
    """A list of labels as Python's own numbers; or of words, which are refused as labels and not as a dataset."""
    return isinstance(thing, list) and bool(thing) and all(isinstance(item, (int, float, str)) for item in thing)


def _is_inputs(thing: object) -> bool:
    """A tensor or an array by itself, or a dataset whose items are one tensor, array or picture each."""
    if isinstance(thing, (Tensor, np.ndarray)):
        return True
    if (stream := stream_of(thing)) is not None:
        thing = next(iter(stream), None)
        return isinstance(thing, (Tensor, np.ndarray)) or hasattr(thing, "getbands")
    if isinstance(thing, (tuple, list, Mapping, torch.utils.data.IterableDataset, torch.utils.data.DataLoader)):
        return False
    if not isinstance(thing, MapDataset) or not len(thing):
        return False
    return isinstance(thing[0], (Tensor, np.ndarray)) or hasattr(thing[0], "getbands")  # a picture of Pillow


def _holds_tensors(thing: object) -> bool:
    """A tensor or an array, or a mapping of them; pairs of pairs are (train, test)."""
    if isinstance(thing, Mapping):
        return bool(thing) and all(map(_holds_tensors, thing.values()))
    return isinstance(thing, (Tensor, np.ndarray))


def _in_memory(pair: Pair, part: str) -> InMemory:
    if not (isinstance(pair, (tuple, list)) and len(pair) == 2):
        raise UserError(f"{part}: give a pair (x, y) of tensors or arrays, not {type(pair).__name__}")
    try:
        x, y = map(_as_nested, pair)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{part}: give a pair (x, y) of tensors or arrays: {error}") from error
    if isinstance(x, Tensor) and x.ndim < 2:
        raise UserError(f"{part}: x has shape {tuple(x.shape)}; its first dimension must be the samples, then theirs")
    x = nested.each(lambda tensor: tensor.float() if tensor.dtype == torch.float64 else tensor, x)
    return InMemory(x, nested.each(lambda tensor: tensor.detach().cpu(), y))


def _as_nested(value: object) -> Nested:
    if isinstance(value, Mapping):
        return {str(name): _as_nested(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_as_nested, value))
    if isinstance(value, list) and value and all(map(are_boxes, value)):
        return padded(value)
    return torch.as_tensor(np.array(value) if hasattr(value, "getbands") else value)  # a mask's numbers are classes


def _map_style(dataset: object) -> MapDataset:
    """The dataset, the items of a stream numbered; a ``UserError`` if they cannot be."""
    if isinstance(dataset, Numbered):
        return dataset
    if (stream := stream_of(dataset)) is not None:
        return Numbered(stream)
    if isinstance(dataset, torch.utils.data.DataLoader):
        raise UserError("give the loader's dataset (loader.dataset): order and batches are made here")
    if isinstance(dataset, torch.utils.data.IterableDataset) or (
        isinstance(dataset, Iterable) and not isinstance(dataset, MapDataset)
    ):
        raise UserError(
            f"{type(dataset).__name__} is read one item after the other, and does not say how many there are: give "
            "understudy.data.Stream(make, length), where make is a function that begins it again"
        )
    if isinstance(dataset, dict) or not isinstance(dataset, MapDataset):
        raise UserError(f"{type(dataset).__name__} has no numbered items (len(data), data[i]); give {_FORMS}")
    return dataset


def _source(dataset: MapDataset, part: str, workers: int, memory: float | None) -> Source:
    if not len(dataset):
        raise UserError(f"{part}: the dataset is empty")
    if isinstance(dataset, torch.utils.data.TensorDataset) and len(dataset.tensors) == 2:
        return _in_memory(dataset.tensors, part)
    sample, target = _check_items(dataset, part)
    size = sum(tensor.nbytes for tensor in nested.tensors(sample)) * len(dataset)
    most = memory_for_samples(memory)
    if size <= min(most, MODEST):
        return _read_all(dataset, part)
    targets = _listed_targets(dataset, target) if isinstance(target, Tensor) else None
    labels = _targets_by_reading(dataset, workers) if targets is None else targets
    streamed = Streamed(dataset, labels, workers=workers)
    return streamed if size > most else kept(streamed, size)


def _check_items(dataset: MapDataset, part: str) -> tuple[Nested, Nested]:
    """The first item; checks that items are (input, target) and are equal when they are read again."""
    for index in range(min(_READ_TWICE, len(dataset))):
        (sample, _), (again, _) = _item(dataset, index, part), _item(dataset, index, part)
        if not nested.same(sample, again):
            raise UserError(
                f"{part}: sample {index} differs when it is read again: take the random transforms out of the dataset "
                "and draw views instead (data.Augmentation), so that every run sees the same"
            )
    return _item(dataset, 0, part)


def _item(dataset: MapDataset, index: int, part: str) -> tuple[Nested, Nested]:
    """Input and target of one item, as tensors."""
    item = dataset[index]
    try:
        value, target = divided(item)
    except TypeError:
        kind = f"{type(item).__name__} of {len(item)}" if hasattr(item, "__len__") else type(item).__name__
        names = ", ".join(map(repr, TARGETS))
        raise UserError(
            f"{part}: item {index} is a {kind}; a dataset's items must be (input, target), "
            f"or a mapping with an entry called one of {names}"
        ) from None
    try:
        sample = as_sample(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{part}: the input of item {index} is no tensor, array or picture ({error})") from error
    try:
        return sample, as_targets(_as_nested(target))
    except (TypeError, ValueError, RuntimeError) as error:
        shown = str(target)[:40]
        raise UserError(
            f"{part}: targets must be class numbers or other numbers, but item {index} has {shown!r}"
        ) from error


def _read_all(dataset: MapDataset, part: str) -> InMemory:
    first, _ = _item(dataset, 0, part)
    if not isinstance(first, Tensor):
        items = [_item(dataset, index, part) for index in range(len(dataset))]
        numbers = range(len(items))
        samples = _stacked(part, numbers, [sample for sample, _ in items])
        return InMemory(samples, _stacked(part, numbers, [target for _, target in items], "the target of "))
    whole = torch.empty(len(dataset), *first.shape, dtype=first.dtype)
    targets = []
    for index in range(len(dataset)):
        sample, target = _item(dataset, index, part)
        if not isinstance(sample, Tensor) or sample.shape != first.shape:
            there = tuple(sample.shape) if isinstance(sample, Tensor) else type(sample).__name__
            raise UserError(
                f"{part}: sample {index} has shape {there}, sample 0 {tuple(first.shape)}; "
                "all must have one shape (resize them in the dataset)"
            )
        whole[index] = sample
        targets.append(target)
    return InMemory(whole, _stacked(part, range(len(targets)), targets, "the target of "))


def _stacked(part: str, numbers: Iterable[int], values: list[Nested], what: str = "") -> Nested:
    try:
        if all(map(are_boxes, values)):
            return padded([value for value in values if isinstance(value, Mapping)])
        return stacked(numbers, values)
    except UserError as error:
        raise UserError(f"{part}: {what}{error}") from None


def _listed_targets(dataset: MapDataset, first: Tensor) -> Tensor | None:
    """The targets that the dataset lists in an attribute, if they equal those of its items."""
    if isinstance(dataset, torch.utils.data.Subset):
        inner = _listed_targets(_map_style(dataset.dataset), first)
        return None if inner is None else inner[torch.as_tensor(dataset.indices)]
    for attribute in ("targets", "labels"):
        listed = getattr(dataset, attribute, None)
        if listed is None or not hasattr(listed, "__len__") or len(listed) != len(dataset):
            continue
        try:
            targets = as_targets(torch.as_tensor(listed))
        except (TypeError, ValueError, RuntimeError):
            continue
        assert isinstance(targets, Tensor)
        if all(_same(targets[i], divided(dataset[i])[1]) for i in range(min(_READ_TWICE, len(dataset)))):
            return targets
    return None


def _same(listed: Tensor, target: object) -> bool:
    try:
        return torch.equal(listed.squeeze().double(), torch.as_tensor(target).squeeze().double().cpu())
    except (TypeError, ValueError, RuntimeError):
        return False


class _TargetsOf:
    def __init__(self, dataset: MapDataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Nested | dict[str, list[object]]:
        target = as_targets(_as_nested(divided(self.dataset[index])[1]))
        if not isinstance(target, Mapping) or not are_boxes(target):
            return target
        return {name: value.tolist() for name, value in nested.named(target)}  # of differing number: they are padded


def _targets_by_reading(dataset: MapDataset, workers: int) -> Nested:
    """One pass over the items, for their targets alone."""
    make: Callable[..., Iterable[Nested]] = torch.utils.data.DataLoader
    options = {"batch_size": 64, "num_workers": workers, "generator": torch.Generator()}
    targets = _TargetsOf(dataset)
    if are_boxes(targets[0]):
        every = make(targets, collate_fn=list, **options)
        return padded([target for batch in every for target in batch if isinstance(target, Mapping)])
    return nested.concatenated(list(make(targets, **options)))
