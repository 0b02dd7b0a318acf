"""Labels and probabilities for images on disk."""

import glob
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from understudy.data.pictures import SUFFIXES, decoded
from understudy.errors import UserError
from understudy.export.opening import Student, open_student
from understudy.taps import logits_in


@dataclass(frozen=True)
class Prediction:
    """An image's likeliest classes with their probabilities; or, where it could not be read, the problem."""

    image: str
    classes: tuple[tuple[str, float], ...] = ()
    problem: str | None = None


def predict(
    student: str | Path, images: Iterable[str | Path], *, top: int = 3, batch: int = 32, trust: Collection[str] = ()
) -> list[Prediction]:
    """What a student sees in images on disk, in the order in which they are named.

    >>> predict("runs/mine", ["photos/*.jpg"])[0].classes  # doctest: +SKIP

    Args:
        student: a run folder, or a file that ``understudy export`` wrote.
        images: files, folders (every image below them) and patterns.
        top: how many classes to name.
        batch: images that are answered at once.
        trust: modules of your own (for a folder), or the file itself (for ``.pt2``), whose code may run.
    """
    opened = open_student(Path(student), trust)
    if not opened.description.takes_images:
        shape = "x".join(map(str, opened.description.input.shape))
        raise UserError(f"{student} does not take images: its input is {shape} ({opened.description.input.image})")
    found: list[Prediction] = []
    for names in _batches([name for word in images for name in _listed(str(word))], batch):
        found += _answered(opened, names, top)
    return found


def _answered(student: Student, names: Sequence[Prediction], top: int) -> list[Prediction]:
    """One batch; those that cannot be read keep their place."""
    pictures, answers = [], list(names)
    for place, name in enumerate(names):
        if name.problem is None:
            try:
                pictures.append((place, decoded(Path(name.image), student.description.input.shape)))
            except UserError as error:
                answers[place] = replace(name, problem=str(error))
    if pictures:
        with torch.inference_mode():
            logits = logits_in(student.network(torch.stack([picture for _, picture in pictures]).float() / 255))
        for (place, _), classes in zip(pictures, _likeliest(logits, student.description.classes, top), strict=True):
            answers[place] = replace(answers[place], classes=classes)
    return answers


def _likeliest(logits: Tensor, classes: Sequence[str], top: int) -> Iterator[tuple[tuple[str, float], ...]]:
    if logits.ndim != 2 or logits.shape[1] != len(classes):
        shape = " x ".join(map(str, logits.shape))
        raise UserError(f"the student answers with {shape} values, and its description names {len(classes)} classes")
    for shares in logits.double().softmax(1):
        values, numbers = shares.topk(min(top, len(classes)))
        yield tuple((classes[number], value) for number, value in zip(numbers.tolist(), values.tolist(), strict=True))


def _listed(word: str) -> list[Prediction]:
    """The image files that a word stands for, or the problem with it."""
    path = Path(word)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        problem = f"{word} holds no images (files that end in {', '.join(SUFFIXES)})"
    elif path.exists() or not glob.has_magic(word):
        return [Prediction(word)]
    else:
        files = [Path(file) for file in sorted(glob.glob(word, recursive=True)) if Path(file).is_file()]
        problem = f"no file is called {word}"
    return [Prediction(str(file)) for file in files] or [Prediction(word, problem=problem)]


def _batches(names: list[Prediction], batch: int) -> Iterator[list[Prediction]]:
    for start in range(0, len(names), batch):
        yield names[start : start + batch]
