"""The data sets that are known by name."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from understudy.data import cifar, demo, folder, mnist, svhn
from understudy.data.parts import Data
from understudy.data.reading import Found, Options, Progress, assembled, plain_errors
from understudy.errors import UserError, did_you_mean


@dataclass(frozen=True)
class _Entry:
    about: str
    read: Callable[[Path, Options], Found]
    settings: frozenset[str] = frozenset()  # those that not every data set has


_KNOWN = {
    "mnist": _Entry(
        "handwritten digits, 60,000 + 10,000 of 28 x 28, grey, 10 classes",
        lambda root, options: mnist.read(mnist.MNIST, root, options),
    ),
    "fashion_mnist": _Entry(
        "pictures of clothes, 60,000 + 10,000 of 28 x 28, grey, 10 classes",
        lambda root, options: mnist.read(mnist.FASHION_MNIST, root, options),
    ),
    "cifar10": _Entry(
        "photographs, 50,000 + 10,000 of 32 x 32, colour, 10 classes",
        lambda root, options: cifar.read(cifar.CIFAR10, root, options),
    ),
    "cifar100": _Entry(
        "photographs, 50,000 + 10,000 of 32 x 32, colour, 100 classes",
        lambda root, options: cifar.read(cifar.CIFAR100, root, options),
    ),
    "svhn": _Entry(
        "house numbers, 73,257 (+ 531,131 with extra=True) + 26,032 of 32 x 32, colour, 10 classes",
        svhn.read,
        frozenset({"extra"}),
    ),
    "folder": _Entry(
        "your own images: ROOT/train/CLASS/*.png and ROOT/test/CLASS/*.png, brought to size=...",
        folder.read,
        frozenset({"size", "channels"}),
    ),
    "demo": _Entry(
        "5,000 + 5,000 images of Fashion-MNIST that ship with the package",
        lambda root, options: demo.read(),
    ),
}


def names() -> dict[str, str]:
    """The names that ``load`` knows, with one line about each."""
    return {name: entry.about for name, entry in _KNOWN.items()}


def default_root() -> Path:
    """The data folder: $UNDERSTUDY_DATA, or one in the user's cache."""
    return Path(os.environ.get("UNDERSTUDY_DATA") or "~/.cache/understudy/data").expanduser()


def load(
    name: str,
    root: str | os.PathLike[str] | None = None,
    *,
    validation: int | float = 0.1,
    seed: int = 0,
    classes: Sequence[str] | None = None,
    workers: int = 2,
    verify: bool = True,
    download: bool = True,
    progress: Progress | None = None,
    size: int | None = None,
    channels: int | None = None,
    extra: bool | None = None,
) -> Data:
    """A data set by its name, read from its upstream files, which are downloaded where they are missing.

    Args:
        name: one of ``names()``.
        root: the data folder ($UNDERSTUDY_DATA or ~/.cache/understudy/data); for 'folder' the images' own folder.
        validation: how many training samples select instead (a number, or a share below 1; 0 for none).
        seed: which samples these are.
        classes: the classes' names in the order of their numbers (for 'folder': of the folders).
        workers: processes that read what does not fit in memory.
        verify: refuse files that are not the published ones.
        download: get missing files from their upstream address.
        progress: called with (file name, bytes so far, bytes in all or None) while downloading.
        size: for 'folder': height and width that the images are brought to.
        channels: for 'folder': 3 (colour, the default) or 1 (grey).
        extra: for 'svhn': train on the extra images, too.

    Example: ``load("cifar10", "data", validation=5000)``
    """
    if name not in _KNOWN:
        raise UserError(f"there is no data set {name!r}{did_you_mean(name, _KNOWN)}")
    _check_settings(name, size=size, channels=channels, extra=extra)
    if name == "folder" and root is None:
        raise UserError("load('folder') needs root, the folder that holds train/CLASS/ with the images")
    options = Options(
        verify=verify,
        download=download,
        progress=progress,
        workers=workers,
        classes=tuple(classes) if classes else None,
        size=size,
        channels=3 if channels is None else channels,
        extra=bool(extra),
    )
    with plain_errors():
        found = _KNOWN[name].read(Path(root).expanduser() if root is not None else default_root(), options)
    return assembled(_renamed(name, found, options.classes), name=name, validation=validation, seed=seed)


def _check_settings(name: str, **settings: object) -> None:
    """A setting that would have no effect is refused."""
    for setting, value in settings.items():
        if value is not None and setting not in _KNOWN[name].settings:
            owner = next(known for known, entry in _KNOWN.items() if setting in entry.settings)
            raise UserError(f"{setting} is a setting of {owner!r}; {name!r} has none of that name: leave it out")


def _renamed(name: str, found: Found, classes: tuple[str, ...] | None) -> Found:
    if classes is None:
        return found
    if len(classes) != len(found.classes):
        raise UserError(f"{name} has {len(found.classes)} classes, but classes= names {len(classes)}")
    return replace(found, classes=classes)
