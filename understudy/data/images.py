"""Image files as network inputs: one rule for training on a folder and for predictions."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from understudy.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
SIDES = 32, 224  # between them is the size of images that differ, unless it is given
COLOURS = {1: "grey", 3: "RGB"}
RULE = "upright by EXIF, over white where transparent, resized (bilinear) to cover height x width, centre cropped"
LETTERBOX = (
    "upright by EXIF, over white where transparent, resized (bilinear) to fit into height x width, centred on grey"
)
RULES = (RULE, LETTERBOX)
GREY = 114  # of the borders of a letterbox, as in YOLO's code
_SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")


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


def decoded(path: Path | Embedded, shape: tuple[int, ...], rule: str = RULE) -> Tensor:
    """One image file as (channels, height, width) of uint8, by a rule; of moving pictures the first frame."""
    return fitted(path, shape, rule)[0]


def fitted(path: Path | Embedded, shape: tuple[int, ...], rule: str = RULE) -> tuple[Tensor, Fit]:
    """The same, and how the file's pixels became the sample's."""
    from PIL import Image

    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    image = upright(path, mode)
    size, fit = fit_of(image.size, (height, width), rule)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = -fit.offset[0], -fit.offset[1]
    if rule == LETTERBOX:
        whole = Image.new(mode, (width, height), GREY if channels == 1 else (GREY,) * 3)
        whole.paste(image, (-left, -top))
    else:
        whole = image.crop((left, top, left + width, top + height))
    pixels = np.array(whole).reshape(height, width, channels)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), fit


def fit_of(size: tuple[int, int], sample: tuple[int, int], rule: str) -> tuple[tuple[int, int], Fit]:
    """The width and height to which an image of this width and height is resized, and where its pixels come to be.

    ``sample`` is the height and width of the sample.
    """
    (width, height), (rows, columns) = size, sample
    if rule == LETTERBOX:
        scale = min(columns / width, rows / height)
        resized = max(1, round(width * scale)), max(1, round(height * scale))
    else:
        scale = max(columns / width, rows / height)
        resized = max(columns, round(width * scale)), max(rows, round(height * scale))
    offset = -((resized[0] - columns) // 2), -((resized[1] - rows) // 2)
    return resized, Fit((resized[0] / width, resized[1] / height), offset)


def upright(path: Path | Embedded, mode: str = "RGB") -> "Image.Image":
    """An image file in its own size, upright by EXIF and over white where it is transparent."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(_opened(path)) as file:
            return _opaque(ImageOps.exif_transpose(file)).convert(mode)
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
    from PIL import Image

    try:
        with Image.open(_opened(path)) as file:
            if file.mode == "F":
                raise ValueError("its values are floating-point numbers")
            return file.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = f" ({error})" if isinstance(error, ValueError) else ""
        raise UserError(f"{path} is not an image that can be read{reason}: remove it or replace it") from error


def _opened(path: Path | Embedded) -> Path | io.BytesIO:
    return io.BytesIO(path.content) if isinstance(path, Embedded) else path


def common_size(sizes: Sequence[tuple[int, int]]) -> int:
    """The side of images that are square and all alike; else the largest multiple of 32 that half of them reach.

    >>> common_size([(28, 28), (28, 28)]), common_size([(100, 80), (70, 90), (300, 300)])
    (28, 64)
    """
    if len({side for size in sizes for side in size}) == 1:
        return sizes[0][0]
    middle, (least, most) = sorted(min(size) for size in sizes)[len(sizes) // 2], SIDES
    return max(least, min(most, middle // least * least))


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
