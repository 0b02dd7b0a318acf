"""Image files of any size as a data set: their settings, how they become samples, and what determines these."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from understudy.bounds import Interval, Pixels
from understudy.data.images import (
    DRAFT,
    RULE,
    SHORT_SIDE,
    TORCHVISION,
    Embedded,
    decoded,
    mode_of,
    opened,
    pixels_of,
    size_of,
    to_short_side,
)
from understudy.data.pixels import Decoded, Decoder, Place, check_simplejpeg
from understudy.data.sources import Boxes
from understudy.errors import UserError
from understudy.files import write_atomically

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_AT_ONCE = 16  # files that are open
Gigabytes = Annotated[float, Interval(gt=0, le=1_000_000)]


@dataclass(frozen=True)
class PictureSettings:
    """The settings of image files.

    Args:
        size: height and width of a sample; by default the images' own, if they are square and all alike, else the
            largest multiple of 32 up to 224 that half of them reach with both sides.
        channels: 3 (colour) or 1 (grey).
        resize: the short side that an image is resized to before its centre of ``size`` is cut out. Random crops of
            the augmentation are then cut out of the file itself. By default an image is resized to cover the sample,
            and random crops are cut out of the sample.
        loader: ``"upright"`` turns images upright by EXIF, lays transparent ones over white, and keeps the greys of 16
            bits. ``"torchvision"`` does none of it, as torchvision's ``ImageFolder``; ``resize`` is then ``size`` where
            it is not given.
        cache: gigabytes of the user's cache that the decoded images may take, so that each file is decoded once. With
            ``resize``, random crops are cut out of the images of that short side.
        decoder: ``"simplejpeg"`` decodes JPEGs by the package of this name and resizes by PyTorch, which takes about
            half of the time. The samples are those of ``"pillow"`` up to one level of 255, beside the borders of random
            crops; stored answers, caches and students belong to one of the two.
    """

    size: Pixels | None = None
    channels: Literal[1, 3] = 3
    resize: Pixels | None = None
    loader: Literal["upright", "torchvision"] = "upright"
    cache: Gigabytes | None = None
    decoder: Decoder = "pillow"


@dataclass(frozen=True)
class ImageSettings(PictureSettings):
    """The settings of image files with classes.

    Args:
        size, channels, resize, loader, cache, decoder: those of image files.
        classes: the classes in the order of their numbers; of a folder by default in the order of the folders' names,
            of labels that are words in alphabetical order. Without labels, the names of the teacher's outputs.
    """

    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Form:
    """How image files become samples: their shape, the rule, the short side of rules with one, and the decoder."""

    shape: tuple[int, int, int]
    rule: str = RULE
    resize: int | None = None
    decoder: Decoder = field(default="pillow", repr=False)

    @classmethod
    def of(cls, settings: PictureSettings, size: int) -> "Form":
        """The form that settings ask for."""
        torchvision = settings.loader == "torchvision"
        resize = settings.resize if settings.resize is not None or not torchvision else size
        if resize is not None and resize < size:
            raise UserError(f"resize = {resize}: no {size} x {size} pixels (size) can be cut out of images so small")
        if settings.decoder == "simplejpeg":
            check_simplejpeg()
        rule = TORCHVISION if torchvision else RULE if resize is None else SHORT_SIDE
        return cls((settings.channels, size, size), rule, resize, settings.decoder)

    @property
    def described(self) -> dict[str, object]:
        """The rule as ``student.json`` has it."""
        resize = {} if self.resize is None else {"resize": self.resize}
        return {"image": self.rule, **resize} | ({} if self.decoder == "pillow" else {"decoder": self.decoder})

    @property
    def mode(self) -> str:
        """Pillow's name of the colours."""
        return mode_of(self.shape[0])


class Pictures(ABC):
    """Image files as a map-style dataset of (image, label): (channels, size, size) of uint8.

    ``files`` are those whose content determines all images.
    """

    form = Form((3, 0, 0))
    labels: Sequence[int] = ()
    files: Sequence[Path] = ()
    column = ""  # which of the images in the files

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def file(self, index: int) -> Path | Embedded:
        """The file of an image, or its bytes with their place."""

    @property
    def whole(self) -> bool:
        """Whether random crops are cut out of the files themselves."""
        return self.form.resize is not None

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        form = self.form
        return decoded(self.file(index), form.shape, form.rule, form.resize, form.decoder), self.labels[index]

    def views(self, ids: list[int], boxes: Boxes) -> list[Tensor]:
        """A box of each image, of its own height and width, resized to a sample."""
        some = [slice(first, first + _AT_ONCE) for first in range(0, len(ids), _AT_ONCE)]
        return [view for few in some for view in self._views(ids[few], boxes.of(few))]

    def _views(self, ids: list[int], boxes: Boxes) -> Iterator[Tensor]:
        with ExitStack() as stack:
            paths = [self.file(index) for index in ids]
            opens = [stack.enter_context(opened(path)) for path in paths]
            sizes = [size_of(path, file, self.form.rule) for path, file in zip(paths, opens, strict=True)]
            for path, file, size, box in zip(paths, opens, sizes, boxes_of(sizes, ids, boxes), strict=True):
                _, _, height, width = box
                scale = max(self.form.shape[1] / height, self.form.shape[2] / width)
                yield cut(*self._pixels(path, file, scale), size, box, self.form)

    def _pixels(self, path: Path | Embedded, file: "ImageFile", scale: float) -> tuple[Decoded, Place]:
        """The pixels of an image that has been opened, and its place among them."""
        return pixels_of(path, file, self.form.mode, self.form.rule, scale, self.form.decoder)

    def kept(self, index: int) -> np.ndarray:
        """An image as the cache keeps it, (height, width, channels): the sample, or all of its short side."""
        form, resize = self.form, self.form.resize
        if resize is None:
            return np.ascontiguousarray(self[index][0].permute(1, 2, 0).numpy())
        path = self.file(index)
        with opened(path) as file:
            size = size_of(path, file, form.rule)
            wanted = to_short_side(size, resize)
            pixels, place = self._pixels(path, file, max(wanted[0] / size[0], wanted[1] / size[1]))
        return np.ascontiguousarray(pixels.resized(wanted, place).permute(1, 2, 0).numpy())

    @property
    def listed(self) -> str:
        """Names, sizes and times of the files; the hash of their content where there are none."""
        return listing(self.files) if self.files else self.digest()

    def digest(self) -> str:
        """A hash of the content of all images before they are decoded."""
        if self.files:
            return digest_of_files(self.files)
        whole = hashlib.sha256()
        for index in range(len(self)):
            file = self.file(index)
            content = file.content if isinstance(file, Embedded) else file.read_bytes()
            whole.update(hashlib.sha256(content).digest())
        return whole.hexdigest()

    @property
    def content(self) -> str:
        """What determines the samples, whatever the augmentation cuts out of them."""
        decoder = "" if self.form.decoder == "pillow" else f" {self.form.decoder}"
        return f"{self.form} {DRAFT} {self.column} {self.digest()}{decoder}"


def boxes_of(sizes: Sequence[tuple[int, int]], ids: Sequence[int], boxes: Boxes) -> list[tuple[int, int, int, int]]:
    """Top, left, height and width of a box in each image of these widths and heights."""
    widths, heights = torch.tensor(sizes).unbind(1)
    drawn = boxes((heights, widths), ids=torch.tensor(ids))
    return list(zip(*(side.tolist() for side in drawn), strict=True))


def cut(pixels: Decoded, place: Place, size: tuple[int, int], box: tuple[int, int, int, int], form: Form) -> Tensor:
    """A box of an image as a sample. It is in pixels of the image's own size; decoded, it lies at ``place``."""
    across, down = (place[2] - place[0]) / size[0], (place[3] - place[1]) / size[1]
    top, left, height, width = box
    x, y = place[0] + left * across, place[1] + top * down
    right, bottom = min(x + width * across, place[2]), min(y + height * down, place[3])
    _, rows, columns = form.shape
    return pixels.resized((columns, rows), (x, y, right, bottom))


def cache_folder() -> Path:
    """The user's folder for what is computed from data and can be computed again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "understudy"


def listing(paths: Sequence[Path]) -> str:
    """The files by name, size, and times of the last change of content (which copies keep) and of anything."""
    seen = ((path.absolute(), path.stat()) for path in paths)
    return "\n".join(f"{place} {file.st_size} {file.st_mtime_ns} {file.st_ctime_ns}" for place, file in seen)


def digest_of_files(paths: Sequence[Path]) -> str:
    """A hash over many files. It is kept in the user's cache until one of them is written again."""
    place = cache_folder() / "content" / hashlib.sha256(listing(paths).encode()).hexdigest()
    with suppress(OSError, ValueError):
        if len(known := bytes.fromhex(place.read_text())) == hashlib.sha256().digest_size:
            return known.hex()
    digest = hashlib.sha256(b"".join(map(_file, paths))).hexdigest()
    with suppress(UserError):  # without the cache, the files are read again the next time
        write_atomically(place, digest.encode())
    return digest


def _file(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
