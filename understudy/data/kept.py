"""Image files that are decoded once: their pixels in the user's cache, checked by a checksum of each image."""

import hashlib
import json
import math
import shutil
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from understudy import files
from understudy.data.dataset import FEW, Access, image_source
from understudy.data.images import DRAFT, fit_of
from understudy.data.pictures import Pictures, PictureSettings, boxes_of, cache_folder, cut
from understudy.data.pixels import of_array
from understudy.data.sources import Boxes, Source, Streamed, workers_of
from understudy.errors import UserError
from understudy.files import read_json, sealed, sha256, write_json, write_new

FORMAT = 1
GIGABYTE = 1_000_000_000
INDEX, PIXELS, DESCRIPTION = "index.npy", "pixels.bin", "images.json"
_TOLD = 8_000_000  # bytes between two reports of progress


class Kept:
    """Decoded images of a data set in a folder: their pixels, and an index with place, size and checksum of each.

    Args:
        pictures: the files that they were decoded from.
        folder: with the files.
    """

    def __init__(self, pictures: Pictures, folder: Path):
        self.pictures, self.folder = pictures, folder
        self.labels, self.whole = pictures.labels, pictures.whole
        self.index = np.load(folder / INDEX, allow_pickle=False)
        self._pixels: np.ndarray | None = None  # of this process

    @classmethod
    def of(cls, pictures: Pictures, gigabytes: float, access: Access) -> "Kept":
        """The images from the cache, where they are put if they are not there."""
        root = cache_folder() / "images"
        folder = root / key_of(pictures)
        if not _is_there(folder, len(pictures)):
            _write(pictures, folder, gigabytes * GIGABYTE, access)
        return cls(pictures, folder)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_pixels": None}

    @property
    def content(self) -> str:
        """What determines the samples; crops out of smaller images are others than those out of the files."""
        return self.pictures.content + (" smaller" if self.whole else "")

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        array, form = self._image(index), self.pictures.form
        if self.whole:
            _, rows, columns = form.shape
            _, fit = fit_of((array.shape[1], array.shape[0]), (rows, columns), form.rule, form.resize)
            left, top = -fit.offset[0], -fit.offset[1]
            array = array[top : top + rows, left : left + columns]
        return torch.from_numpy(np.array(array.transpose(2, 0, 1), order="C")), self.labels[index]

    def views(self, ids: list[int], boxes: Boxes) -> list[Tensor]:
        """A box of each image, resized to a sample."""
        arrays, form = [self._image(index) for index in ids], self.pictures.form
        sizes = [(array.shape[1], array.shape[0]) for array in arrays]
        drawn = zip(arrays, sizes, boxes_of(sizes, ids, boxes), strict=True)
        return [cut(of_array(array, form.decoder), (0, 0, *size), size, box, form) for array, size, box in drawn]

    def _image(self, index: int) -> np.ndarray:
        """The pixels of an image, (height, width, channels)."""
        if self._pixels is None:
            try:
                self._pixels = np.memmap(self.folder / PIXELS, np.uint8, mode="c")
            except (OSError, ValueError) as error:  # ValueError: the file is empty
                raise UserError(
                    f"{self.folder}: the decoded images cannot be read ({error}): run the same command again, and they "
                    "are decoded again"
                ) from error
        offset, height, width, checksum = self.index[index].tolist()
        channels = self.pictures.form.shape[0]
        flat = self._pixels[offset : offset + height * width * channels]
        if len(flat) != height * width * channels or zlib.crc32(flat.data) != checksum:
            raise UserError(
                f"{self.folder}: the decoded image {index} is damaged: remove this folder, and the images are decoded "
                "again"
            )
        return flat.reshape(height, width, channels)


def picture_source(
    pictures: Pictures, settings: PictureSettings, access: Access, *, trained: bool, targets: Tensor | None = None
) -> Source:
    """The images of a part: from the cache if it is asked for, in memory where they fit and no file is cut.

    Args:
        pictures: the images.
        settings, access: how they are read.
        trained: whether it is the training part, whose samples are augmented.
        targets: by default the labels of the images.
    """
    dataset = pictures if settings.cache is None else Kept.of(pictures, settings.cache, access)
    targets = torch.tensor(pictures.labels, dtype=torch.int64) if targets is None else targets
    if trained and pictures.whole:
        return Streamed(dataset, targets, workers=access.workers)
    return image_source(dataset, targets, pictures.form.shape, access)


def key_of(pictures: Pictures) -> str:
    """A hash of what determines the bytes: the files, how they are decoded, and by which versions."""
    from PIL import __version__, features

    decoder = {"pillow": __version__, "jpeg": features.version("jpg"), "draft": DRAFT, "format": FORMAT}
    form = asdict(pictures.form)
    if form.pop("decoder") == "simplejpeg":
        decoder["simplejpeg"] = version("simplejpeg")
    what = {"form": form, "column": pictures.column, "files": pictures.listed}
    return hashlib.sha256(json.dumps(what | decoder).encode()).hexdigest()[:32]


def _is_there(folder: Path, count: int) -> bool:
    """Whether the folder holds all images, whole."""
    known = read_json(folder / DESCRIPTION)
    with suppress(OSError):
        return (
            known is not None
            and files.fits(known)
            and known.get("images") == count
            and known.get("bytes") == (folder / PIXELS).stat().st_size
            and known.get("index") == sha256(folder / INDEX)
        )
    return False


def _write(pictures: Pictures, folder: Path, most: float, access: Access) -> None:
    """Decode all images into a folder, unless another process does so: then wait for it."""
    locks = cache_folder() / "locks"
    try:
        files.make_folder(locks)
        with files.locked(locks / folder.name, wait=True):
            if not _is_there(folder, len(pictures)):
                files.remove_tree(folder)  # a damaged one
                _write_locked(pictures, folder, most, access)
    except OSError as error:
        raise UserError(
            f"the decoded images cannot be written to {folder.parent} ({error.strerror or error}): make room, set "
            "XDG_CACHE_HOME to another disk, or leave cache out"
        ) from error


def _write_locked(pictures: Pictures, folder: Path, most: float, access: Access) -> None:
    """Decode all images into a folder, which gets its name when it is whole."""
    part = folder.with_name(f".{folder.name}.{files.owner()}{files.PART}")
    for abandoned in folder.parent.glob(f".*{files.PART}"):
        if files.is_abandoned(abandoned):
            files.remove_tree(abandoned)
    files.remove_tree(part)
    writing = _Writing(pictures, most, access)
    try:
        files.make_folder(part)
        writing.check_room(part)
        write_new(part / PIXELS, writing.pixels())
        np.save(part / INDEX, writing.index)
        facts = {"format": FORMAT, "images": len(pictures), "bytes": writing.written, "index": sha256(part / INDEX)}
        write_json(part / DESCRIPTION, sealed(facts))
        if key_of(pictures) != folder.name:
            raise UserError("image files were written while they were decoded into the cache: run the command again")
        if not folder.exists():  # else another process was faster, and the lock had been removed
            files.rename(part, folder)
    finally:
        files.remove_tree(part)


class _Writing:
    """The images while they are written, and the index that arises.

    Args:
        pictures: the images.
        most: bytes that they may take.
        access: worker processes, and who is told how far it is.
    """

    def __init__(self, pictures: Pictures, most: float, access: Access):
        self.pictures, self.most, self.access = pictures, most, access
        self.index = np.zeros((len(pictures), 4), np.int64)
        self.written = 0
        self.name = f"{len(pictures):,} decoded images"
        self.bytes = None if pictures.whole else len(pictures) * math.prod(pictures.form.shape)

    def check_room(self, folder: Path) -> None:
        """A ``UserError`` if it is known that there is no room."""
        if self.bytes is None:
            return
        self._check_limit(self.bytes)
        if self.bytes > (free := shutil.disk_usage(folder).free):
            raise UserError(
                f"{self.name} take {_size(self.bytes)}, and {folder.parent} has {_size(free)} left: make room, set "
                "XDG_CACHE_HOME to another disk, or leave cache out"
            )

    def _check_limit(self, size: float) -> None:
        if size > self.most:
            raise UserError(
                f"{self.name} take {'about ' if self.bytes is None else ''}{_size(size)}, and cache = "
                f"{self.most / GIGABYTE:g} (gigabytes) is less: raise it, choose smaller images, or leave cache out"
            )

    def pixels(self) -> Iterator[memoryview]:
        """The bytes of all images, one after the other."""
        told, progress = 0, self.access.progress or _silent
        progress(self.name, 0, self.bytes)
        for number, image in enumerate(_decoded(self.pictures, self.access.workers)):
            height, width, _ = image.shape
            flat = image.reshape(-1)
            self.index[number] = self.written, height, width, zlib.crc32(flat.data)
            self.written += flat.nbytes
            if self.written > self.most:
                self._check_limit(self.written / (number + 1) * len(self.pictures))
            if self.written - told >= _TOLD:
                told = self.written
                progress(self.name, told, self.bytes)
            yield flat.data
        progress(self.name, self.written, self.written)


def _silent(name: str, done: int, total: int | None) -> None:
    """No report of progress."""


def _size(size: float) -> str:
    return f"{size / GIGABYTE:,.2f} GB"


class _Arrays(torch.utils.data.Dataset["np.ndarray | UserError"]):
    """The images as the cache keeps them; an error as a value, since one of a worker has a long traceback."""

    def __init__(self, pictures: Pictures):
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> "np.ndarray | UserError":
        try:
            return self.pictures.kept(index)
        except UserError as error:
            return error


def _decoded(pictures: Pictures, workers: int) -> Iterator[np.ndarray]:
    loader: torch.utils.data.DataLoader[np.ndarray | UserError] = torch.utils.data.DataLoader(
        _Arrays(pictures),
        batch_size=None,
        num_workers=workers_of(workers) if len(pictures) > FEW else 0,
        collate_fn=_unchanged,
        generator=torch.Generator(),
    )
    for image in loader:
        if isinstance(image, UserError):
            raise image
        yield image


def _unchanged(image: object) -> object:
    return image
