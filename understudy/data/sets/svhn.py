"""SVHN's cropped digits (format 2) from their .mat files; reading them needs SciPy."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from understudy.data.dataset import Access, Contents, DataSet, Named, check_md5, file_hash
from understudy.data.fetch import Remote, provide
from understudy.data.sources import InMemory
from understudy.errors import OptionalPackageError, UserError

_ADDRESS = "https://ufldl.stanford.edu/housenumbers/"
_SHA256 = {
    "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    "extra_32x32.mat": "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
}
_MD5 = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
    "extra_32x32.mat": "a93ce644f1a588dc4d68dda5feec44a7",
}


@dataclass(frozen=True)
class Settings(Named):
    """SVHN's own settings.

    Args:
        classes: the digits' names in the order of their numbers.
        extra: train on the 531,131 extra images, too.
    """

    extra: bool = False


def read(settings: Settings, access: Access) -> Contents:
    """Reads train (and extra after it, if set); test must exist and is read on first use."""
    _loadmat()  # a missing SciPy is reported before anything is downloaded
    root = access.folder
    folder = root if (root / "train_32x32.mat").exists() else root / "SVHN"
    names = ["train_32x32.mat", *(["extra_32x32.mat"] if settings.extra else [])]
    for name in [*names, "test_32x32.mat"]:
        provide(Remote(_ADDRESS + name, f"sha256:{_SHA256[name]}"), folder / name, access)
    return Contents(
        train=_joined([folder / name for name in names], access.verify),
        open_test=partial(_joined, [folder / "test_32x32.mat"], access.verify),
        classes=tuple("0123456789"),
        facts={"folder": str(folder), "verified": access.verify, "extra": settings.extra},
    ).named(settings.classes)


def _joined(paths: list[Path], verify: bool) -> InMemory:
    images, labels = zip(*(_read(path, verify) for path in paths), strict=True)
    return InMemory(torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels)))


def _read(path: Path, verify: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) and labels of one file, in which the digit 0 has the label 10."""
    if verify:
        check_md5(path, file_hash(path, "md5"), _MD5[path.name])
    try:
        content = _loadmat()(str(path), variable_names=["X", "y"])
    except Exception as error:  # SciPy raises many kinds for a damaged file
        raise UserError(f"{path} is not a readable .mat file ({error}): delete it and get it again") from error
    if "X" not in content or "y" not in content:
        raise UserError(f"{path} holds no X and y: it is not one of SVHN's cropped-digit files")
    pixels, labels = np.asarray(content["X"]), np.asarray(content["y"]).astype(np.int64).ravel()
    if pixels.ndim == 3:  # MATLAB drops a last dimension of 1
        pixels = pixels[..., None]
    if pixels.shape[:3] != (32, 32, 3) or pixels.dtype != np.uint8:
        raise UserError(f"{path}: X is {pixels.dtype} of shape {pixels.shape}, expected uint8 of (32, 32, 3, N)")
    if pixels.shape[3] != len(labels):
        raise UserError(f"{path} holds {pixels.shape[3]} images, but {len(labels)} labels")
    return np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), np.where(labels == 10, 0, labels)


def _loadmat():  # type: ignore[no-untyped-def]  # SciPy is optional and carries no types
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise OptionalPackageError("scipy", "svhn", "reading SVHN") from error
    return loadmat


SVHN = DataSet(
    "svhn",
    "house numbers, 73,257 (+ 531,131 with extra=True) + 26,032 of 32 x 32, colour, 10 classes",
    read,
    Settings,
)
