"""The pixels of a decoded image, and a box of them as a sample: by Pillow, or by simplejpeg and PyTorch."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from understudy.errors import OptionalPackageError

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

Decoder = Literal["pillow", "simplejpeg"]
Place = tuple[float, float, float, float]  # left, top, right, bottom
HALVINGS = 8, 4, 2, 1  # by which a JPEG can be decoded smaller in less time
_SHOWN_AS = {"RGB": "RGB", "L": "GRAY"}  # the modes of Pillow whose JPEGs simplejpeg decodes to the same values


class Decoded(Protocol):
    """The pixels of an image that has been decoded."""

    def resized(self, size: tuple[int, int], box: Place) -> Tensor:
        """A box of them, resized (bilinear) to this width and height: (channels, height, width) of uint8."""


@dataclass(frozen=True)
class OfPillow:
    """An image of Pillow. Boxes may begin and end between two pixels."""

    image: "Image.Image"

    def resized(self, size: tuple[int, int], box: Place) -> Tensor:
        from PIL import Image

        return as_pixels(self.image.resize(size, Image.Resampling.BILINEAR, box=box))


@dataclass(frozen=True)
class OfTorch:
    """(height, width, channels) of uint8, resized by PyTorch. Boxes begin at whole pixels, to which they are moved."""

    array: np.ndarray

    def resized(self, size: tuple[int, int], box: Place) -> Tensor:
        height, width, _ = self.array.shape
        left, top = min(round(box[0]), width - 1), min(round(box[1]), height - 1)
        across, down = box[2] - box[0], box[3] - box[1]
        part = torch.from_numpy(self.array[top : top + math.ceil(down), left : left + math.ceil(across)])
        images, scales = part.permute(2, 0, 1)[None], (size[1] / down, size[0] / across)
        # F.interpolate has the same, and no way to say that a box ends within a pixel.
        resized: Tensor = torch.ops.aten._upsample_bilinear2d_aa(images, (size[1], size[0]), False, *scales)[0]
        return resized.contiguous()


def of_array(array: np.ndarray, decoder: Decoder) -> Decoded:
    """The pixels of an image, (height, width, channels), whose boxes a decoder resizes."""
    if decoder == "simplejpeg":
        return OfTorch(array)
    from PIL import Image

    return OfPillow(Image.fromarray(array[..., 0] if array.shape[2] == 1 else array))


def by_simplejpeg(file: "ImageFile", mode: str, smaller: int) -> tuple[Decoded, Place] | None:
    """A JPEG that has been opened, at a half, a quarter or an eighth of its size where it may be so many times smaller.

    Its place among the pixels comes along, since those at its edges may be incomplete then. None for what is left to
    Pillow: other formats, CMYK, colours that become grey, and files in which simplejpeg sees a fault.
    """
    check_simplejpeg()
    import simplejpeg

    if file.format != "JPEG" or mode not in (file.mode, "RGB") or file.mode not in _SHOWN_AS or file.fp is None:
        return None
    times = next(each for each in HALVINGS if each <= max(1, smaller))
    file.fp.seek(0)
    content = file.fp.read()
    least = {"min_width": -(-file.width // times), "min_height": -(-file.height // times)}
    try:
        array = simplejpeg.decode_jpeg(content, _SHOWN_AS[mode], **least)
    except ValueError:
        file.fp.seek(0)
        return None
    return OfTorch(array), (0, 0, file.width / times, file.height / times)


def check_simplejpeg() -> None:
    """A ``UserError`` where simplejpeg is not installed."""
    try:
        import simplejpeg  # noqa: F401
    except ModuleNotFoundError as error:
        raise OptionalPackageError("simplejpeg", "jpeg", 'decoder = "simplejpeg"') from error


def as_pixels(image: "Image.Image") -> Tensor:
    """(channels, height, width) of uint8."""
    array = np.asarray(image)
    planes = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return torch.from_numpy(np.array(planes, order="C"))
