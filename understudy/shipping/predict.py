"""The answers of a student to images, clouds of points or arrays on disk, or to texts."""

import errno
import glob
import io
import itertools
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from understudy import nested
from understudy.data.clouds import SUFFIXES as CLOUDS
from understudy.data.clouds import Points, clouds, read_cloud, within
from understudy.data.images import SUFFIXES, Fit, below, fitted, outline, upright
from understudy.data.sets.numpy_files import UNREADABLE, samples_of
from understudy.errors import UserError
from understudy.export.open import Student, open_student
from understudy.files import write_atomically
from understudy.nested import Nested
from understudy.taps import call
from understudy.tasks import Detection, Detection3D, Task, Text, TextScores, Told
from understudy.tasks.words import Words, cut_off

ARRAY = ".npy"
TEXT_FILES = (".txt", ".tsv", ".csv")  # what ends so, without a blank, is a file and no text


@dataclass(frozen=True)
class Prediction:
    """The answer of a student to one image, cloud, row or text; or the problem, if a file could not be read.

    Args:
        image: the file, or the text; of an array the file and the number of the row, ``rows.npy[3]``.
        text: the answer in a line.
        record: the answer as JSON, in the task's form: ``{"classes": [...]}`` of a classifier.
    """

    image: str
    text: str = ""
    record: Mapping[str, object] = field(default_factory=dict)
    problem: str | None = None

    @property
    def classes(self) -> tuple[tuple[str, float], ...]:
        """Of a classifier, the likeliest classes with their probabilities."""
        classes = self.record.get("classes", ())
        assert isinstance(classes, (list, tuple))
        return tuple((one["label"], one["probability"]) for one in classes)


def predict(
    student: str | Path,
    images: str | Path | Iterable[str | Path],
    *,
    top: int = 3,
    batch: int = 32,
    trust: Collection[str] = (),
    draw: str | Path | None = None,
) -> list[Prediction]:
    """The answers of a student to images on disk, in the given order.

    >>> predict("runs/mine", ["photos/*.jpg"])[0].classes  # doctest: +SKIP

    Args:
        student: a run folder, or a file that ``understudy export`` wrote.
        images: files, folders (every image or cloud below them) and patterns, or a single one of them; an array
            (.npy) has a sample in each row; of a student of texts, texts and files with a text in each line.
        top: how many classes to name.
        batch: images that are answered at once.
        trust: modules of the user (for a folder), or the file itself (for ``.pt2``), whose code may run.
        draw: a folder for copies of the images with the boxes of a detector drawn into them.
    """
    images = [images] if isinstance(images, (str, Path)) else images
    opened = open_student(Path(student), trust)
    if draw is not None and not isinstance(opened.description.task, Detection):
        raise UserError(f"boxes are drawn, and answers of task {opened.description.task.name!r} have none: no --draw")
    if (task := opened.description.task).takes_words:
        return _texts(opened, task, map(str, images), top, batch)
    if isinstance(task, Detection3D):
        listed = [name for word in images for name in _listed(str(word), CLOUDS, "clouds of points")]
        return [answer for names in _batches(listed, batch) for answer in _of_clouds(opened, names, top)]
    predictions = list[Prediction]()
    for names in _in_turn(opened, map(str, images), batch):
        array = names[0].image.endswith(ARRAY)
        if array and draw is not None:
            raise UserError(f"boxes are drawn into images, and {names[0].image} is an array: no --draw")
        predictions += _of_array(opened, names[0], top, batch) if array else _answered(opened, names, top)
    if draw is not None:
        for number, prediction in enumerate(predictions):
            _draw(prediction, Path(draw) / f"{number:04d}-{Path(prediction.image).stem}.png")
    return predictions


def _draw(prediction: Prediction, path: Path) -> None:
    """A copy of the image with the boxes of its answer, as PNG; nothing where there is no answer."""
    boxes = prediction.record.get("boxes")
    if not isinstance(boxes, list):
        return
    image = upright(Path(prediction.image))
    outline(image, {"student": [one["box"] for one in boxes]})
    content = io.BytesIO()
    image.save(content, "PNG")
    write_atomically(path, content.getvalue())


def _answered(student: Student, names: Sequence[Prediction], top: int) -> list[Prediction]:
    """The answers to one batch; images that cannot be read keep their position."""
    pictures, answers = list[tuple[int, Tensor, Fit]](), list(names)
    seen, task = student.description.input, student.description.task
    for place, name in enumerate(names):
        if name.problem is None:
            try:
                sample = fitted(Path(name.image), seen.shape, seen.image, seen.resize, seen.decoder)
                pictures.append((place, *sample))
            except UserError as error:
                answers[place] = replace(name, problem=str(error))
    if pictures:
        inputs = torch.stack([picture for _, picture, _ in pictures]).float() / 255
        for (place, _, fit), told in zip(pictures, _told(student, inputs, top), strict=True):
            answer = task.located(told, fit.scale, fit.offset)
            answers[place] = replace(answers[place], text=answer.text, record=answer.record)
    return answers


def _in_turn(student: Student, words: Iterable[str], batch: int) -> Iterator[list[Prediction]]:
    """Batches of images, and between them each file with an array, in the given order."""
    seen = student.description
    if seen.input.tensors:
        raise UserError(
            f"the student takes several tensors ({', '.join(seen.input.tensors)}), and no files: ask it in Python"
        )
    suffixes, what = (SUFFIXES, "images") if seen.takes_images else ((ARRAY,), "arrays")
    listed = [name for word in words for name in _listed(word, suffixes, what)]
    for array, names in itertools.groupby(listed, lambda name: name.image.endswith(ARRAY)):
        if array:
            yield from ([name] for name in names)
        elif seen.takes_images:
            yield from _batches(list(names), batch)
        else:
            taken = f"the student takes no images, but arrays ({ARRAY}) with rows of shape {tuple(seen.input.shape)}"
            yield [name if name.problem else replace(name, problem=f"{name.image}: {taken}") for name in names]


def _of_array(student: Student, name: Prediction, top: int, batch: int) -> list[Prediction]:
    """The answers to the rows of an array, which become samples as those of the data set ``numpy`` do."""
    if name.problem is not None:
        return [name]
    shape, answers = tuple(student.description.input.shape), list[Prediction]()
    try:
        rows = np.lib.format.open_memmap(name.image, mode="r")
    except OSError as error:
        return [replace(name, problem=f"{name.image} cannot be read: {error.strerror or error}")]
    except UNREADABLE as error:
        return [replace(name, problem=f"{name.image} is no array of numbers ({error})")]
    if rows.dtype.kind not in "uif" or not rows.ndim or tuple(samples_of(rows[:1]).shape[1:]) != shape:
        found = f"an array of shape {rows.shape} and type {rows.dtype}"
        return [replace(name, problem=f"{name.image} is {found}, and the student takes rows of shape {shape}")]
    if not len(rows):
        return [replace(name, problem=f"{name.image} has no rows")]
    seen = student.description.input
    for start in range(0, len(rows), batch):
        inputs = _inputs(rows[start : start + batch], seen.dtype)
        broken = set(nested.not_finite(inputs))
        if seen.range is not None and start == 0 and not broken:
            _warn_of_values(name.image, inputs, *seen.range)
        for row, told in enumerate(_told(student, inputs, top)):
            called = f"{name.image}[{start + row}]"
            if row in broken:
                answers.append(Prediction(called, problem=f"{called} holds NaN or infinity"))
            else:
                answers.append(Prediction(called, text=told.text, record=told.record))
    return answers


def _warn_of_values(called: str, images: Tensor, least: float, most: float) -> None:
    """Warn of images in an array whose values are not those of image files."""
    low, high = images.min().item(), images.max().item()
    if low < least or high > most:
        warnings.warn(
            f"{called}: values go from {low:.3g} to {high:.3g}, and those of images from {least:g} to {most:g}: the "
            "answers are right only if the student was trained on such values (bytes are divided by 255)",
            stacklevel=3,
        )


def _inputs(rows: np.ndarray, dtype: str | None) -> Tensor:
    """Rows of an array as a batch: bytes from 0 to 1, and whole numbers as such where the student learned from such."""
    if dtype is not None:
        return torch.from_numpy(np.array(rows, dtype=dtype))
    samples = samples_of(rows)
    return samples.float() / 255 if samples.dtype == torch.uint8 else samples.float()


def _of_clouds(student: Student, names: Sequence[Prediction], top: int) -> list[Prediction]:
    """The answers to one batch of clouds; files that cannot be read keep their position.

    Points outside the square are left out first, so that they take no place of the others.
    """
    read, answers = list[tuple[int, Points]](), list(names)
    numbers, points, side = student.description.input.shape
    for place, name in enumerate(names):
        if name.problem is None:
            try:
                read.append((place, within(read_cloud(Path(name.image), numbers), side)))
            except UserError as error:
                answers[place] = replace(name, problem=str(error))
    if read:
        inputs = clouds([cloud for _, cloud in read], points=points)
        for (place, _), told in zip(read, _told(student, inputs, top), strict=True):
            answers[place] = replace(answers[place], text=told.text, record=told.record)
    return answers


def _told(student: Student, inputs: Nested, top: int) -> list[Told]:
    """The answers to a batch in the form of the student's task."""
    task = student.description.task
    with torch.inference_mode():
        answer = task.answer(call(student.network, inputs))
    if reason := task.misfit(answer):
        raise UserError(f"the student does not answer as its description says: {reason}")
    return task.told(answer, top=top)


def _texts(student: Student, task: Task, texts: Iterable[str], top: int, batch: int) -> list[Prediction]:
    """The answers to texts; the name of a file stands for its lines."""
    return of_texts(student, task, [line for text in texts for line in _lines(text)], top, batch)


def _lines(text: str) -> list[str]:
    """The lines of a file of this name; else the text itself."""
    path = Path(text)
    try:
        if not path.is_file():
            if text.endswith(TEXT_FILES) and not any(map(str.isspace, text)):
                raise UserError(f"no file is called {text}")
            return [text]
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8: byte {error.start} is none of it") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # so it is a text
            return [text]
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    return content.removesuffix("\n").split("\n") if content else []


def of_texts(student: Student, task: Task, texts: Sequence[str], top: int, batch: int) -> list[Prediction]:
    """The answers to texts, in their order; a warning counts those that have more tokens than the student reads."""
    if isinstance(task, Words):
        task.check_vocabulary()
    predictions, cut = list[Prediction](), 0
    for start in range(0, len(texts), batch):
        some = texts[start : start + batch]
        inputs = task.encode(some)
        if isinstance(task, (Text, TextScores)):
            cut += cut_off(task, some, cast(Mapping[str, Tensor], inputs))
        answers = _told(student, inputs, top)
        told = [task.of_text(answer, line) for line, answer in zip(some, answers, strict=True)]
        predictions += [
            Prediction(line, text=one.text, record=one.record) for line, one in zip(some, told, strict=True)
        ]
    if cut and isinstance(task, (Text, TextScores)):
        text = f"{cut:,} of {len(texts):,} texts have more than the {task.length} tokens that the student reads"
        warnings.warn(f"{text}: their ends are left out", stacklevel=2)
    return predictions


def _listed(word: str, suffixes: Sequence[str] = SUFFIXES, what: str = "images") -> list[Prediction]:
    """The files for a path or a pattern, or the problem with it."""
    path = Path(word)
    if path.is_dir():
        files = below(path, suffixes)
        problem = f"{word} holds no {what} (files that end in {', '.join(suffixes)})"
    elif path.exists() or not glob.has_magic(word):
        return [Prediction(word)]
    else:
        files = [Path(file) for file in sorted(glob.glob(word, recursive=True)) if Path(file).is_file()]
        problem = f"no file is called {word}"
    return [Prediction(str(file)) for file in files] or [Prediction(word, problem=problem)]


def _batches(names: list[Prediction], batch: int) -> Iterator[list[Prediction]]:
    for start in range(0, len(names), batch):
        yield names[start : start + batch]
