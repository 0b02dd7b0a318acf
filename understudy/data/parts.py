"""A data set in three parts: training, validation (for selection), and a test part that is opened once, at the end."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import TypeGuard

import torch
from torch import Tensor

from understudy import nested, randomness
from understudy.bounds import MOST
from understudy.data.augmentation import PLAIN, Augmentation, CropBoxes, Draw
from understudy.data.lengths import Lengths, by_length, lengths_of
from understudy.data.rows import OnHost
from understudy.data.sources import InMemory, Source, Streamed
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.printable import shown
from understudy.randomness import Number
from understudy.tasks.task import Task
from understudy.tasks.words import MASK, Words

FEW = 5  # problems that are named one by one
_STREAMED_SAMPLE = 1024  # images that are read for statistics of a streamed part


@dataclass(frozen=True)
class Batch:
    """Inputs and targets of one step; ``ids`` are the samples' numbers in the data set's own training file.

    >>> batch = Batch(torch.rand(2, 1, 8, 8), torch.tensor([0, 3]), ids=torch.tensor([5, 9]))
    >>> batch.targets.tolist()
    [0, 3]
    """

    inputs: Nested  # nested tensors
    targets: Nested  # nested tensors, in the form of the data's task
    ids: Tensor
    draw: Draw | None = None  # identifies the views; None: samples without augmentation
    numbers: Tensor | None = None  # the ids on the CPU, so that reading them does not synchronise the device
    views: Tensor | None = None  # the number of each one's view, on the CPU, where a batch holds several of a sample

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Repeats:
    """An epoch whose batches hold several views of each sample: it sees one part of all samples.

    Args:
        part: of as many as there are views.
        numbers: of the views.

    >>> Repeats(part=1, numbers=(6, 7, 8)).count
    3
    """

    part: int
    numbers: tuple[int, ...]

    @property
    def count(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Part:
    """Some samples of a source, by their numbers.

    >>> data = understudy.data.from_tensors((torch.rand(20, 4), torch.arange(20) % 2), validation=4)
    >>> len(data.validation)
    4
    """

    source: Source
    ids: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def targets(self) -> Nested:
        return nested.chosen(self.source.targets, self.ids)

    def in_order(self, batch: int, device: torch.device, *, first: int = 0, every: int = 1) -> Iterator[Batch]:
        """Every sample once, without augmentation, in the order of the file; or only each ``every``-th batch."""
        return self._batches(list(self.ids.split(batch))[first::every], device)

    def epoch(
        self,
        epoch: int,
        *,
        seed: int,
        batch: int,
        augmentation: Augmentation,
        task: Task,
        device: torch.device,
        start: int = 0,
        draw: Draw | None = None,
        share: Callable[[Tensor], Tensor] = lambda ids: ids,
        group_by_length: int | None = None,
        repeats: Repeats | None = None,
    ) -> Iterator[Batch]:
        """One epoch in its random order, in its views (or those of ``draw``), from step ``start`` on.

        An incomplete last batch is left out; in the next epoch other samples are at the end. ``task`` moves the
        targets with the views, and ``share`` takes the part of a batch that this process trains on. With
        ``group_by_length`` texts of so many batches are sorted by their length. With ``repeats`` a batch holds several
        views of fewer samples.
        """
        batch = min(batch, len(self))
        order = randomness.shuffled(seed, epoch, self.ids)[: len(self) // batch * batch]
        if repeats is not None:
            size = batch // repeats.count
            if not size:
                raise UserError(f"repeats = {repeats.count}: there are {len(self)} training samples: take fewer views")
            whole = len(self) // batch * size
            lists = [ids.repeat(repeats.count) for ids in order[repeats.part * whole :][:whole].split(size)][start:]
            views = share(torch.tensor(repeats.numbers).repeat_interleave(size))
            draw = Draw(seed if draw is None else draw.seed, repeats.numbers[0])
            return self._viewed([share(ids) for ids in lists], draw, augmentation, task, device, views)
        if group_by_length is not None:
            order = by_length(order, self.lengths[MASK], batch=batch, group=group_by_length, seed=seed, epoch=epoch)
        lists = [share(ids) for ids in order.split(batch)[start:]]
        return self.viewed(lists, draw or Draw(seed, epoch), augmentation, task, device)

    @cached_property
    def lengths(self) -> Lengths:
        """The number of tokens of each sample of the source, of texts, by the name of the mask."""
        return lengths_of(self.source)

    def last_of_epoch(self, epoch: int, *, seed: int, batch: int) -> Tensor | None:
        """A whole batch from the end of an epoch's order, with all that the epoch leaves out; None: it leaves none."""
        return randomness.shuffled(seed, epoch, self.ids)[-batch:] if len(self) % min(batch, len(self)) else None

    def viewed(
        self, lists: list[Tensor], draw: Draw, augmentation: Augmentation, task: Task, device: torch.device
    ) -> Iterator[Batch]:
        """Batches of these samples, in these views."""
        plain = augmentation == PLAIN
        batches = self._batches(lists, device) if plain else self._viewed(lists, draw, augmentation, task, device)
        return _drawn(batches, draw, task) if task.draws else batches

    def steps(self, batch: int) -> int:
        return len(self) // min(batch, len(self))

    def _batches(self, lists: list[Tensor], device: torch.device) -> Iterator[Batch]:
        here, targets = _sent(lists, device), _targets_sent(self.source.targets, lists, device)
        for numbers, ids, y, inputs in zip(lists, here, targets, self.source.batches(lists, device), strict=True):
            yield Batch(_plain(inputs, ids), y, ids, numbers=numbers)

    def _viewed(
        self,
        lists: list[Tensor],
        draw: Draw,
        augmentation: Augmentation,
        task: Task,
        device: torch.device,
        views: Tensor | None = None,
    ) -> Iterator[Batch]:
        """Batches of these samples; ``views`` numbers the view of each one, where a batch holds several of a sample."""
        known, seed = self.source.targets, draw.seed
        follows = augmentation.moves and task.moves_targets
        if follows and augmentation.crop is not None and _crops_files(self.source):
            raise UserError(
                f"the targets of task {task.name!r} move with their images and cannot follow crops that are cut out of "
                "the files: leave out resize (and loader = 'torchvision'), or crop"
            )
        number: Number = draw.number if views is None else views
        partners = [augmentation.partners(seed, number, ids, self.ids) for ids in lists]
        wanted = [ids if other is None else torch.cat((ids, other)) for ids, other in zip(lists, partners, strict=True)]
        here, targets = _sent(wanted, device), _targets_sent(known, wanted, device)
        there: Number = draw.number if views is None else views.to(device)
        if views is not None and augmentation.mixes:  # a partner is seen in the view of its sample
            number, there = views.repeat(2), views.to(device).repeat(2)
        inputs, augmentation = self._cropped(wanted, draw.seed, number, augmentation, device)
        for place, (numbers, all_numbers, ids, y, images) in enumerate(
            zip(lists, wanted, here, targets, inputs, strict=True)
        ):
            count = len(numbers)
            look = not place or device.type == "cpu"  # at every batch where nothing waits for it
            if not isinstance(images, Tensor):
                if of_tensors := augmentation.of_tensors:
                    raise UserError(
                        f"augmentation: the inputs of these data are {_names(images)}, to which what is of images does "
                        f"not apply: leave out {', '.join(of_tensors)}"
                    )
                changed: tuple[Nested, Nested] = images, y
                if augmentation.turn is not None:
                    changed = task.turned(*changed, augmentation.turn.drawn(seed, number, numbers, device))
                if augmentation.tokens is not None:
                    changed = augmentation.tokens.draw(*changed, seed, there, ids, task=task, check=look)
                yield Batch(*changed, ids, draw, numbers, views)
                continue
            x = augmentation.draw(images, seed, there, ids, host=OnHost(number, all_numbers), check=look)
            if follows:
                height, width = images.shape[2:]
                y = task.moved(y, augmentation.moved((height, width), seed, there, ids))
            own = there if isinstance(there, int) else there[:count]
            if augmentation.mixes:
                x, share = augmentation.mix(x[:count], x[count:], seed, own, ids[:count])
                y = task.mixed(nested.chosen(y, slice(count)), nested.chosen(y, slice(count, None)), share)
            yield Batch(augmentation.finish(x, seed, own, ids[:count]), y, ids[:count], draw, numbers, views)

    def _once(self, lists: list[Tensor], device: torch.device) -> Iterator[Nested]:
        """The inputs of samples of which some stand in a list several times; each is read once."""
        distinct = [ids.unique(return_inverse=True) for ids in lists]
        places = _sent([place for _, place in distinct], device)
        for inputs, place in zip(self.source.batches([ids for ids, _ in distinct], device), places, strict=True):
            yield nested.chosen(inputs, place)

    def _cropped(
        self, lists: list[Tensor], seed: int, number: Number, augmentation: Augmentation, device: torch.device
    ) -> tuple[Iterator[Nested], Augmentation]:
        """The inputs, and what is left of the augmentation: a source may cut random crops out of the files."""
        source, crop = self.source, augmentation.crop
        if crop is None or not _crops_files(source):
            several = not isinstance(number, int)
            return self._once(lists, device) if several else source.batches(lists, device), augmentation
        return source.views(lists, device, CropBoxes(crop, seed, number)), replace(augmentation, crop=None)


def _crops_files(source: Source) -> TypeGuard[Streamed]:
    return isinstance(source, Streamed) and source.crops


def _drawn(batches: Iterator[Batch], draw: Draw, task: Task) -> Iterator[Batch]:
    """Each batch with what its task draws for it."""
    for batch in batches:
        inputs, targets = task.drawn(batch.inputs, batch.targets, draw.seed, draw.number, batch.ids)
        yield replace(batch, inputs=inputs, targets=targets, draw=draw)


def _plain(inputs: Nested, ids: Tensor) -> Nested:
    """Inputs as they are: images of bytes between 0 and 1."""
    return nested.each(lambda tensor: PLAIN.draw(tensor, 0, 0, ids), inputs)


def _names(inputs: Nested) -> str:
    return ", ".join(name for name, _ in nested.named(inputs))


def _sent(lists: list[Tensor], device: torch.device) -> Sequence[Tensor]:
    """All lists in one transfer, which synchronises once instead of once per list."""
    return torch.cat(lists).to(device).split([len(part) for part in lists]) if lists else []


def _targets_sent(targets: Nested, lists: list[Tensor], device: torch.device) -> Sequence[Nested]:
    """The targets of each list, sent to the device in one go."""
    if isinstance(targets, Tensor):
        return _sent([targets[ids] for ids in lists], device)
    if not lists:
        return []
    whole = nested.moved(nested.chosen(targets, torch.cat(lists)), device)
    ends = list(accumulate(len(ids) for ids in lists))
    return [nested.chosen(whole, slice(end - len(ids), end)) for ids, end in zip(lists, ends, strict=True)]


@dataclass(frozen=True)
class Data:
    """A data set with its task: training part, validation part (may be empty), and a test part not yet opened.

    >>> data = understudy.data.from_tensors((torch.rand(20, 4), torch.arange(20) % 2), validation=4)
    >>> len(data.train), data.shape
    (16, (4,))
    """

    train: Part
    validation: Part | None
    open_test: Callable[[], Part] | None
    task: Task
    shape: tuple[int, ...]  # of one sample: of images channels, height, width; of texts tokens and positions
    name: str = "data"
    mean: tuple[float, ...] | None = None  # of each channel, between 0 and 1, over the training part
    std: tuple[float, ...] | None = None
    image: dict[str, object] = field(default_factory=dict)  # how a file becomes a sample, if not by the task's rule
    facts: dict[str, object] = field(default_factory=dict)  # recorded in the run folder
    unlabelled: int = 0  # how many of the training samples have no label
    look: Callable[[], Iterator[str]] | None = None  # what is wrong with the files, those of the test part, too
    token_tables: Mapping[str, Words] = field(default_factory=dict)  # further ones by which the texts are inputs, too

    def problems(self) -> list[str]:
        """What is wrong with the files of the data, as far as a look at their beginnings shows it."""
        found = list(self.look()) if self.look else []
        return found if len(found) <= FEW else [*found[:FEW], f"and {len(found) - FEW:,} more such files"]

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of a network's outputs for these data."""
        return self.task.names

    @cached_property
    def test(self) -> Part | None:
        """The test part; opening it is for the end of a run."""
        return self.open_test() if self.open_test else None

    @property
    def measured(self) -> tuple[str, Part]:
        """The part that the final figures are measured on, with its name: test, else validation, else train."""
        if self.test is not None:
            return "test", self.test
        return ("validation", self.validation) if self.validation is not None else ("train", self.train)

    def example(self, batch: int, device: torch.device) -> Nested:
        """The inputs of a few training samples, without augmentation."""
        ids = self.train.ids[:batch]
        return next(self.train._batches([ids], device)).inputs


def split(
    source: Source, validation: int | float, *, seed: int, strata: Tensor | None = None
) -> tuple[Part, Part | None]:
    """A validation part taken off the training samples: a number of samples, or a share below 1.

    ``strata`` are numbers from 0, one for each sample; each number's share is the same in both parts.
    """
    if not 0 <= seed < 2**63:
        raise UserError(f"seed = {shown(seed)}: give a whole number from 0 to 2^63")
    ids = torch.arange(len(source))
    count = _validation_count(validation, len(source))
    if count == 0:
        return Part(source, ids), None
    chosen = _stratified(torch.zeros_like(ids) if strata is None else strata, count, seed)
    return Part(source, ids[~chosen]), Part(source, ids[chosen])


def _validation_count(validation: int | float, samples: int) -> int:
    if not 0 <= validation <= MOST or (validation >= 1 and validation != int(validation)):
        raise UserError(f"validation = {shown(validation)}: give a number of samples, or a share between 0 and 1")
    count = max(1, round(validation * samples)) if 0 < validation < 1 else int(validation)
    if count >= samples:
        raise UserError(f"validation = {validation}: of {samples} training samples, that leaves nothing to train on")
    return count


def _stratified(strata: Tensor, count: int, seed: int) -> Tensor:
    """Which samples are taken: each stratum in proportion, largest remainders first, at random within a stratum."""
    sizes = torch.bincount(strata)
    exact = sizes.double() * count / len(strata)
    quota = exact.floor().long()
    most_left = torch.argsort(exact - quota, descending=True, stable=True)
    quota[most_left[: count - int(quota.sum())]] += 1
    drawn = randomness.shuffled(seed, 0, torch.arange(len(strata)), "validation")
    by_stratum = drawn[torch.argsort(strata[drawn], stable=True)]
    place = torch.arange(len(strata)) - torch.repeat_interleave(sizes.cumsum(0) - sizes, sizes)  # within its stratum
    chosen = torch.zeros(len(strata), dtype=torch.bool)
    chosen[by_stratum[place < torch.repeat_interleave(quota, sizes)]] = True
    return chosen


def channel_statistics(part: Part, modest: float) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    """Mean and standard deviation of each channel between 0 and 1, where the samples are images of bytes.

    All samples count if any machine would keep them in memory (files up to ``modest`` bytes), else a sample that is
    spread evenly over the part: which ones count does not depend on the memory of this machine.
    """
    ids = part.ids if _counts_whole(part.source, modest) else part.ids[:: -(-len(part) // _STREAMED_SAMPLE)]
    lists = list(ids.split(5000 if isinstance(part.source, InMemory) else 32))
    counts = torch.zeros(0)
    for images in part.source.batches(lists, torch.device("cpu")):
        if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4:
            return None, None
        if not len(counts):
            counts = torch.zeros(images.shape[1], 256, dtype=torch.float64)
        for channel in range(images.shape[1]):
            counts[channel] += torch.bincount(images[:, channel].flatten(), minlength=256)
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum(1, keepdim=True)
    mean = (share * levels).sum(1)
    std = ((share * levels**2).sum(1) - mean**2).clamp_min(1e-12).sqrt()
    return tuple(round(m, 4) for m in mean.tolist()), tuple(round(s, 4) for s in std.tolist())


def _counts_whole(source: Source, modest: float) -> bool:
    if isinstance(source, Streamed):
        size = len(source) * source.sample_bytes / 4  # of images in bytes; sample_bytes are those of float32
        return not source.crops and size <= modest
    return isinstance(source, InMemory) and source.read_from is None


def fewer(data: Data, count: int) -> Data:
    """The same data with only ``count`` training samples, each stratum (class) in proportion."""
    if not 0 < count <= len(data.train):
        raise UserError(f"{count} training samples are asked for; there are {len(data.train)}")
    strata = data.task.strata(data.train.targets)
    chosen = _stratified(torch.zeros_like(data.train.ids) if strata is None else strata, count, 0)
    return replace(data, train=Part(data.train.source, data.train.ids[chosen]))
