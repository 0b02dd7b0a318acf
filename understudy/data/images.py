"""Image files as network inputs: one rule for training on a folder and for predictions."""

import glob
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from understudy.data.pixels import Decoded, Decoder, OfPillow, OfTorch, Place, by_simplejpeg
from understudy.errors import UserError

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
SIDES = 32, 224  # between them is the size of images that differ, unless it is given
COLOURS = {1: "grey", 3: "RGB"}
RULE = "upright by EXIF, over white where transparent, resized (bilinear) to cover height x width, centre cropped"
LETTERBOX = (
    "upright by EXIF, over white where transparent, resized (bilinear) to fit into height x width, centred on grey"
)
SHORT_SIDE = (
    "upright by EXIF, over white where transparent, resized (bilinear) to a short side of `resize`, centre cropped"
)
STRETCHED = "upright by EXIF, over white where transparent, resized (bilinear) to height x width, its form not kept"
TORCHVISION = (
    "as it is stored, without EXIF and transparency, resized (bilinear) to a short side of `resize`, centre cropped"
)
RULES = (RULE, LETTERBOX, SHORT_SIDE, STRETCHED, TORCHVISION)
GREY = 114  # of the borders of a letterbox, as in YOLO's code
DRAFT = 2  # a JPEG is decoded at least so many times as large as it is needed, where that is less than the whole
_SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_PLAIN = {"1": "L", "P": "RGB", "PA": "RGB", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
_ORIENTATION = 0x0112  # EXIF's tag; by its values above 4 height and width change places
_MIRRORED = {2: (True, False), 3: (True, True), 4: (False, True), 6: (True, False), 7: (True, True), 8: (False, True)}


def below(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The files in and below a folder that end so, in the order of their names, without hidden ones."""
    return _ending(folder.rglob("*"), suffixes)


def holds_images(folder: Path) -> bool:
    """Whether an image lies in or below a folder; the search ends at the first one."""
    return any(path.suffix.lower() in SUFFIXES and not path.name.startswith(".") for path in folder.rglob("*"))


def named(pattern: str, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The files of a pattern such as ``photos/*.jpg`` that end so, in the order of their names, without hidden ones."""
    return _ending(map(Path, glob.glob(pattern, recursive=True)), suffixes)


def _ending(paths: Iterable[Path], suffixes: Sequence[str]) -> list[Path]:
    ends = tuple(suffixes)
    return sorted(
        path for path in paths if path.name.lower().endswith(ends) and not path.name.startswith(".") and path.is_file()
    )


@dataclass(frozen=True)
class Embedded:
    """An image that lies encoded inside another file.

    Args:
        place: what messages call it.
        content: its bytes.
    """

    place: str
    content: bytes

    def __str__(self) -> str:
        return self.place


@dataclass(frozen=True)
class Fit:
    """How an image file became a sample: ``x * scale + offset``, of x and of y."""

    scale: tuple[float, float]
    offset: tuple[int, int]


def decoded(
    path: Path | Embedded,
    shape: tuple[int, ...],
    rule: str = RULE,
    resize: int | None = None,
    decoder: Decoder = "pillow",
) -> Tensor:
    """One image file as (channels, height, width) of uint8, by a rule; of moving pictures the first frame."""
    return fitted(path, shape, rule, resize, decoder)[0]


def fitted(
    path: Path | Embedded,
    shape: tuple[int, ...],
    rule: str = RULE,
    resize: int | None = None,
    decoder: Decoder = "pillow",
) -> tuple[Tensor, Fit]:
    """The same, and how the file's pixels became the sample's. ``resize`` is of the rules with a short side."""
    channels, height, width = shape
    with opened(path) as file:
        size, fit = fit_of(size_of(path, file, rule), (height, width), rule, resize)
        pixels, place = pixels_of(path, file, mode_of(channels), rule, max(fit.scale), decoder)
    resized = pixels.resized(size, place)
    across, down = fit.offset
    if rule == LETTERBOX:
        whole = torch.full((channels, height, width), GREY, dtype=torch.uint8)
        whole[:, down : down + size[1], across : across + size[0]] = resized
    else:
        whole = resized[:, -down : height - down, -across : width - across].contiguous()
    return whole, fit


def fit_of(
    size: tuple[int, int], sample: tuple[int, int], rule: str, resize: int | None = None
) -> tuple[tuple[int, int], Fit]:
    """The width and height to which an image of this width and height is resized, and where its pixels come to be.

    ``sample`` is the height and width of the sample. With a short side, the numbers are those of torchvision's
    ``Resize(resize)`` and ``CenterCrop``.
    """
    (width, height), (rows, columns) = size, sample
    if resize is not None:
        resized = to_short_side(size, resize)
        offset = -round((resized[0] - columns) / 2), -round((resized[1] - rows) / 2)
        return resized, Fit((resized[0] / width, resized[1] / height), offset)
    if rule == STRETCHED:
        return (columns, rows), Fit((columns / width, rows / height), (0, 0))
    if rule == LETTERBOX:
        scale = min(columns / width, rows / height)
        resized = max(1, round(width * scale)), max(1, round(height * scale))
    else:
        scale = max(columns / width, rows / height)
        resized = max(columns, round(width * scale)), max(rows, round(height * scale))
    offset = -((resized[0] - columns) // 2), -((resized[1] - rows) // 2)
    return resized, Fit((resized[0] / width, resized[1] / height), offset)


def to_short_side(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The width and height of an image that is resized to this short side.

    >>> to_short_side((500, 375), 256), to_short_side((100, 300), 50)
    ((341, 256), (50, 150))
    """
    width, height = size
    return (side, int(side * height / width)) if width <= height else (int(side * width / height), side)


def upright(path: Path | Embedded, mode: str = "RGB") -> "Image.Image":
    """An image file in its own size, upright by EXIF and over white where it is transparent."""
    with opened(path) as file:
        return loaded(path, file, mode, RULE)[0]


def opened(path: Path | Embedded) -> "ImageFile":
    """An image file whose header has been read; ``with`` closes it."""
    from PIL import Image

    with _problems_of(path):
        return Image.open(io.BytesIO(path.content) if isinstance(path, Embedded) else path)


def size_of(path: Path | Embedded, file: "Image.Image", rule: str = RULE) -> tuple[int, int]:
    """The width and height of an image that has been opened, as it is shown by a rule."""
    with _problems_of(path):
        return (file.height, file.width) if _orientation(file, rule) > 4 else file.size


def pixels_of(
    path: Path | Embedded, file: "ImageFile", mode: str, rule: str, scale: float, decoder: Decoder
) -> tuple[Decoded, Place]:
    """The pixels of an image that has been opened, as ``loaded`` gives them, by a decoder."""
    if decoder == "simplejpeg" and _orientation(file, rule) == 1:
        found = by_simplejpeg(file, mode, int(1 / (DRAFT * scale)))
        if found is not None:
            return found
    image, place = loaded(path, file, mode, rule, scale)
    if decoder == "pillow":
        return OfPillow(image), place
    array = np.asarray(image)
    return OfTorch(np.array(array[..., None] if array.ndim == 2 else array)), place


def loaded(
    path: Path | Embedded, file: "Image.Image", mode: str, rule: str, scale: float = 1.0
) -> tuple["Image.Image", Place]:
    """The pixels of an image that has been opened, as a rule shows it: upright and opaque, or as it is stored.

    ``scale`` tells how large they are needed. A JPEG is decoded at a half, a quarter or an eighth of its size where
    that leaves ``DRAFT`` times as many as needed, which takes a fraction of the time. The pixels at its edges may then
    be incomplete; the place of the image among them comes along.
    """
    from PIL import ImageOps

    with _problems_of(path):
        orientation, (width, height) = _orientation(file, rule), file.size
        across, down = float(width), float(height)
        smaller = int(1 / (DRAFT * scale))
        drafted = file.draft(None, (width // smaller, height // smaller)) if smaller > 1 else None
        if drafted is not None:
            across, down = drafted[1][2:]
        if rule == TORCHVISION:
            image = file if file.mode == "RGB" else file.convert("RGB")
        else:
            image = _opaque(ImageOps.exif_transpose(file) if orientation != 1 else file)
        if image.mode != mode:
            image = image.convert(mode)
        image.load()
    if orientation > 4:
        across, down = down, across
    mirrored, upside_down = _MIRRORED.get(orientation, (False, False))
    left, top = image.width - across if mirrored else 0, image.height - down if upside_down else 0
    return image, (left, top, left + across, top + down)


def _orientation(file: "Image.Image", rule: str) -> int:
    """EXIF's orientation, from 1 (as it is stored) to 8."""
    if file.format == "TIFF":  # Pillow turns these itself when it loads them; their size before that differs by version
        file.load()
        return 1
    orientation = 1 if rule == TORCHVISION else file.getexif().get(_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def mode_of(channels: int) -> str:
    """Pillow's name of the colours."""
    return "L" if channels == 1 else "RGB"


@contextmanager
def _problems_of(path: Path | Embedded) -> Iterator[None]:
    """A ``UserError`` that names the image, for all that Pillow raises."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not an image that can be read: remove it or replace it") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read as an image ({reason}): remove it or replace it") from error


PENS = {"target": "white", "teacher": "deepskyblue", "student": "orange"}


def outline(image: "Image.Image", boxes: Mapping[str, Sequence[Sequence[float]]], scale: float = 1.0) -> None:
    """Draw boxes into an image, by whose they are: the target's white, the teacher's blue, the student's orange."""
    from PIL import ImageDraw

    pen = ImageDraw.Draw(image)
    width = max(1, round(max(image.size) / 200))
    for whose, colour in PENS.items():
        for box in boxes.get(whose, ()):
            left, top, right, bottom = (scale * side for side in box)
            pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width)


def dimensions(path: Path | Embedded) -> tuple[int, int]:
    """Width and height of an image file, from its header alone."""
    with opened(path) as file:
        if file.mode == "F":
            raise UserError(
                f"{path} cannot be read as an image (its values are floating-point numbers): remove it or replace it"
            )
        return file.size


def common_size(sizes: Sequence[tuple[int, int]]) -> int:
    """The side of images that are square and all alike; else the largest multiple of 32 that half of them reach.

    >>> common_size([(28, 28), (28, 28)]), common_size([(100, 80), (70, 90), (300, 300)])
    (28, 64)
    """
    if len({side for size in sizes for side in size}) == 1:
        return sizes[0][0]
    middle, (least, most) = sorted(min(size) for size in sizes)[len(sizes) // 2], SIDES
    return max(least, min(most, middle // least * least))


def plain(picture: "Image.Image") -> "Image.Image":
    """A picture whose pixels are its colours: of a palette, of CMYK or of single bits they are other numbers.

    >>> from PIL import Image
    >>> plain(Image.new("P", (4, 4))).mode
    'RGB'
    """
    mode = _PLAIN.get(picture.mode)
    return picture if mode is None else _opaque(picture).convert(mode)


def _opaque(image: "Image.Image") -> "Image.Image":
    """Without transparency, and with 8 bits for each channel."""
    from PIL import Image

    if image.mode == "F":
        least, most = image.getextrema()
        raise ValueError(f"its values are floating-point numbers, {least:g} to {most:g}: convert it to 8 or 16 bits")
    if image.mode in _SIXTEEN_BITS:
        return Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)
