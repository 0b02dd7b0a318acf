"""Downsampled ImageNet of 32 x 32 in its npz form: ``train_data_batch_1.npz`` to ``_10.npz`` and ``val_data.npz``."""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from understudy.data.dataset import Access, Contents, DataSet, Named
from understudy.data.sets.numpy_files import UNREADABLE
from understudy.data.sources import InMemory
from understudy.errors import UserError

FOLDERS = ("Imagenet32", "imagenet32", ".")
SIDE, CLASSES = 32, 1000


def read(settings: Named, access: Access) -> Contents:
    """The training images now, 3.7 GB if all batches are there; those of ``val_data`` when they are asked for."""
    first = "train_data_batch_1.npz"
    folder = next((access.folder / name for name in FOLDERS if (access.folder / name / first).is_file()), None)
    if folder is None:
        raise UserError(
            f"{access.folder} holds no ImageNet32 in npz form ({first}): get it from "
            "https://image-net.org/download-images (the pickled form is not read, since unpickling runs code)"
        )
    batches = sorted(folder.glob("train_data_batch_*.npz"), key=lambda path: (len(path.name), path.name))
    classes = tuple(str(number) for number in range(CLASSES))
    test = folder / "val_data.npz"
    contents = Contents(
        _source(batches),
        partial(_source, [test]) if test.is_file() else None,
        classes=classes,
        facts={"folder": str(folder), "batches": len(batches)},
    )
    return contents.named(settings.classes)


def _source(paths: list[Path]) -> InMemory:
    parts = [_read(path) for path in paths]
    images = torch.cat([torch.from_numpy(images) for images, _ in parts])
    return InMemory(images.view(-1, 3, SIDE, SIDE), torch.cat([torch.from_numpy(labels) for _, labels in parts]))


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, a plane for each colour, and class numbers, which the files count from 1."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = np.asarray(archive["data"]), np.asarray(archive["labels"]).astype(np.int64) - 1
    except (*UNREADABLE, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}): get it again") from error
    if images.dtype != np.uint8 or images.ndim != 2 or images.shape[1] != 3 * SIDE**2 or len(images) != len(labels):
        raise UserError(f"{path} holds no images of 3 x {SIDE} x {SIDE} bytes with a label for each")
    return images, labels


IMAGENET32 = DataSet("imagenet32", "ImageNet of 32 x 32, 1,281,167 + 50,000, colour, 1,000 classes", read, Named)
