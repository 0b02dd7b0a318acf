"""CIFAR-10 and CIFAR-100 from their official binary versions."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from understudy.data.download import Remote, provide_members
from understudy.data.reading import Found, Options, check_md5, md5_of_content, truncated
from understudy.data.sources import InMemory
from understudy.errors import UserError

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Set:
    """Where the files are, and their form: ``label_bytes`` labels (the last one counts), then pixels, per record."""

    folder: str
    archive: Remote
    train: dict[str, str | None]  # file -> md5 where one is known
    test: dict[str, str | None]
    records: tuple[int, int]  # in each training file, in each test file
    label_bytes: int
    names_file: str
    classes: tuple[str, ...]


CIFAR10 = _Set(
    folder="cifar-10-batches-bin",
    archive=Remote("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    train={
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    },
    test={"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"},
    records=(10_000, 10_000),
    label_bytes=1,
    names_file="batches.meta.txt",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR100 = _Set(
    folder="cifar-100-binary",
    archive=Remote("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
    train={"train.bin": None},
    test={"test.bin": None},
    records=(50_000, 10_000),
    label_bytes=2,
    names_file="fine_label_names.txt",
    classes=tuple(str(number) for number in range(100)),
)


def read(which: _Set, root: Path, options: Options) -> Found:
    """The training files now; the test file must be there in its full size, but is read when it is asked for."""
    folder = root / which.folder
    provide_members(which.archive, folder, [*which.train, *which.test], options, also=[which.names_file])
    for names, records in zip((which.train, which.test), which.records, strict=True):
        for name in names:
            _check_size(folder / name, which, records if options.verify else None)
    return Found(
        train=_records(which, folder, which.train, options.verify),
        open_test=partial(_records, which, folder, which.test, options.verify),
        classes=_names(which, folder / which.names_file),
        facts={"folder": str(folder), "verified": options.verify and all(which.train.values())},
    )


def _check_size(path: Path, which: _Set, records: int | None) -> None:
    """The published number of records, or any whole number of them."""
    record, found = which.label_bytes + _PIXELS, path.stat().st_size
    expected = records * record if records else max(1, -(-found // record)) * record
    if found != expected:
        raise truncated(path, expected, found)


def _records(which: _Set, folder: Path, files: dict[str, str | None], verify: bool) -> InMemory:
    contents = []
    for name, md5 in files.items():
        content = (folder / name).read_bytes()
        if verify and md5:
            check_md5(folder / name, md5_of_content(content), md5)
        contents.append(np.frombuffer(content, np.uint8).reshape(-1, which.label_bytes + _PIXELS))
    images = np.empty((sum(map(len, contents)), 3, 32, 32), np.uint8)
    np.concatenate([records[:, which.label_bytes :] for records in contents], out=images.reshape(len(images), _PIXELS))
    labels = np.concatenate([records[:, which.label_bytes - 1] for records in contents]).astype(np.int64)
    return InMemory(torch.from_numpy(images), torch.from_numpy(labels))


def _names(which: _Set, path: Path) -> tuple[str, ...]:
    """The class names from the file that comes with the data, if it came along."""
    if not path.exists():
        return which.classes
    names = tuple(path.read_text(encoding="utf-8", errors="replace").split())
    if len(names) != len(which.classes):
        raise UserError(f"{path} names {len(names)} classes, expected {len(which.classes)}: delete it or mend it")
    return names
