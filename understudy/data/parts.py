"""A data set in three parts: what trains, what selects (validation), and a test part opened once, at the end."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from understudy import randomness
from understudy.data.sources import InMemory, Source
from understudy.data.views import PLAIN, Draw, Views, mixed, mixed_labels
from understudy.errors import UserError

_STREAMED_SAMPLE = 1024  # images that stand for all where reading all would take long


@dataclass(frozen=True)
class Batch:
    """Inputs and labels of one step; ``ids`` are the samples' numbers in the data set's own training file."""

    inputs: Tensor
    labels: Tensor  # class numbers, or distributions over the classes where samples were mixed
    ids: Tensor
    draw: Draw | None = None  # of which views these are; None: the samples as they are
    numbers: Tensor | None = None  # the ids on the CPU, for whoever would else wait for the device

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Part:
    """Some samples of a source, by their numbers."""

    source: Source
    ids: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> Tensor:
        return self.source.targets[self.ids]

    def in_order(self, batch: int, device: torch.device) -> Iterator[Batch]:
        """Every sample once, as it is, in the file's order."""
        return self._batches(list(self.ids.split(batch)), device)

    def epoch(
        self,
        epoch: int,
        *,
        seed: int,
        batch: int,
        views: Views,
        classes: int,
        device: torch.device,
        start: int = 0,
        draw: Draw | None = None,
    ) -> Iterator[Batch]:
        """One epoch in its own random order, in views of its own (or those of ``draw``), from step ``start`` on.

        An incomplete last batch is left out; other samples are at the end of the next epoch.
        """
        batch = min(batch, len(self))
        order = randomness.shuffled(seed, epoch, self.ids)[: len(self) // batch * batch]
        lists = list(order.split(batch))[start:]
        return self.viewed(lists, draw or Draw(seed, epoch), views, classes, device)

    def last_of_epoch(self, epoch: int, *, seed: int, batch: int) -> Tensor | None:
        """A whole batch from the end of an epoch's order, with all that the epoch leaves out; None: it leaves none."""
        return randomness.shuffled(seed, epoch, self.ids)[-batch:] if len(self) % min(batch, len(self)) else None

    def viewed(
        self, lists: list[Tensor], draw: Draw, views: Views, classes: int, device: torch.device
    ) -> Iterator[Batch]:
        """Batches of these samples, in these views."""
        if views == PLAIN:
            return self._batches(lists, device)
        return self._viewed(lists, draw, views, classes, device)

    def steps(self, batch: int) -> int:
        return len(self) // min(batch, len(self))

    def _batches(self, lists: list[Tensor], device: torch.device) -> Iterator[Batch]:
        here, labels = _sent(lists, device), _sent([self.source.targets[ids] for ids in lists], device)
        for own, ids, y, images in zip(lists, here, labels, self.source.batches(lists, device), strict=True):
            yield Batch(PLAIN.draw(images, 0, 0, ids), y, ids, numbers=own)

    def _viewed(
        self, lists: list[Tensor], draw: Draw, views: Views, classes: int, device: torch.device
    ) -> Iterator[Batch]:
        known, seed, number = self.source.targets, draw.seed, draw.number
        partners = [views.partners(seed, number, ids, self.ids) for ids in lists]
        wanted = [ids if other is None else torch.cat((ids, other)) for ids, other in zip(lists, partners, strict=True)]
        here, labels = _sent(wanted, device), _sent([known[ids] for ids in wanted], device)
        for own, ids, y, images in zip(lists, here, labels, self.source.batches(wanted, device), strict=True):
            count = len(own)
            x = views.draw(images, seed, number, ids)
            if views.mixup:
                share = views.share(seed, number, ids[:count])
                x = mixed(x[:count], x[count:], share)
                y = mixed_labels(y[:count], y[count:], share, classes)
            yield Batch(views.finish(x, seed, number, ids[:count]), y, ids[:count], draw, own)


def _sent(lists: list[Tensor], device: torch.device) -> Sequence[Tensor]:
    """All lists in one go: a device that is sent each by itself waits for each."""
    return torch.cat(lists).to(device).split([len(part) for part in lists]) if lists else []


@dataclass(frozen=True)
class Data:
    """A classification data set: training part, validation part (may be empty), and a test part not yet opened."""

    train: Part
    validation: Part | None
    open_test: Callable[[], Part] | None
    classes: tuple[str, ...]
    shape: tuple[int, ...]  # of one sample: channels, height, width
    name: str = "data"
    mean: tuple[float, ...] | None = None  # of each channel, between 0 and 1, over the training part
    std: tuple[float, ...] | None = None
    facts: dict[str, object] = field(default_factory=dict)  # whatever the run folder should record

    @cached_property
    def test(self) -> Part | None:
        """The test part; opening it is for the end of a run."""
        return self.open_test() if self.open_test else None

    @property
    def measured(self) -> tuple[str, Part]:
        """What the final figures are of, by its name: the test part, or the next best there is."""
        if self.test is not None:
            return "test", self.test
        return ("validation", self.validation) if self.validation is not None else ("train", self.train)

    def example(self, batch: int, device: torch.device) -> Tensor:
        """A few training samples as they are."""
        ids = self.train.ids[:batch]
        return next(self.train._batches([ids], device)).inputs


def split(source: Source, validation: int | float, *, seed: int, classes: int) -> tuple[Part, Part | None]:
    """A stratified validation part taken off the training samples: a number of samples, or a share below 1."""
    ids = torch.arange(len(source))
    count = _validation_count(validation, len(source))
    if count == 0:
        return Part(source, ids), None
    chosen = _stratified(source.targets, count, seed, classes)
    return Part(source, ids[~chosen]), Part(source, ids[chosen])


def _validation_count(validation: int | float, samples: int) -> int:
    if validation < 0 or (validation != int(validation) and validation >= 1):
        raise UserError(f"validation = {validation}: give a number of samples, or a share between 0 and 1")
    count = max(1, round(validation * samples)) if 0 < validation < 1 else int(validation)
    if count >= samples:
        raise UserError(f"validation = {validation}: of {samples} training samples, that leaves nothing to train on")
    return count


def _stratified(labels: Tensor, count: int, seed: int, classes: int) -> Tensor:
    """Which samples are taken: each class in proportion, largest remainders first, at random within a class."""
    sizes = torch.bincount(labels, minlength=classes)
    exact = sizes.double() * count / len(labels)
    quota = exact.floor().long()
    most_left = torch.argsort(exact - quota, descending=True, stable=True)
    quota[most_left[: count - int(quota.sum())]] += 1
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(classes):
        members = (labels == label).nonzero().flatten()
        chosen[randomness.shuffled(seed, 0, members, "validation")[: quota[label]]] = True
    return chosen


def channel_statistics(part: Part) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    """Mean and standard deviation of each channel between 0 and 1, where the samples are images of bytes.

    All of them count where they are in memory, else some that lie evenly over the part.
    """
    ids = part.ids if isinstance(part.source, InMemory) else part.ids[:: -(-len(part) // _STREAMED_SAMPLE)]
    lists = list(ids.split(5000 if isinstance(part.source, InMemory) else 32))
    counts = torch.zeros(0)
    for images in part.source.batches(lists, torch.device("cpu")):
        if images.dtype != torch.uint8 or images.ndim != 4:
            return None, None
        if not len(counts):
            counts = torch.zeros(images.shape[1], 256, dtype=torch.float64)
        for channel in range(images.shape[1]):
            counts[channel] += torch.bincount(images[:, channel].flatten().int(), minlength=256)
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum(1, keepdim=True)
    mean = (share * levels).sum(1)
    std = ((share * levels**2).sum(1) - mean**2).clamp_min(1e-12).sqrt()
    return tuple(round(m, 4) for m in mean.tolist()), tuple(round(s, 4) for s in std.tolist())


def fewer(data: Data, count: int) -> Data:
    """The same data with only ``count`` training samples, each class in proportion."""
    if not 0 < count <= len(data.train):
        raise UserError(f"{count} training samples are asked for; there are {len(data.train)}")
    labels = data.train.targets
    chosen = _stratified(labels, count, 0, len(data.classes))
    return replace(data, train=Part(data.train.source, data.train.ids[chosen]))
