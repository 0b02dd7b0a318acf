"""A folder of images per class: ROOT/train/CLASS/*.png, and ROOT/test (or ROOT/val) likewise."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from understudy.data.pictures import SUFFIXES, decoded
from understudy.data.reading import MEMORY_LIMIT, Found, Options
from understudy.data.sources import InMemory, Source, Streamed
from understudy.errors import UserError, did_you_mean

_FEW = 256  # images that are read sooner than worker processes have started


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


def read(root: Path, options: Options) -> Found:
    """The training images now, if they fit in memory; of the test images only the names are looked up."""
    size = options.size
    if size is None or size < 1:
        raise UserError("a folder of images needs size=..., the height and width that they are brought to")
    if options.channels not in (1, 3):
        raise UserError(f"channels={options.channels}: images are read with 1 channel (grey) or 3 (colour)")
    if not (root / "train").is_dir():
        raise UserError(f"there is no folder {root / 'train'}: put each class's images into {root}/train/CLASS/")
    classes = options.classes or tuple(_subfolders(root / "train"))
    if not classes:
        raise UserError(f"{root / 'train'} holds no folders: put each class's images into a folder of its own")
    make = partial(Images, size=size, channels=options.channels)
    test = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    test_images = make(*_listed(test, classes)) if test else None
    return Found(
        train=_source(make(*_listed(root / "train", classes)), options.workers),
        open_test=partial(_source, test_images, options.workers) if test_images else None,
        classes=classes,
        facts={"folder": str(root), "test folder": str(test) if test else None, "size": size},
    )


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _listed(folder: Path, classes: tuple[str, ...]) -> tuple[list[Path], list[int]]:
    """Every image file below the class folders, in the order of the classes and of their names."""
    there = _subfolders(folder)
    unknown = [name for name in there if name not in classes]
    if unknown:
        raise UserError(f"{folder / unknown[0]} is of no known class{did_you_mean(unknown[0], classes)}")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = list(_images(folder / name)) if name in there else []
        if not files and folder.name == "train":
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
    """Decoded once into memory where they fit; else decoded by the workers whenever they are needed."""
    labels = torch.tensor(images.labels)
    streamed = Streamed(images, labels, workers=workers if len(images) > _FEW else 0)
    if len(images) * images.channels * images.size**2 > MEMORY_LIMIT:
        return Streamed(images, labels, workers=workers)
    samples = torch.empty(len(images), images.channels, images.size, images.size, dtype=torch.uint8)
    lists = list(torch.arange(len(images)).split(64))
    for ids, batch in zip(lists, streamed.batches(lists, torch.device("cpu")), strict=True):
        samples[ids] = batch  # type: ignore[assignment]  # pictures are one tensor
    return InMemory(samples, labels)
