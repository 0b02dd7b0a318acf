"""CIFAR-10 and CIFAR-100 from their official binary versions."""

import hashlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from understudy.data.dataset import Access, Contents, DataSet, Named, check_md5, truncated
from understudy.data.fetch import Remote, provide_members
from understudy.data.sources import InMemory
from understudy.errors import UserError

_PIXELS = 3 * 32 * 32
_CHUNK = 1000  # records that are read at once


@dataclass(frozen=True)
class Form:
    """Where the files are, and their form: ``label_bytes`` labels (the last one counts), then pixels, per record."""

    folder: str
    archive: Remote
    train: dict[str, str | None]  # file -> md5 or None
    test: dict[str, str | None]
    records: tuple[int, int]  # in each training file, in each test file
    label_bytes: int
    names_file: str
    classes: tuple[str, ...]


CIFAR10_FILES = Form(
    folder="cifar-10-batches-bin",
    archive=Remote(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
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
CIFAR100_FILES = Form(
    folder="cifar-100-binary",
    archive=Remote(
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
    train={"train.bin": None},
    test={"test.bin": None},
    records=(50_000, 10_000),
    label_bytes=2,
    names_file="fine_label_names.txt",
    classes=tuple(str(number) for number in range(100)),
)


def read(which: Form, access: Access) -> Contents:
    """Reads the training files; the test file must exist in its full size and is read on first use."""
    folder = access.folder / which.folder
    provide_members(which.archive, folder, [*which.train, *which.test], access, also=[which.names_file])
    for names, records in zip((which.train, which.test), which.records, strict=True):
        for name in names:
            _check_size(folder / name, which, records if access.verify else None)
    return Contents(
        train=_records(which, folder, which.train, access.verify),
        open_test=partial(_records, which, folder, which.test, access.verify),
        classes=_names(which, folder / which.names_file),
        facts={"folder": str(folder), "verified": access.verify and all(which.train.values())},
    )


def _check_size(path: Path, which: Form, records: int | None) -> None:
    """The published number of records, or any whole number of them."""
    record, size = which.label_bytes + _PIXELS, path.stat().st_size
    expected = records * record if records else max(1, -(-size // record)) * record
    if size != expected:
        raise truncated(path, expected, size)


def _records(which: Form, folder: Path, files: dict[str, str | None], verify: bool) -> InMemory:
    record = which.label_bytes + _PIXELS
    counts = {name: (folder / name).stat().st_size // record for name in files}
    images, labels = np.empty((sum(counts.values()), _PIXELS), np.uint8), np.empty(sum(counts.values()), np.int64)
    chunk, place = np.empty((_CHUNK, record), np.uint8), 0  # files are not in memory as a whole beside the images
    for name, count in counts.items():
        published, content, end = files[name] if verify else None, hashlib.md5(usedforsecurity=False), place + count
        with (folder / name).open("rb") as file:
            while place < end:
                records = chunk[: end - place]
                if (size := file.readinto(records.reshape(-1).data)) != records.size:
                    raise truncated(folder / name, count * record, place * record + size)
                images[place : place + len(records)] = records[:, which.label_bytes :]
                labels[place : place + len(records)] = records[:, which.label_bytes - 1]
                place += len(records)
                if published:
                    content.update(records.data)
        if published:
            check_md5(folder / name, content.hexdigest(), published)
    return InMemory(torch.from_numpy(images).reshape(-1, 3, 32, 32), torch.from_numpy(labels))


def _names(which: Form, path: Path) -> tuple[str, ...]:
    """The class names from the file that comes with the data, if it came along."""
    if not path.exists():
        return which.classes
    names = tuple(path.read_text(encoding="utf-8", errors="replace").split())
    if len(names) != len(which.classes):
        raise UserError(f"{path} names {len(names)} classes, expected {len(which.classes)}: delete it or mend it")
    return names


def _cifar10(settings: Named, access: Access) -> Contents:
    return read(CIFAR10_FILES, access).named(settings.classes)


def _cifar100(settings: Named, access: Access) -> Contents:
    return read(CIFAR100_FILES, access).named(settings.classes)


CIFAR10 = DataSet("cifar10", "photographs, 50,000 + 10,000 of 32 x 32, colour, 10 classes", _cifar10, Named)
CIFAR100 = DataSet("cifar100", "photographs, 50,000 + 10,000 of 32 x 32, colour, 100 classes", _cifar100, Named)
