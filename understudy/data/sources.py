"""Where samples come from: tensors in memory, or anything that is read piece by piece."""

import os
import signal
from collections.abc import Iterable, Iterator
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from understudy.errors import UserError


class Source(Protocol):
    """Numbered samples with labels. ``batches`` answers lists of sample numbers with tensors, in that order.

    Images are (N, C, H, W): uint8 from 0 to 255, or floating-point as they are.
    """

    labels: Tensor  # int64, on the CPU

    def __len__(self) -> int: ...

    def batches(self, ids: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]: ...


class InMemory:
    """Samples that fit in memory: they live on the device, and a batch is one indexing."""

    def __init__(self, samples: Tensor, labels: Tensor):
        if len(samples) != len(labels):
            raise UserError(f"{len(samples)} samples and {len(labels)} labels: there must be one label for each")
        if samples.is_floating_point() and not torch.isfinite(samples).all():
            bad = int((~torch.isfinite(samples.reshape(len(samples), -1)).all(1)).nonzero()[0])
            raise UserError(f"sample {bad} holds NaN or infinity: clean the data first")
        self.samples = samples
        self.labels = labels.to(torch.int64)

    def __len__(self) -> int:
        return len(self.samples)

    def batches(self, ids: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        if self.samples.device != device:
            self.samples = self.samples.to(device)
        lists = list(ids)
        if lists:  # all sample numbers go over at once: a device that is asked for each batch waits for each
            for batch in torch.cat(lists).to(device).split([len(numbers) for numbers in lists]):
                yield self.samples.index_select(0, batch)


class Streamed:
    """Samples of a PyTorch ``Dataset`` read by worker processes, for what does not fit in memory.

    Only sample numbers travel to the workers, so their number does not change the data. They stay for the next reading,
    and leave with the source.
    """

    def __init__(self, dataset: Any, labels: Tensor, *, workers: int = 2):
        self.dataset = dataset
        self.labels = labels.to(torch.int64)
        self.workers = workers

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(self, ids: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        pinned = device.type == "cuda"
        reader = _idle.pop(self, None)
        if reader is None or reader.pinned != pinned:  # there is none yet, or somebody else reads with it just now
            reader = _Reader(self.dataset, min(self.workers, _cores()), pinned)
        try:
            for batch in reader.read(ids):
                if isinstance(batch, UserError):
                    raise batch
                yield batch.to(device, non_blocking=True)
            _idle[self] = reader
        finally:
            del reader  # with its workers, after an error or where nobody asks for the rest; no traceback may hold it


class _Reader:
    """Worker processes with what they are to read: they outlive one reading, and wait for the next."""

    def __init__(self, dataset: Any, workers: int, pinned: bool):
        self.pinned = pinned
        self.listed = _Listed()
        self.loader: torch.utils.data.DataLoader[Tensor | UserError] = torch.utils.data.DataLoader(
            _Lists(dataset),
            batch_size=None,  # one item of _Lists is a whole batch
            sampler=self.listed,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_undisturbed,
            pin_memory=pinned,
            generator=torch.Generator(),  # of its own, so that reading leaves the global one as it is
        )

    def read(self, ids: Iterable[Tensor]) -> Iterator[Tensor | UserError]:
        self.listed.ids = ids
        return iter(self.loader)


# Beside the sources, so that these can be copied and pickled as ever.
_idle: "WeakKeyDictionary[Streamed, _Reader]" = WeakKeyDictionary()
_inherited: list[_Reader] = []


def _leave_to_the_parent() -> None:
    """In a forked process: these workers are the parent's. Held for good, since one that is dropped ends them."""
    _inherited.extend(_idle.values())
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


def _undisturbed(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal; what is to be done about it is the parent's to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class _Listed(torch.utils.data.Sampler[list[int]]):
    ids: Iterable[Tensor] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self.ids)


class _Lists(torch.utils.data.Dataset[Any]):
    """A dataset whose index is a list of sample numbers, and whose item is their batch.

    A user's mistake comes back as a value: raised in a worker, its one line would arrive in a long traceback.
    """

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __getitem__(self, ids: list[int]) -> Any:
        try:
            return _stacked(ids, [_sample_of(self.dataset[index]) for index in ids])
        except UserError as error:
            return error


def _sample_of(item: Any) -> Tensor:
    sample = as_tensor(item[0] if isinstance(item, (tuple, list)) else item)
    return sample.float() if sample.dtype == torch.float64 else sample


def _stacked(ids: list[int], samples: list[Tensor]) -> Tensor:
    for index, sample in zip(ids, samples, strict=True):
        if sample.shape != samples[0].shape:
            raise UserError(
                f"sample {index} has shape {tuple(sample.shape)}, sample {ids[0]} {tuple(samples[0].shape)}; "
                "all must have one shape (resize them in the dataset)"
            )
    return torch.stack(samples)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def as_tensor(sample: Any) -> Tensor:
    """One sample as a tensor; a picture becomes (C, H, W) of uint8."""
    if isinstance(sample, Tensor):
        return sample
    import numpy as np

    array = np.array(sample)  # a copy: a picture's own pixels are read-only
    if array.ndim == 2 and array.dtype == np.uint8:
        array = array[..., None]
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.permute(2, 0, 1) if tensor.dtype == torch.uint8 and tensor.ndim == 3 else tensor
