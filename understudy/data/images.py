"""Image files as network inputs: one rule for training on a folder and for predictions."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from understudy.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
COLOURS = {1: "grey", 3: "RGB"}
RULE = "upright by EXIF, over white where transparent, resized (bilinear) to cover height x width, centre cropped"
_SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def decoded(path: Path, shape: tuple[int, ...]) -> Tensor:
    """One image file as (channels, height, width) of uint8, by ``RULE``; of moving pictures the first frame."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    channels, height, width = shape
    try:
        with Image.open(path) as file:
            image = _opaque(ImageOps.exif_transpose(file)).convert("L" if channels == 1 else "RGB")
    except UnidentifiedImageError as error:
        raise UserError(f"{path} is not an image that can be read: remove it or replace it") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read as an image ({reason}): remove it or replace it") from error
    scale = max(width / image.width, height / image.height)
    covering = max(width, round(image.width * scale)), max(height, round(image.height * scale))
    image = image.resize(covering, Image.Resampling.BILINEAR)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    pixels = np.array(image.crop((left, top, left + width, top + height))).reshape(height, width, channels)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def dimensions(path: Path) -> tuple[int, int]:
    """Width and height of an image file, from its header alone."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            if file.mode == "F":
                raise ValueError("its values are floating-point numbers")
            return file.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = f" ({error})" if isinstance(error, ValueError) else ""
        raise UserError(f"{path} is not an image that can be read{reason}: remove it or replace it") from error


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
