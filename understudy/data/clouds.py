"""Clouds of points: padded to one number of points, and read from files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.tasks.detection3d import COUNT, POINTS

Points = npt.NDArray[np.float32]
SUFFIXES = (".npy", ".pcd.bin", ".bin")
OF_NUSCENES, OF_KITTI = 5, 4  # numbers of a point in the files of two data sets


def clouds(of_samples: Sequence[object], *, points: int | None = None) -> dict[str, Tensor]:
    """Clouds of differing size as inputs of a detection in space: ``points`` (N, P, F), padded, and ``count`` (N,).

    Args:
        of_samples: of each sample an array or tensor (points, F): x, y and z in metres, then any further numbers.
        points: P; of a cloud with more, as many are kept, evenly spaced in its order. By default the largest cloud's.

    >>> made = clouds([torch.zeros(2, 4), torch.ones(3, 4)])
    >>> made["points"].shape, made["count"].tolist()
    (torch.Size([2, 3, 4]), [2, 3])
    """
    arrays = list[Points]()
    for number, cloud in enumerate(of_samples):
        array = np.asarray(cloud, dtype=np.float32)
        if array.ndim != 2 or array.shape[1] < 3 or (arrays and array.shape[1] != arrays[0].shape[1]):
            known = f"(points, {arrays[0].shape[1]})" if arrays else "(points, 3 or more)"
            raise UserError(f"cloud {number} has shape {array.shape}; give {known}: x, y, z and further numbers")
        if not np.isfinite(array).all():
            raise UserError(f"cloud {number} has numbers that are not finite: leave these points out")
        arrays.append(array)
    if not arrays:
        raise UserError("there are no clouds")
    most = max(1, max(map(len, arrays))) if points is None else points
    padded = [padded_cloud(array, most) for array in arrays]
    return {
        POINTS: torch.from_numpy(np.stack([cloud for cloud, _ in padded])),
        COUNT: torch.tensor([count for _, count in padded]),
    }


def within(cloud: Points, side: float) -> Points:
    """The points in the square of this side around 0, 0.

    >>> len(within(np.float32([[0, 0, 9], [0, 5, 0]]), 8.0))
    1
    """
    return cloud[(np.abs(cloud[:, :2]) < side / 2).all(1)]


def padded_cloud(cloud: Points, points: int) -> tuple[Points, int]:
    """A cloud with zeros up to this many points, and how many there are; of a larger one, points evenly spaced."""
    count = len(cloud)
    if count > points:
        return np.ascontiguousarray(cloud[np.arange(points) * count // points]), points
    whole = np.zeros((points, cloud.shape[1]), np.float32)
    whole[:count] = cloud
    return whole, count


def read_cloud(path: Path, numbers: int) -> Points:
    """The points of a file, (points, numbers); numbers that the file does not have are 0.

    Of a ``.pcd.bin`` of nuScenes x, y, z and the intensity (divided by 255) are read, of a ``.bin`` of KITTI all four
    numbers, of a ``.npy`` all that there are.
    """
    try:
        if path.suffix == ".npy":
            cloud = np.load(path, allow_pickle=False)
            if cloud.ndim != 2 or cloud.shape[1] != numbers:
                raise UserError(f"{path} holds an array of shape {cloud.shape}; it must be (points, {numbers})")
            return _finite(np.asarray(cloud, np.float32), path)
        columns = OF_NUSCENES if path.name.endswith(".pcd.bin") else OF_KITTI
        content = path.read_bytes()
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if not content or len(content) % (4 * columns):
        raise UserError(f"{path} is damaged: {len(content)} bytes are no points of {columns} numbers each")
    values = _finite(np.frombuffer(content, "<f4").reshape(-1, columns), path)
    cloud = np.zeros((len(values), numbers), np.float32)
    used = min(4, numbers)
    cloud[:, :used] = values[:, :used]
    if columns == OF_NUSCENES:
        cloud[:, 3:4] /= 255  # its intensities are whole numbers up to 255
    return cloud


def _finite(cloud: Points, path: Path) -> Points:
    if not np.isfinite(cloud).all():
        raise UserError(f"{path} is damaged: it has numbers that are not finite")
    return cloud
