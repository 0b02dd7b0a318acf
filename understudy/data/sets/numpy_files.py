"""NumPy files: arrays ``x_train``, ``y_train``, ``x_test``, ``y_test``, or ``x``, ``y``; an .npz, or each a .npy."""

import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from understudy.data.dataset import MEMORY_LIMIT, Access, Contents, DataSet, Named
from understudy.data.sources import InMemory, Source, Streamed, as_targets
from understudy.errors import UserError
from understudy.tasks import Classification, Regression, Task
from understudy.tasks.unlabelled import Unlabelled

NAMES = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}


class Rows:
    """The rows of an array that stays on disk."""

    def __init__(self, x: np.ndarray, targets: Tensor):
        self.x, self.targets = x, targets

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return _as_samples(self.x[index : index + 1])[0], self.targets[index]


def read(settings: Named, access: Access) -> Contents:
    """The arrays of the training part; those of the test part when it is asked for."""
    root = access.root
    if root is None:
        raise UserError("the data set 'numpy' needs root: an .npz file, or a folder with x_train.npy and y_train.npy")
    x, y = _arrays(root, "train")
    if x is None:
        raise UserError(
            f"{root} holds no array x_train or x (an .npz file, or a folder with x_train.npy and y_train.npy)"
        )
    has_test = _arrays(root, "test")[0] is not None
    train = _source(root, "train", access)
    labels = access.labels and y is not None
    task: Task = Unlabelled(settings.classes or ())
    if labels and y is not None:
        task = Classification.of(train.targets, names=settings.classes) if y.ndim == 1 else Regression.of(train.targets)
    return Contents(train, partial(_source, root, "test", access) if has_test else None, task=task)


def _source(root: Path, part: str, access: Access) -> Source:
    x, y = _arrays(root, part)
    assert x is not None
    if y is not None and len(x) != len(y):
        raise UserError(f"{root}: {len(x)} samples and {len(y)} labels in the {part} part: there must be one for each")
    if not len(x):
        raise UserError(f"{root}: there are no samples in the {part} part")
    if not np.issubdtype(x.dtype, np.number) or np.iscomplexobj(x):
        raise UserError(f"{root}: the samples of the {part} part are of type {x.dtype}, and numbers are needed")
    targets = torch.zeros(len(x), dtype=torch.int64) if y is None else torch.as_tensor(np.array(y))
    if x.nbytes > MEMORY_LIMIT:
        return Streamed(Rows(x, targets), as_targets(targets), workers=access.workers)
    return InMemory(_as_samples(x), targets)


def _arrays(root: Path, part: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Samples and labels; None for those that are not there. Files of .npy stay on disk until they are read."""
    names = [NAMES[part], *([("x", "y")] if part == "train" else [])]
    for x_name, y_name in names:
        x = _array(root, x_name)
        if x is not None:
            return x, _array(root, y_name)
    return None, None


def _array(root: Path, name: str) -> np.ndarray | None:
    try:
        if root.is_dir():
            path = root / f"{name}.npy"
            return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None
        with np.load(root, allow_pickle=False) as archive:
            return archive[name] if name in archive.files else None
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{root}: the array {name} cannot be read ({error}): arrays of objects are not accepted"
        ) from error


def _as_samples(x: np.ndarray) -> Tensor:
    """Images of bytes as (N, C, H, W); anything else as it is, float64 as float32."""
    samples = torch.from_numpy(np.array(x))
    if samples.dtype == torch.float64:
        return samples.float()
    if samples.dtype == torch.uint8 and samples.ndim == 3:
        return samples.unsqueeze(1)
    if (
        samples.dtype == torch.uint8
        and samples.ndim == 4
        and samples.shape[3] in (1, 3)
        and samples.shape[1] not in (1, 3)
    ):
        return samples.permute(0, 3, 1, 2).contiguous()
    return samples if samples.dtype == torch.uint8 or samples.is_floating_point() else samples.float()


NUMPY = DataSet(
    "numpy", "your own arrays: ROOT.npz with x_train and y_train, or ROOT/x_train.npy and y_train.npy", read, Named
)
