"""Sources of samples: tensors in memory, or a dataset that is read by worker processes."""

import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from understudy import nested
from understudy.errors import UserError
from understudy.nested import Nested

TARGETS = ("labels", "label", "targets", "target")  # names under which a mapping holds the target


@runtime_checkable
class MapDataset(Protocol):
    """A map-style dataset: ``len(dataset)`` items, ``dataset[index]``.

    >>> isinstance([(torch.zeros(4), 0)], MapDataset)
    True
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


class Boxes(Protocol):
    """A box in each image, as top, left, height and width, from the images' heights and widths and their numbers."""

    def __call__(self, size: tuple[Tensor, Tensor], *, ids: Tensor) -> Sequence[Tensor]: ...

    def of(self, rows: slice | Tensor) -> "Boxes":
        """Those of some rows of a batch."""


@runtime_checkable
class Cropping(Protocol):
    """A map-style dataset of images that may cut a box out of each before it is resized to a sample (if ``whole``)."""

    @property
    def whole(self) -> bool: ...

    def views(self, ids: list[int], boxes: Boxes) -> list[Tensor]: ...


class Source(Protocol):
    """Numbered samples with targets. ``batches`` maps lists of sample numbers to inputs, in that order.

    Inputs and targets are nested tensors whose first dimension is the sample; targets are on the CPU. Images are
    (N, C, H, W): uint8 from 0 to 255, or floating-point as they are. A source may say how many bytes one sample's
    input takes in float32 (``sample_bytes``); an evaluation then takes fewer large samples at once.
    """

    targets: Nested

    def __len__(self) -> int: ...

    def batches(self, ids: Iterable[Tensor], device: torch.device) -> Iterator[Nested]: ...


class InMemory:
    """Samples in memory: they are kept on the device, and a batch is one index operation.

    ``read_from`` is the source of samples of which another machine would keep none in memory; by it they are known.
    """

    def __init__(self, samples: Nested, targets: Nested, *, read_from: "Streamed | None" = None):
        self.read_from = read_from
        self.count = nested.count(samples)
        if (labelled := nested.count(targets)) != self.count:
            raise UserError(f"{self.count} samples and {labelled} labels: there must be one label for each")
        nested.same_count(samples, self.count, "input")
        nested.same_count(targets, self.count, "target")
        if broken := nested.not_finite(samples):
            raise UserError(f"sample {broken[0]} holds NaN or infinity: clean the data first")
        self.samples = samples
        self.targets = as_targets(targets)

    def __len__(self) -> int:
        return self.count

    @property
    def sample_bytes(self) -> int:
        return sum(4 * tensor[0].numel() for tensor in nested.tensors(self.samples)) if self.count else 0

    def batches(self, ids: Iterable[Tensor], device: torch.device) -> Iterator[Nested]:
        if nested.device(self.samples) != device:
            self.samples = nested.moved(self.samples, device)
        lists = list(ids)
        if lists:  # one transfer of all sample numbers synchronises once instead of once per batch
            for batch in torch.cat(lists).to(device).split([len(numbers) for numbers in lists]):
                yield nested.each(lambda samples, batch=batch: samples.index_select(0, batch), self.samples)  # type: ignore[misc]


class Streamed:
    """Samples of a PyTorch ``Dataset`` that does not fit in memory, read by worker processes.

    Only sample numbers are sent to the workers, so their number does not change the data. Workers are kept for the
    next reading and end with the source.
    """

    def __init__(self, dataset: MapDataset, targets: Nested, *, workers: int = 2):
        self.dataset = dataset
        self.targets = as_targets(targets)
        self.workers = workers

    def __len__(self) -> int:
        return len(self.dataset)

    @cached_property
    def sample_bytes(self) -> int:
        return sum(4 * tensor.numel() for tensor in nested.tensors(as_sample(divided(self.dataset[0])[0])))

    @property
    def crops(self) -> bool:
        """Whether random crops are cut out of the files themselves, by ``views``."""
        return isinstance(self.dataset, Cropping) and self.dataset.whole

    def batches(self, ids: Iterable[Tensor], device: torch.device) -> Iterator[Nested]:
        return self._read(ids, device, None)

    def views(self, ids: Iterable[Tensor], device: torch.device, boxes: Boxes) -> Iterator[Nested]:
        """The batches of images of which only a box is seen, each resized to a sample."""
        return self._read(ids, device, boxes)

    def _read(self, ids: Iterable[Tensor], device: torch.device, boxes: Boxes | None) -> Iterator[Nested]:
        pinned = device.type == "cuda"
        reader = _idle.pop(self, None)
        if reader is None or reader.pinned != pinned:  # there is none yet, or another iteration is using it
            reader = _Reader(self.dataset, workers_of(self.workers), pinned)
        try:
            for batch in reader.read(ids, boxes):
                if isinstance(batch, UserError):
                    raise batch
                yield nested.moved(batch, device, non_blocking=True)
            _idle[self] = reader
        finally:
            del reader  # ends its workers after an error or an early stop; no traceback may hold it


class _Reader:
    """Worker processes that are reused from one reading to the next."""

    def __init__(self, dataset: MapDataset, workers: int, pinned: bool):
        self.pinned = pinned
        self.listed = _Listed()
        self.loader: torch.utils.data.DataLoader[Nested | UserError] = torch.utils.data.DataLoader(
            _Lists(dataset),
            batch_size=None,  # an item of _Lists is a batch
            sampler=self.listed,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_undisturbed,
            pin_memory=pinned,
            generator=torch.Generator(),  # a separate one, so that the global generator is not advanced
        )

    def read(self, ids: Iterable[Tensor], boxes: Boxes | None) -> Iterator[Nested | UserError]:
        self.listed.ids, self.listed.boxes = ids, boxes
        return iter(self.loader)


# Not attributes of the sources, so that these can be copied and pickled.
_idle: "WeakKeyDictionary[Streamed, _Reader]" = WeakKeyDictionary()
_inherited: list[_Reader] = []


def _leave_to_the_parent() -> None:
    """After a fork, these workers are the parent's. References are kept, because dropping one ends its workers."""
    _inherited.extend(_idle.values())
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


def _undisturbed(worker: int) -> None:
    """Ignores Ctrl-C, which reaches all processes of a terminal; the parent handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


_Wanted = tuple[list[int], Boxes | None]


class _Listed(torch.utils.data.Sampler[_Wanted]):
    ids: Iterable[Tensor] = ()
    boxes: Boxes | None = None

    def __iter__(self) -> Iterator[_Wanted]:
        return ((batch.tolist(), self.boxes) for batch in self.ids)


class _Lists(torch.utils.data.Dataset[Nested | UserError]):
    """A dataset whose index is a list of sample numbers and boxes to cut, and whose item is their batch.

    A ``UserError`` is returned as a value: raised in a worker, it would arrive with a long traceback.
    """

    def __init__(self, dataset: MapDataset):
        self.dataset = dataset

    def __getitem__(self, wanted: _Wanted) -> Nested | UserError:
        ids, boxes = wanted
        try:
            if boxes is not None:
                assert isinstance(self.dataset, Cropping)
                return torch.stack(self.dataset.views(ids, boxes))
            return stacked(ids, [_sample_of(self.dataset[index]) for index in ids])
        except UserError as error:
            return error


def divided(item: object) -> tuple[object, object]:
    """Input and target of a dataset's item: a pair, or a mapping with an entry for the label or target."""
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    if isinstance(item, Mapping):
        for name in TARGETS:
            if name in item and len(item) > 1:
                return {key: value for key, value in item.items() if key != name}, item[name]
    raise TypeError


def _sample_of(item: object) -> Nested:
    try:
        return as_sample(divided(item)[0])
    except TypeError:
        return as_sample(item[0] if isinstance(item, (tuple, list)) else item)


def as_sample(value: object) -> Nested:
    """One sample's input: a tensor, an array or a picture, or a mapping or tuple of them."""
    if isinstance(value, Mapping):
        return {str(name): as_sample(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(as_sample(part) for part in value)
    sample = as_tensor(value)
    return sample.float() if sample.dtype == torch.float64 else sample


def stacked(ids: Iterable[int], samples: list[Nested]) -> Nested:
    """Samples of one structure and shape as a batch; the error names the first that differs."""
    first = dict(nested.named(samples[0]))
    numbers = list(ids)
    for index, sample in zip(numbers, samples, strict=True):
        for name, tensor in nested.named(sample):
            if name not in first or tensor.shape != first[name].shape:
                there = tuple(first[name].shape) if name in first else "no such entry"
                raise UserError(
                    f"sample {index}{f' {name!r}' if name else ''} has shape {tuple(tensor.shape)}, "
                    f"sample {numbers[0]} {there}; all must have one shape (resize or pad them in the dataset)"
                )
    return nested.stacked(samples)


def workers_of(asked: int) -> int:
    """The number of worker processes: no more than processors may be used."""
    return min(asked, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def as_targets(targets: Nested) -> Nested:
    """Converts targets to the types in which they are kept: integers to int64, others to float32."""

    def kept(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            return tensor.float() if tensor.dtype == torch.float64 else tensor
        return tensor.to(torch.int64) if tensor.dtype != torch.bool else tensor

    return nested.each(kept, targets)


def as_tensor(sample: object) -> Tensor:
    """One sample as a tensor; a picture becomes (C, H, W) of uint8, in the colours that it shows."""
    if isinstance(sample, Tensor):
        return sample
    import numpy as np

    if hasattr(sample, "getbands"):
        from PIL import Image

        from understudy.data.images import plain

        sample = plain(sample) if isinstance(sample, Image.Image) else sample

    array = np.array(sample)  # a copy: a picture's own pixels are read-only
    if array.ndim == 2 and array.dtype == np.uint8:
        array = array[..., None]
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.permute(2, 0, 1) if tensor.dtype == torch.uint8 and tensor.ndim == 3 else tensor
