"""Training samples without labels beside those with labels, from which a student with a teacher learns, too."""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from glob import has_magic
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from understudy import nested
from understudy.data.clouds import SUFFIXES as CLOUDS
from understudy.data.clouds import clouds, read_cloud, within
from understudy.data.dataset import Access
from understudy.data.images import COLOURS, LETTERBOX, RULE, SUFFIXES, below, named
from understudy.data.kept import picture_source
from understudy.data.own import source_of_inputs
from understudy.data.parts import Data, Part
from understudy.data.pictures import Form, PictureSettings
from understudy.data.sets.folder import Images
from understudy.data.sets.numpy_files import samples_of
from understudy.data.sources import Boxes, InMemory, MapDataset, Source, Streamed
from understudy.errors import UserError
from understudy.nested import Nested
from understudy.tasks import Detection3D, Tags
from understudy.tasks.words import Words, by_tables

ARRAYS = ".npy"


def with_unlabelled(data: Data, inputs: object) -> Data:
    """The data, with further training samples that have no labels.

    >>> data = understudy.data.from_tensors((torch.rand(20, 4), torch.arange(20) % 2), validation=4)
    >>> more = with_unlabelled(data, torch.rand(50, 4))
    >>> len(more.train), more.unlabelled, more.train.targets[14:18].tolist()
    (66, 50, [0, 1, -1, -1])

    Args:
        inputs: as ``source_of`` takes them.
    """
    source, more = data.train.source, source_of(inputs, data, Access())
    _check(source, more)
    count = len(more)
    blank = more.targets if _is_blank(more, data) else data.task.without_labels(source.targets, count)
    whole = _joined(source, more, nested.concatenated([source.targets, blank]))
    ids = torch.cat((data.train.ids, len(source) + torch.arange(count)))
    return replace(data, train=Part(whole, ids), unlabelled=count)


def rest_unlabelled(data: Data, labelled: Data) -> Data:
    """The data, of whose training samples those alone have labels that the other, smaller data have.

    >>> from understudy.data.parts import fewer
    >>> data = understudy.data.from_tensors((torch.rand(20, 4), torch.arange(20) % 2), validation=4)
    >>> less = rest_unlabelled(data, fewer(data, 6))
    >>> len(less.train), less.unlabelled, int((less.train.targets == -1).sum())
    (16, 10, 10)
    """
    others = data.train.ids[~torch.isin(data.train.ids, labelled.train.ids)]
    if not len(others):
        raise UserError(
            f"unlabelled = true means the training samples that student_samples leaves out, and of {len(data.train):,} "
            "it leaves out none: lower it, or leave unlabelled out"
        )
    source = copy.copy(data.train.source)
    blank = data.task.without_labels(source.targets, len(others))

    def written(values: list[Tensor]) -> Tensor:
        targets = values[0].clone()
        targets[others] = values[1].to(targets.dtype)
        return targets

    source.targets = nested.together(written, [source.targets, blank])
    return replace(data, train=Part(source, data.train.ids), unlabelled=len(others))


def repeated(data: Data, part: Part) -> int:
    """How many samples of a part are among the training samples, too: by their inputs in memory, or by their files.

    >>> data = understudy.data.from_tensors((torch.rand(20, 4), torch.arange(20) % 2), validation=4)
    >>> repeated(with_unlabelled(data, torch.rand(50, 4)), data.validation)
    0
    >>> repeated(with_unlabelled(data, data.train.source.samples), data.validation)
    4
    """
    return len(set(_identities(data.train)) & set(_identities(part)))


def _identities(part: Part) -> Iterator[bytes | Path]:
    """A hash of each sample's inputs, or its file; of those of other data nothing."""
    source = part.source
    if isinstance(source, InMemory):
        samples = [values[part.ids.to(values.device)].cpu() for values in nested.tensors(source.samples)]
        flat = [values.reshape(len(part), -1).contiguous().view(torch.uint8).numpy() for values in samples]
        for row in np.concatenate(flat, 1):
            yield hashlib.blake2b(row.tobytes(), digest_size=16).digest()
    elif isinstance(source, Streamed):
        read = source.dataset.parts if isinstance(source.dataset, Both) else (source.dataset,)
        files = [file for each in read for file in getattr(each, "files", ())]
        if len(files) == len(source):
            yield from (files[number].resolve() for number in part.ids.tolist())


def source_of(inputs: object, data: Data, access: Access) -> Source:
    """Samples without labels, as inputs of the task of these data.

    Args:
        inputs: a tensor, an array or a mapping of them, or a dataset whose items are inputs; texts as a list; or a
            path, whose files are read as ``understudy predict`` reads them: a folder or a pattern of images (or clouds
            of points), a file with a text in each line, or an ``.npy`` file of inputs. A ``Source`` is taken as it is.
    """
    if isinstance(inputs, (InMemory, Streamed)):
        return inputs
    if isinstance(inputs, (str, Path)):
        return _of_files(str(inputs), data, access)
    if data.task.takes_words and isinstance(inputs, (list, tuple)) and all(isinstance(text, str) for text in inputs):
        return _encoded(inputs, data)
    return source_of_inputs(inputs, "unlabelled", access.workers, access.memory)


def _of_files(path: str, data: Data, access: Access) -> Source:
    task = data.task
    if task.takes_words:
        return _texts(Path(path).expanduser(), data)
    if isinstance(task, Detection3D):
        return _clouds(_listed(path, CLOUDS, "clouds of points"), data, task)
    if path.endswith(ARRAYS):
        return _arrays(Path(path).expanduser())
    if len(data.shape) != 3 or data.shape[0] not in COLOURS:
        raise UserError(
            f"unlabelled = {path!r}: the inputs of {data.name} are no images and no texts: give an .npy file"
        )
    files = _listed(path, SUFFIXES, "images")
    images = Images(files, [0] * len(files), _form(data))
    source, given = picture_source(images, PictureSettings(), access, trained=True), data.train.source
    if isinstance(source, InMemory) and isinstance(given, InMemory):
        pixels, theirs = source.samples, given.samples
        if isinstance(pixels, Tensor) and isinstance(theirs, Tensor) and theirs.is_floating_point():
            return InMemory(pixels.to(theirs.dtype) / 255, source.targets)
    return source


def _form(data: Data) -> Form:
    """How image files become samples of these data."""
    image = {"image": LETTERBOX if data.task.letterboxed else RULE, **data.image}
    channels, height, width = data.shape
    resize, decoder = image.get("resize"), image.get("decoder", "pillow")
    assert resize is None or isinstance(resize, int)
    return Form((channels, height, width), str(image["image"]), resize, decoder)  # type: ignore[arg-type]


def _listed(path: str, suffixes: Sequence[str], what: str) -> list[Path]:
    """The files in and below a folder, or of a pattern, in the order of their names."""
    place = Path(path).expanduser()
    files = below(place, suffixes) if place.is_dir() else named(str(place), suffixes)
    if not files:
        if not place.exists() and not has_magic(path):
            raise UserError(f"unlabelled = {path!r}: there is no such folder and no such file")
        there = "holds" if place.is_dir() else "names"
        raise UserError(f"unlabelled = {path!r} {there} no {what} (files that end in {', '.join(suffixes)})")
    return files


def _texts(path: Path, data: Data) -> InMemory:
    """The lines of a file as inputs; lines without a word are left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # a text may hold a line separator of Unicode
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise UserError(f"unlabelled = {str(path)!r}: {reason}: give a file with a text in each line") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise UserError(f"unlabelled = {str(path)!r} holds no text")
    try:
        return _encoded(texts, data)
    except UserError as error:
        raise UserError(f"unlabelled = {str(path)!r}: {error}") from None


def _encoded(texts: Sequence[str], data: Data) -> InMemory:
    task = data.task
    if isinstance(task, Words):
        task.check_vocabulary()
    if isinstance(task, Tags):
        inputs, numbers = task.unlabelled(texts)
        return InMemory(inputs, numbers)
    return InMemory(by_tables(cast(Words, task), data.token_tables, texts), torch.zeros(len(texts)))


def _clouds(files: Sequence[Path], data: Data, task: Detection3D) -> InMemory:
    points = data.example(1, torch.device("cpu"))
    assert isinstance(points, dict)
    most, numbers = points["points"].shape[1:]
    read_ones = [within(read_cloud(file, numbers), task.side) for file in files]
    return InMemory(dict(clouds(read_ones, points=most)), torch.zeros(len(files)))


def _arrays(path: Path) -> InMemory:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"unlabelled = {str(path)!r} cannot be read: {error}") from error
    samples = samples_of(array)
    return InMemory(samples, torch.zeros(len(samples)))


def _is_blank(source: Source, data: Data) -> bool:
    """Whether the targets of a source say already that it has no labels, as those of tags, which know the words."""
    return isinstance(data.task, Tags) and isinstance(source.targets, Tensor) and source.targets.ndim == 2


def _check(source: Source, more: Source) -> None:
    """A ``UserError`` if samples of the two cannot stand in one batch."""
    first = torch.zeros(1, dtype=torch.int64)
    if not len(more):
        raise UserError("unlabelled: there are no samples")
    ours, theirs = (dict(nested.named(next(iter(one.batches([first], torch.device("cpu")))))) for one in (source, more))
    for name in sorted({*ours, *theirs}):
        one, other = ours.get(name), theirs.get(name)
        if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
            said = ["none" if each is None else f"{tuple(each.shape[1:])} of {each.dtype}" for each in (other, one)]
            what = f"the input {name!r}" if name else "an input"
            text = f"unlabelled: {what} is {said[0]}, and of the samples with labels {said[1]}: give both in one form"
            raise UserError(text.replace("torch.", ""))


def _joined(source: Source, more: Source, targets: Nested) -> Source:
    """Both as one source, in this order."""
    if isinstance(source, InMemory) and isinstance(more, InMemory):
        return InMemory(nested.concatenated([source.samples, more.samples]), targets)
    parts = [_items(each) for each in (source, more)]
    return Streamed(Both(*parts), targets, workers=max(getattr(each, "workers", 0) for each in (source, more)))


def _items(source: Source) -> MapDataset:
    if isinstance(source, Streamed):
        return source.dataset
    if isinstance(source, InMemory):
        return Items(source)
    raise UserError("samples without labels stand beside data of files or tensors, and not beside those of this kind")


class Items:
    """The samples of a source in memory as a map-style dataset."""

    def __init__(self, source: InMemory):
        self.samples = nested.moved(source.samples, torch.device("cpu"))
        self.count = len(source)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Nested, int]:
        return nested.chosen(self.samples, torch.tensor(index)), 0


class Both:
    """Two map-style datasets, one after the other; crops are cut out of the files of both, or of none."""

    def __init__(self, first: MapDataset, second: MapDataset):
        self.parts = first, second
        crops = [bool(getattr(part, "whole", False)) for part in self.parts]
        if len(set(crops)) > 1:
            raise UserError(
                "unlabelled: crops are cut out of the files of the samples with labels (resize), which takes images: "
                "give a folder of them"
            )
        self.whole = crops[0]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, index: int) -> object:
        first, second = self.parts
        return first[index] if index < len(first) else second[index - len(first)]

    def views(self, ids: list[int], boxes: Boxes) -> list[Tensor]:
        """A box of each image, resized to a sample; where it lies follows from the sample's number here."""
        start, found = len(self.parts[0]), dict[int, Tensor]()
        for number, part in enumerate(self.parts):
            rows = [row for row, index in enumerate(ids) if (index >= start) == bool(number)]
            own = [ids[row] - start * number for row in rows]
            drawn = Shifted(boxes, torch.tensor(rows, dtype=torch.int64), start * number)
            views = part.views(own, drawn) if rows else []  # type: ignore[attr-defined]  # whole: they have it
            found.update(zip(rows, views, strict=True))
        return [found[row] for row in range(len(ids))]


class Shifted:
    """The boxes of some rows of a batch, whose samples have other numbers in the whole."""

    def __init__(self, boxes: Boxes, rows: Tensor, start: int):
        self.boxes, self.rows, self.start = boxes, rows, start

    def __call__(self, size: tuple[Tensor, Tensor], *, ids: Tensor) -> Sequence[Tensor]:
        return self.boxes.of(self.rows)(size, ids=ids + self.start)

    def of(self, rows: slice | Tensor) -> "Shifted":
        return Shifted(self.boxes, self.rows[rows], self.start)
