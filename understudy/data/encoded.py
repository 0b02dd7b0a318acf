"""Images that lie encoded inside other files: rows of a table, members of an archive; decoded as those of a folder."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias, TypeGuard

import torch
from torch import Tensor

from understudy.data.dataset import Access, Contents, problems_of, task_of, warn_of_unread
from understudy.data.images import Embedded, common_size, dimensions
from understudy.data.kept import picture_source
from understudy.data.pictures import Form, ImageSettings, Pictures
from understudy.data.sources import Source
from understudy.errors import UserError, did_you_mean
from understudy.printable import shown
from understudy.tasks.unlabelled import Unlabelled

PARTS = "train", "val", "test"  # beginnings of the names of files
PART_FOLDERS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
_LOOKED_AT = 256  # images whose sizes decide the size of all
NO_LABEL = -1  # as the test parts of many benchmarks have it, whose labels are not published
UNNAMED = 1_000_000  # classes that may be numbered without names
# As a label is written: the number of a class, its name, or a number for each output, as probabilities of the classes.
Label: TypeAlias = int | str | Sequence[float]


class EncodedImages(Pictures):
    """A map-style dataset of images inside other files."""

    def __init__(self, words: Sequence[Label] | None, count: int):
        self.words = words  # the labels as they are written; None without
        self.count = count
        self.labels = [0] * count

    @abstractmethod
    def encoded(self, index: int) -> bytes:
        """The bytes of an image."""

    @abstractmethod
    def place(self, index: int) -> str:
        """Where an image lies, for messages."""

    def __len__(self) -> int:
        return self.count

    def file(self, index: int) -> Embedded:
        return Embedded(self.place(index), self.encoded(index))


def parts_of(root: Path, suffix: str, called: str) -> dict[str, list[Path]]:
    """The files of the parts train, val and test, by their own names, else by those of the folders that hold them.

    A single file, or files of which none has a part in its name, are the training part.
    """
    if root.is_file():
        return {"train": [root]}
    paths, parts, unread = sorted(root.rglob(f"*{suffix}")), dict[str, list[Path]](), list[str]()
    for path in paths:
        folders = (root.name, *path.relative_to(root).parent.parts)
        inner = (PART_FOLDERS[name] for name in reversed(folders) if name in PART_FOLDERS)
        part = next((part for part in PARTS if path.name.startswith(part)), next(inner, None))
        if part is not None:
            parts.setdefault(part, []).append(path)
        else:
            unread.append(str(path.relative_to(root)))
    if paths and not parts:
        return {"train": paths}
    if "train" not in parts:
        raise UserError(f"{root} holds no {called} of a training part (train*{suffix}, or train/*{suffix})")
    warn_of_unread(root, unread, "train, val and test")
    return parts


def check_order(names: Sequence[str], classes: Sequence[str] | None, label: str) -> None:
    """A ``UserError`` for ``classes`` in another order than the names that belong to a column's numbers."""
    if classes and list(classes) != list(names) and sorted(classes) == sorted(names):
        order = ", ".join((*names[:5], "...")[: len(names)])
        raise UserError(
            f"classes gives another order than the numbers in the column {label!r} have ({order}): leave classes out"
        )


def contents(
    train: EncodedImages,
    open_test: Callable[[], EncodedImages] | None,
    settings: ImageSettings,
    access: Access,
    *,
    validation: EncodedImages | None = None,
    names: Sequence[str] | None = None,
    facts: dict[str, object] | None = None,
) -> Contents:
    """A data set of such images; ``names`` are those of the classes that the file itself gives."""
    if not len(train):
        raise UserError("there are no samples")
    places = torch.linspace(0, len(train) - 1, min(_LOOKED_AT, len(train)), dtype=torch.float64).round().long()
    size = settings.size or common_size([dimensions(train.file(index)) for index in places.tolist()])
    form = Form.of(settings, size)
    labelled = access.labels and train.words is not None
    if labelled and any(_several(word) for word in train.words or ()):
        return _of_rows(train, open_test, settings, access, form, validation, names, facts or {})
    words = _words(train) if labelled else []
    by_name = any(isinstance(word, str) for word in words)  # then a number is a name, too
    numbers = [index for index, word in enumerate(words) if not isinstance(word, str)]
    if by_name and numbers and settings.classes is None:
        raise UserError(
            f"{train.place(numbers[0])} has the label {words[numbers[0]]}, and others are words: give all of them as "
            "names, as in classes = ['1', '2', 'x']"
        )
    classes = settings.classes or (_classes(words, names) if labelled else ())

    def source(images: EncodedImages, *, trained: bool) -> Source:
        images.form = form
        images.labels = _numbers(images, classes, by_name=by_name) if labelled else [0] * len(images)
        return picture_source(images, settings, access, trained=trained)

    return Contents(
        source(train, trained=True),
        (lambda: source(open_test(), trained=False)) if open_test is not None else None,
        classes=classes,
        task=None if labelled else Unlabelled(classes),
        image=form.described,
        validation=source(validation, trained=False) if validation is not None else None,
        facts={**(facts or {}), "size": size},
        problems=problems_of(lambda: _numbers(open_test(), classes, by_name=by_name))
        if labelled and open_test
        else None,
    )


def _of_rows(
    train: EncodedImages,
    open_test: Callable[[], EncodedImages] | None,
    settings: ImageSettings,
    access: Access,
    form: Form,
    validation: EncodedImages | None,
    names: Sequence[str] | None,
    facts: dict[str, object],
) -> Contents:
    """A data set whose labels are rows of numbers: distributions over the classes, or any others."""
    width = next(len(word) for word in train.words or () if _several(word))

    def source(images: EncodedImages, *, trained: bool) -> Source:
        images.form = form
        return picture_source(images, settings, access, trained=trained, targets=_rows(images, width))

    samples = source(train, trained=True)
    assert isinstance(samples.targets, Tensor)
    return Contents(
        samples,
        (lambda: source(open_test(), trained=False)) if open_test is not None else None,
        task=task_of(samples.targets, settings.classes or (names if names and len(names) == width else None)),
        image=form.described,
        validation=source(validation, trained=False) if validation is not None else None,
        facts={**facts, "size": form.shape[1]},
        problems=problems_of(lambda: _rows(open_test(), width)) if open_test else None,
    )


def _rows(images: EncodedImages, width: int) -> Tensor:
    """The labels as rows of so many numbers; the number of a class is a row with a 1 at its place."""
    rows = torch.zeros(len(images), width)
    for index, word in enumerate(images.words or ()):
        if isinstance(word, int) and 0 <= word < width:
            rows[index, word] = 1
            continue
        try:
            row = torch.tensor(word if _several(word) else [], dtype=torch.float32)
        except (TypeError, ValueError):
            row = torch.zeros(0)
        if row.shape != (width,):
            raise UserError(f"{images.place(index)} has the label {shown(word)}: give {width} numbers, as others have")
        rows[index] = row
    if images.words is None:
        raise UserError("the test part has no labels, and the training part has")
    return rows


def _several(word: object) -> TypeGuard[Sequence[float]]:
    return isinstance(word, Sequence) and not isinstance(word, str)


def _classes(words: Sequence[int | str], names: Sequence[str] | None) -> tuple[str, ...]:
    if names is not None:
        return tuple(names)
    texts = {word for word in words if isinstance(word, str)}
    if texts:
        return tuple(sorted(texts))
    most = max(int(word) for word in words)
    if not 0 <= most < UNNAMED:
        raise UserError(f"the largest label is {most:,}: number the classes from 0")
    return tuple(map(str, range(most + 1)))


def _words(images: EncodedImages) -> list[int | str]:
    """The labels as they are written; a ``UserError`` for one that is neither a number of a class nor a word."""
    if images.words is None:
        raise UserError("the test part has no labels, and the training part has")
    words = list[int | str]()
    for index, word in enumerate(images.words):
        if not isinstance(word, (int, str)) or word == "":
            raise UserError(f"{images.place(index)} has the label {word!r}: give the number of a class or a word")
        words.append(word)
    return words


def _numbers(images: EncodedImages, classes: tuple[str, ...], *, by_name: bool) -> list[int]:
    """The labels as class numbers."""
    known, labels = {name: number for number, name in enumerate(classes)}, list[int]()
    for index, written in enumerate(_words(images)):
        word = str(written) if by_name else written
        number = known.get(word, -1) if isinstance(word, str) else word
        if word == NO_LABEL:
            raise UserError(
                f"{images.place(index)} has the label -1, as samples without a label have: take a part with labels, or "
                "leave this one out"
            )
        if not 0 <= number < len(classes):
            near = did_you_mean(word, classes) if isinstance(word, str) else f": there are {len(classes)} classes"
            raise UserError(f"{images.place(index)} has the label {word!r}, which is of no known class{near}")
        labels.append(number)
    return labels
