"""NumPy files: arrays ``x_train``, ``y_train``, ``x_test``, ``y_test``, or ``x``, ``y``; an .npz, or each a .npy.

``x_val`` and ``y_val`` are the validation part beside a test part, and without one the test part.
"""

import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from understudy.data.dataset import (
    MODEST,
    Access,
    Contents,
    DataSet,
    Named,
    check_targets,
    memory_for_samples,
    problems_of,
    task_of,
    warn_of_unread,
)
from understudy.data.sources import InMemory, Source, Streamed, as_targets
from understudy.errors import UserError
from understudy.tasks import Task
from understudy.tasks.unlabelled import Unlabelled

# What numpy raises for files that are damaged, are no arrays, or hold objects, which would be unpickled.
UNREADABLE = ValueError, EOFError, KeyError, TypeError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error
NAMES = {"train": ("x_train", "y_train"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")}
WHOLE = ("x", "y")  # of the training part, where nothing else is there


class Rows:
    """The rows of an array that stays on disk."""

    def __init__(self, x: np.ndarray, targets: Tensor):
        self.x, self.targets = x, targets

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return samples_of(self.x[index : index + 1])[0], self.targets[index]


def read(settings: Named, access: Access) -> Contents:
    """The arrays of the training and validation part; those of the test part when it is asked for."""
    root = access.root
    if root is None:
        raise UserError("the data set 'numpy' needs root: an .npz file, or a folder with x_train.npy and y_train.npy")
    x, y = _arrays(root, "train")
    if x is None:
        raise UserError(
            f"{root} holds no array x_train or x (an .npz file, or a folder with x_train.npy and y_train.npy)"
        )
    there = [part for part in ("validation", "test") if _arrays(root, part)[0] is not None]
    names = _names(root)
    used = {*(NAMES["train"] if "x_train" in names else WHOLE), *(name for part in there for name in NAMES[part])}
    unread = [name for name in names if name[:2] in ("x", "y", "x_", "y_") and name not in used]
    warn_of_unread(root, unread, "x_train, x_val and x_test, and y likewise")
    labelled = access.labels and y is not None
    train = _source(root, "train", access, labelled=labelled)
    task: Task = Unlabelled(settings.classes or ())
    if labelled:
        assert isinstance(train.targets, Tensor)
        task = task_of(train.targets, settings.classes)
    make = partial(_source, root, access=access, labelled=labelled)

    def look() -> None:
        _, y = _pair(root, there[-1], labelled=labelled)
        if labelled and y is not None:
            check_targets(as_targets(_as_labels(y)), task, f"{root}: the {there[-1]} part")

    return Contents(
        train,
        partial(make, there[-1]) if there else None,
        task=task,
        validation=make("validation") if there == ["validation", "test"] else None,
        problems=problems_of(look) if there else None,
    )


def _source(root: Path, part: str, access: Access, *, labelled: bool) -> Source:
    x, y = _pair(root, part, labelled=labelled)
    targets = torch.zeros(len(x), dtype=torch.int64) if y is None else _as_labels(y)
    streamed = Streamed(Rows(x, targets), as_targets(targets), workers=access.workers)
    if x.nbytes > memory_for_samples(access.memory):
        return streamed
    return InMemory(samples_of(x), targets, read_from=streamed if x.nbytes > MODEST else None)


def _pair(root: Path, part: str, *, labelled: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The samples and labels of a part, of which there is one for each and which are numbers."""
    x, y = _arrays(root, part)
    assert x is not None
    if labelled and y is None:
        raise UserError(f"{root}: the {part} part has no labels ({NAMES[part][1]}), and the training part has")
    if y is not None and len(x) != len(y):
        raise UserError(f"{root}: {len(x)} samples and {len(y)} labels in the {part} part: there must be one for each")
    if not len(x):
        raise UserError(f"{root}: there are no samples in the {part} part")
    for what, array, kinds in (("samples", x, "uif"), ("labels", y, "uifb")):
        if array is not None and (array.dtype.kind not in kinds or array.dtype.itemsize > 8):
            raise UserError(f"{root}: the {what} of the {part} part are of type {array.dtype}, and numbers are needed")
    return x, y


def _arrays(root: Path, part: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Samples and labels; None for those that are not there. Files of .npy stay on disk until they are read."""
    names = [NAMES[part], *([WHOLE] if part == "train" else [])]
    for x_name, y_name in names:
        x = _array(root, x_name)
        if x is not None:
            return x, _array(root, y_name)
    return None, None


def _names(root: Path) -> list[str]:
    """The names of all arrays."""
    if root.is_dir():
        return sorted(path.stem for path in root.glob("*.npy"))
    with np.load(root, allow_pickle=False) as archive:
        return sorted(archive.files)


def _array(root: Path, name: str) -> np.ndarray | None:
    try:
        if root.is_dir():
            path = root / f"{name}.npy"
            array: object = np.lib.format.open_memmap(path, mode="r") if path.is_file() else None
        else:
            archive = np.load(root, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UserError(f"{root} is no .npz file: give one, or the folder of x_train.npy and y_train.npy")
            with archive:
                array = archive[name] if name in archive.files else None
    except UNREADABLE as error:
        raise UserError(
            f"{root}: the array {name} cannot be read ({str(error).partition('. ')[0]}); arrays of objects are not "
            "accepted"
        ) from error
    if array is not None and (not isinstance(array, np.ndarray) or not array.ndim):
        raise UserError(f"{root}: {name} is no array with a row for each sample")
    return array


def samples_of(x: np.ndarray) -> Tensor:
    """Images as (N, C, H, W), also those with their channels last, and bytes of (N, H, W); float64 as float32."""
    samples = _tensor(x)
    if samples.dtype == torch.uint8 and samples.ndim == 3:
        samples = samples.unsqueeze(1)
    elif samples.ndim == 4 and samples.shape[3] in (1, 3) and samples.shape[1] not in (1, 3):
        samples = samples.permute(0, 3, 1, 2).contiguous()
    narrow = samples.dtype in (torch.uint8, torch.float16, torch.float32)
    return samples if narrow else samples.float()


def _as_labels(y: np.ndarray) -> Tensor:
    """Whole numbers in a single column are class numbers, as those of Keras."""
    labels = _tensor(y)
    column = labels.ndim == 2 and labels.shape[1] == 1 and not labels.is_floating_point()
    return labels.squeeze(1) if column else labels


def _tensor(array: np.ndarray) -> Tensor:
    """A copy in this machine's order of bytes."""
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


NUMPY = DataSet(
    "numpy",
    "your own arrays: ROOT.npz with x_train and y_train, or ROOT/x_train.npy and y_train.npy",
    read,
    Named,
    suffixes=(".npz", ".npy"),
)
