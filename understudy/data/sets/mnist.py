"""MNIST and Fashion-MNIST from their idx files, gzipped or plain."""

import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from understudy.data.dataset import Access, Contents, DataSet, Named, check_md5, md5_of_content, truncated, unpacked
from understudy.data.fetch import Remote, provide
from understudy.data.sources import InMemory
from understudy.errors import UserError

_IMAGES, _LABELS = 2051, 2049  # the idx files' magic numbers: bytes in three dimensions, and in one


@dataclass(frozen=True)
class _File:
    """A file's name, the SHA-256 of the published .gz, and the md5 of its content (every packer's .gz differs)."""

    name: str
    packed: str
    content: str


@dataclass(frozen=True)
class Form:
    """Where the four files are, in the data folder and on the network."""

    folder: str
    addresses: tuple[str, ...]
    files: tuple[_File, _File, _File, _File]  # training images and labels, test images and labels
    classes: tuple[str, ...]


MNIST_FILES = Form(
    folder="MNIST/raw",
    addresses=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files=(
        _File(
            "train-images-idx3-ubyte",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "6bbc9ace898e44ae57da46a324031adb",
        ),
        _File(
            "train-labels-idx1-ubyte",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "a25bea736e30d166cdddb491f175f624",
        ),
        _File(
            "t10k-images-idx3-ubyte",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "2646ac647ad5339dbf082846283269ea",
        ),
        _File(
            "t10k-labels-idx1-ubyte",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "27ae3e4e09519cfbb04c329615203637",
        ),
    ),
    classes=tuple("0123456789"),
)
FASHION_MNIST_FILES = Form(
    folder="FashionMNIST/raw",
    addresses=(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    files=(
        _File(
            "train-images-idx3-ubyte",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        ),
        _File(
            "train-labels-idx1-ubyte",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "9018921c3c673c538a1fc5bad174d6f9",
        ),
        _File(
            "t10k-images-idx3-ubyte",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "8181f5470baa50b63fa0f6fddb340f0a",
        ),
        _File(
            "t10k-labels-idx1-ubyte",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "15d484375f8d13e6eb1aabb0c3f46965",
        ),
    ),
    classes=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
)  # fmt: skip


def read(which: Form, access: Access) -> Contents:
    """Reads the training files; the test files are read on first use. All four must exist."""
    folder = access.folder / which.folder
    paths = [_present(which, file, folder, access) for file in which.files]
    train, test = (which.files[:2], paths[:2]), (which.files[2:], paths[2:])
    return Contents(
        train=_pair(*train, verify=access.verify),
        open_test=partial(_pair, *test, verify=access.verify),
        classes=which.classes,
        facts={"folder": str(folder), "verified": access.verify},
    )


def _present(which: Form, file: _File, folder: Path, access: Access) -> Path:
    """The plain file if it exists, else the gzipped one, else the gzipped one after a download."""
    plain, packed = folder / file.name, folder / f"{file.name}.gz"
    if plain.exists():
        return plain
    first, *mirrors = (f"{address}{file.name}.gz" for address in which.addresses)
    provide(Remote(first, f"sha256:{file.packed}", tuple(mirrors)), packed, access)
    return packed


def _pair(files: tuple[_File, ...], paths: list[Path], *, verify: bool) -> InMemory:
    images = _idx(paths[0], _IMAGES, files[0].content if verify else None)
    labels = _idx(paths[1], _LABELS, files[1].content if verify else None)
    if len(images) != len(labels):
        raise UserError(f"{paths[0]} holds {len(images)} images, but {paths[1]} holds {len(labels)} labels")
    return InMemory(images.unsqueeze(1), labels)


def _idx(path: Path, magic: int, md5: str | None) -> Tensor:
    """One idx file as a tensor of bytes."""
    content = _content(path)
    dimensions = 3 if magic == _IMAGES else 1
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise truncated(path, start, len(content))
    number_read, *shape = (int(number) for number in np.frombuffer(content, ">i4", 1 + dimensions))
    if number_read != magic or min(shape) < 0:
        kind = "images" if magic == _IMAGES else "labels"
        raise UserError(f"{path} is not an idx file of {kind}: it begins with {number_read}, expected {magic}")
    expected = start + int(np.prod(shape))
    if len(content) != expected:
        raise truncated(path, expected, len(content))
    if md5:
        check_md5(path, md5_of_content(content), md5)
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())


def _content(path: Path) -> bytes:
    """A file's bytes, unpacked; of a gzipped file that ends too early, those that are there."""
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return unpacked(path)
    except zlib.error as error:
        raise UserError(f"{path} is damaged ({error}): delete it and get it again") from error


def _mnist(settings: Named, access: Access) -> Contents:
    return read(MNIST_FILES, access).named(settings.classes)


def _fashion_mnist(settings: Named, access: Access) -> Contents:
    return read(FASHION_MNIST_FILES, access).named(settings.classes)


MNIST = DataSet("mnist", "handwritten digits, 60,000 + 10,000 of 28 x 28, grey, 10 classes", _mnist, Named)
FASHION_MNIST = DataSet(
    "fashion_mnist", "pictures of clothes, 60,000 + 10,000 of 28 x 28, grey, 10 classes", _fashion_mnist, Named
)
