"""Images that lie encoded inside other files: rows of a table, members of an archive; decoded as those of a folder."""

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch

from understudy.data.dataset import Access, Contents
from understudy.data.images import Embedded, common_size, dimensions
from understudy.data.kept import picture_source
from understudy.data.pictures import Form, ImageSettings, Pictures
from understudy.data.sources import Source
from understudy.errors import UserError, did_you_mean
from understudy.tasks.unlabelled import Unlabelled

_LOOKED_AT = 256  # images whose sizes decide the size of all
UNNAMED = 1_000_000  # classes that may be numbered without names


class EncodedImages(Pictures):
    """A map-style dataset of images inside other files."""

    def __init__(self, words: Sequence[int | str] | None, count: int):
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


def contents(
    train: EncodedImages,
    open_test: Callable[[], EncodedImages] | None,
    settings: ImageSettings,
    access: Access,
    *,
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
        facts={**(facts or {}), "size": size},
    )


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
    for index, word in enumerate(images.words):
        if not isinstance(word, (int, str)) or word == "":
            raise UserError(f"{images.place(index)} has the label {word!r}: give the number of a class or a word")
    return list(images.words)


def _numbers(images: EncodedImages, classes: tuple[str, ...], *, by_name: bool) -> list[int]:
    """The labels as class numbers."""
    known, labels = {name: number for number, name in enumerate(classes)}, list[int]()
    for index, written in enumerate(_words(images)):
        word = str(written) if by_name else written
        number = known.get(word, -1) if isinstance(word, str) else word
        if not 0 <= number < len(classes):
            near = did_you_mean(word, classes) if isinstance(word, str) else f": there are {len(classes)} classes"
            raise UserError(f"{images.place(index)} has the label {word!r}, which is of no known class{near}")
        labels.append(number)
    return labels
