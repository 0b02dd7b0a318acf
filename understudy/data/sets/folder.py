"""A folder of images per class: ROOT/train/CLASS/*.png and ROOT/test (or ROOT/val) likewise, or ROOT/CLASS/*.png.

Images that lie in no folder of a class, ROOT/*.png or ROOT/train/*.png, are data without labels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from understudy.bounds import Pixels
from understudy.data.dataset import Access, Contents, DataSet, image_source
from understudy.data.images import SUFFIXES, common_size, decoded, dimensions
from understudy.data.sources import Source
from understudy.errors import UserError, did_you_mean
from understudy.tasks.unlabelled import Unlabelled


class Images:
    """Image files as a map-style dataset: (C, size, size) of uint8, see ``pictures.decoded``."""

    def __init__(self, paths: list[Path], labels: list[int], *, size: int, channels: int):
        self.paths = paths
        self.labels = labels
        self.size = size
        self.channels = channels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return decoded(self.paths[index], (self.channels, self.size, self.size)), self.labels[index]


@dataclass(frozen=True)
class Settings:
    """The settings of a folder of images.

    Args:
        size: height and width that the images are brought to; by default their own, if they are square and all alike,
            else the largest multiple of 32 up to 224 that half of them reach with both sides.
        channels: 3 (colour) or 1 (grey).
        classes: the class folders in the order of the class numbers; by default in the order of their names. Without
            labels, the names of the teacher's outputs.
    """

    size: Pixels | None = None
    channels: Literal[1, 3] = 3
    classes: tuple[str, ...] | None = None


def read(settings: Settings, access: Access) -> Contents:
    """The training images now, if they fit in memory; of the test images only the names are looked up."""
    root = access.root
    if root is None:
        raise UserError("the data set 'folder' needs root, the folder that holds train/CLASS/ with the images")
    parts = {name: root / name for name in ("train", "test", "val") if (root / name).is_dir()}
    if "train" not in parts and (parts or not root.is_dir() or not any(root.iterdir())):
        raise UserError(f"there is no folder {root / 'train'}: put each class's images into {root}/train/CLASS/")
    training = parts.get("train", root)  # without a test part, the folders of the classes may stand in ROOT
    labelled = access.labels and has_classes(root)
    classes = settings.classes or (tuple(_subfolders(training)) if labelled else ())
    _listed = _by_class if labelled else _of_no_class
    train = _listed(training, classes, every=True)
    size = settings.size or common_size([dimensions(path) for path in train[0]])
    make = partial(Images, size=size, channels=settings.channels)
    test = parts.get("test", parts.get("val"))
    test_images = make(*_listed(test, classes)) if test else None
    return Contents(
        train=_source(make(*train), access.workers),
        open_test=partial(_source, test_images, access.workers) if test_images else None,
        classes=classes,
        task=None if labelled else Unlabelled(classes),
        problems=partial(_problems, [*train[0], *(test_images.paths if test_images else [])]),
        facts={"folder": str(root), "test folder": str(test) if test else None, "size": size},
    )


def has_classes(root: Path) -> bool:
    """Whether the training images of a folder lie in folders of their classes."""
    training = root / "train" if (root / "train").is_dir() else root
    return bool(_subfolders(training))


def _problems(paths: list[Path]) -> Iterator[str]:
    """What is wrong with the headers of these images."""
    for path in paths:
        try:
            dimensions(path)
        except UserError as error:
            yield str(error)


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _of_no_class(folder: Path, classes: tuple[str, ...], *, every: bool = False) -> tuple[list[Path], list[int]]:
    """Every image file in and below a folder, in the order of their names."""
    paths = list(_images(folder))
    if not paths:
        raise UserError(f"{folder} holds no images (files that end in {', '.join(SUFFIXES)})")
    return paths, [0] * len(paths)


def _by_class(folder: Path, classes: tuple[str, ...], *, every: bool = False) -> tuple[list[Path], list[int]]:
    """Every image file below the class folders, in the order of the classes and of their names.

    Args:
        every: whether each class must have images here.
    """
    there = _subfolders(folder)
    unknown = [name for name in there if name not in classes]
    if unknown:
        raise UserError(f"{folder / unknown[0]} is of no known class{did_you_mean(unknown[0], classes)}")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = list(_images(folder / name)) if name in there else []
        if not files and every:
            raise UserError(f"{folder / name} holds no images (files that end in {', '.join(SUFFIXES)})")
        paths += files
        labels += [label] * len(files)
    if not paths:
        raise UserError(f"{folder} holds no images: put each class's into {folder}/CLASS/, or remove the folder")
    return paths, labels


def _images(folder: Path) -> Iterable[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _source(images: Images, workers: int) -> Source:
    shape = images.channels, images.size, images.size
    return image_source(images, torch.tensor(images.labels), shape, workers)


FOLDER = DataSet(
    "folder",
    "your own images: ROOT/train/CLASS/*.jpg and ROOT/test/CLASS/*.jpg, or ROOT/CLASS/*.jpg; ROOT/*.jpg without labels",
    read,
    Settings,
)
