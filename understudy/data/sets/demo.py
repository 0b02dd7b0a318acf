"""The images that ship with the package: 5,000 + 5,000 of Fashion-MNIST, every class alike (MIT licence)."""

from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from understudy.data.dataset import Access, Contents, DataSet, Named
from understudy.data.sets.mnist import FASHION_MNIST_FILES
from understudy.data.sources import InMemory
from understudy.errors import UserError

FILE = Path(__file__).parent / "demo_images" / "fashion_mnist_small.npz"


def read(file: Path = FILE) -> Contents:
    """Reads the training images; the test images are read on first use."""
    return Contents(
        train=_part(file, "train"),
        open_test=partial(_part, file, "test"),
        classes=FASHION_MNIST_FILES.classes,
        facts={"file": file.name},
    )


def indices(part: str, file: Path = FILE) -> torch.Tensor:
    """Which images of the full Fashion-MNIST ``part`` ('train' or 'test') these are."""
    with _opened(file) as stored:
        return torch.from_numpy(stored[f"{part}_indices"].astype(np.int64))


def _part(file: Path, part: str) -> InMemory:
    try:
        return _read(file, part)
    except (ValueError, KeyError, OSError, BadZipFile) as error:  # objects that would be unpickled, too
        raise UserError(f"{file} is missing or damaged ({error}): install understudy again") from error


def _read(file: Path, part: str) -> InMemory:
    with _opened(file) as stored:
        strips, ends = stored[f"{part}_strips"].tobytes(), stored[f"{part}_offsets"].tolist()
        labels = torch.from_numpy(stored[f"{part}_labels"].astype(np.int64))
    images = np.concatenate([_images(strips[i:j]) for i, j in pairwise(ends)])
    return InMemory(torch.from_numpy(images).unsqueeze(1), labels)


def _images(strip: bytes) -> np.ndarray:
    """The images of one strip, in which they are stacked vertically."""
    from PIL import Image

    with Image.open(BytesIO(strip)) as picture:
        pixels = np.asarray(picture.convert("RGB"))[..., 0]  # WebP has no grey images: the three channels are equal
    return pixels.reshape(-1, pixels.shape[1], pixels.shape[1])


def _opened(file: Path):  # type: ignore[no-untyped-def]  # NumPy's NpzFile: a mapping that is also a context
    try:
        return np.load(BytesIO(file.read_bytes()))
    except (OSError, ValueError, BadZipFile) as error:
        raise UserError(f"{file} is missing or damaged ({error}): install understudy again") from error


def _demo(settings: Named, access: Access) -> Contents:
    return read().named(settings.classes)


DEMO = DataSet("demo", "5,000 + 5,000 images of Fashion-MNIST that ship with the package", _demo, Named)
