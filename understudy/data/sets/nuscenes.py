"""nuScenes' lidar clouds and boxes, in the upstream form: the tables of a version, ``samples/`` and ``sweeps/``.

Boxes are brought to the frame of the lidar (x to the right, y ahead, z up), by the poses of vehicle and sensor.
Classes, velocities, parts and what is left out are those of nuscenes-devkit 1.2: boxes without a point of lidar or
radar are dropped, and bicycles and motorcycles in a rack are ignored. Two differences are small: the ranges of the
classes are measured from the lidar, which is a metre ahead of the vehicle's origin, and a bicycle that is found in a
rack where none is annotated is wrong.
"""

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from understudy.bounds import Count, Interval
from understudy.data.clouds import padded_cloud, read_cloud, within
from understudy.data.dataset import FEW, Access, Contents, DataSet, kept, memory_for_samples
from understudy.data.sources import Source, Streamed
from understudy.errors import UserError
from understudy.tasks.boxes import padded
from understudy.tasks.detection3d import COUNT, POINTS, Detection3D

Array: TypeAlias = npt.NDArray[np.floating]
Row: TypeAlias = Mapping[str, object]

OF_CLASSES = {  # categories, by the names of the ten classes of the benchmark
    "car": ("vehicle.car",),
    "truck": ("vehicle.truck",),
    "bus": ("vehicle.bus.bendy", "vehicle.bus.rigid"),
    "trailer": ("vehicle.trailer",),
    "construction_vehicle": ("vehicle.construction",),
    "pedestrian": tuple(
        f"human.pedestrian.{kind}" for kind in ("adult", "child", "construction_worker", "police_officer")
    ),
    "motorcycle": ("vehicle.motorcycle",),
    "bicycle": ("vehicle.bicycle",),
    "traffic_cone": ("movable_object.trafficcone",),
    "barrier": ("movable_object.barrier",),
}
CLASSES = tuple(OF_CLASSES)
NUMBERS = {category: number for number, name in enumerate(CLASSES) for category in OF_CLASSES[name]}
RANGES = (50.0,) * 5 + (40.0,) * 3 + (30.0,) * 2  # metres
RACK, PARKED = "static_object.bicycle_rack", ("motorcycle", "bicycle")
UPRIGHT = 0.5  # cosine of the farthest that the vertical axis of a box or of the lidar may lean
LONGEST_STEP = 1.5  # seconds between two annotations by which a velocity is known
CLOSE = 1.0  # metres: points of earlier sweeps nearer to the sensor are of the vehicle itself
OF_VALIDATION = 8  # every eighth scene of the training split
MINI_VALIDATION = (103, 916)  # the numbers of the scenes of the official test parts
VALIDATION = (
    "3 12-18 35-36 38-39 92-110 221 268-278 329-332 344-346 519-524 552-565 625-627 629-630 632-638 770-771 775 "
    "777-778 780-784 794-800 802 904-917 919-931 962-963 966-969 971-972 1059-1073"
)
TABLES = (
    "scene", "sample", "sample_data", "sample_annotation", "calibrated_sensor", "ego_pose", "instance", "category",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """What is read of the clouds.

    Args:
        version: the folder of the tables, such as ``"v1.0-trainval"``; by default the one that is there.
        side: of the square around the sensor, in metres.
        points: of each cloud; of one with more in the square, as many are kept, evenly spaced in its order.
        sweeps: how many clouds are one sample: earlier ones are moved to the frame of the last, and a fifth number of
            each point says by how many seconds it is older. Velocities can hardly be seen in a single one.
    """

    version: str = ""
    side: Annotated[int, Interval(ge=1, le=10_000)] = 104
    points: Count = 30_000
    sweeps: Annotated[int, Interval(ge=1, le=100)] = 1


def read(settings: Settings, access: Access) -> Contents:
    """The training scenes without every eighth, which are the validation part; the official ones for the test part."""
    root, version = _found(access.folder, settings.version)
    tables = Tables.read(root / version, settings.sweeps)
    mini = version.endswith("mini")
    tested = set(MINI_VALIDATION) if mini else set(_numbers(VALIDATION))
    scenes = sorted((str(row["name"]), str(row["token"])) for row in tables.rows["scene"])
    test = [token for name, token in scenes if _number(name) in tested]
    train = [token for name, token in scenes if _number(name) not in tested]
    validation = train[OF_VALIDATION - 1 :: OF_VALIDATION] or train[1:][-1:]
    frames = tables.frames(root)
    if not any(frame.classes for token in train for frame in frames[token]):
        raise UserError(
            f"{root / version}: the training scenes have no box of any class ({', '.join(CLASSES)}): take a "
            "version with annotations, such as v1.0-trainval"
        )
    parts = [
        [frame for token in tokens for frame in frames[token]]
        for tokens in ([token for token in train if token not in validation], validation, test)
    ]
    task = Detection3D(
        CLASSES,
        side=settings.side,
        velocity=True,
        ranges=RANGES,
        symmetric=("barrier",),
        without_heading=("traffic_cone",),
        without_velocity=("traffic_cone", "barrier"),
    )
    first, second, third = (partial(_source, part, settings, access) for part in parts)
    return Contents(
        first(),
        third if parts[2] else None,
        task=task,
        facts={"folder": str(root / version), "scenes": len(train) - len(validation), "test scenes": len(test)},
        problems=partial(_missing, [frame for part in parts for frame in part]),
        validation=second() if parts[1] else None,
        divisible=False,
    )


def _found(folder: Path, version: str) -> tuple[Path, str]:
    """The root of the data set, and the folder of its tables in it."""
    for root in (folder / "nuscenes", folder):
        for name in [version] if version else ("v1.0-trainval", "v1.0-mini"):
            if (root / name / "sample.json").is_file():
                return root, name
    raise UserError(
        f"{folder} holds no nuScenes (a folder {version or 'v1.0-trainval or v1.0-mini'} with sample.json and other "
        "tables, beside samples/LIDAR_TOP): get it from https://www.nuscenes.org and unpack it there"
    )


def _numbers(ranges: str) -> Iterator[int]:
    for part in ranges.split():
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


def _number(scene: str) -> int:
    digits = scene.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else -1


@dataclass(frozen=True)
class Frame:
    """A keyframe of the lidar: files with the way into its frame and their age in seconds, and the boxes around it."""

    sweeps: tuple[tuple[Path, Array, float], ...]
    boxes: list[list[float]] = field(default_factory=list)
    classes: list[int] = field(default_factory=list)
    ignored: list[bool] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.sweeps[0][0]


@dataclass(frozen=True)
class Tables:
    """The tables of a version, as lists of rows."""

    folder: Path
    rows: Mapping[str, Sequence[Row]]
    count: int  # of sweeps

    @classmethod
    def read(cls, folder: Path, count: int) -> "Tables":
        rows = {}
        for name in TABLES:
            path = folder / f"{name}.json"
            try:
                content = json.loads(path.read_bytes())
                if name == "sample_data":  # most rows are of cameras and radars
                    content = [row for row in content if "LIDAR_TOP" in Path(str(row["filename"])).parts]
                rows[name] = content
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise UserError(f"{path} is not in the form of nuScenes' tables: {error}") from error
        return cls(folder, rows, count)

    def check(self) -> None:
        """Raises a ``ValueError`` for rows of which others, that they belong to, are not there."""
        for name, of_name, key in (("sample_annotation", "sample", "sample_token"), ("sample", "scene", "scene_token")):
            lost = {str(row[key]) for row in self.rows[name]} - self._of[of_name].keys()
            if lost:
                raise ValueError(f"{name}.json has rows of {min(lost)!r}, which is not in {of_name}.json")
        empty = self._of["scene"].keys() - {str(row["scene_token"]) for row in self.rows["sample"]}
        if empty:
            raise ValueError(f"sample.json has no row of the scene {min(empty)!r}")
        missing = NUMBERS.keys() - {str(row["name"]) for row in self.rows["category"]}
        if missing:
            warnings.warn(
                f"{self.folder / 'category.json'} names no {', '.join(sorted(missing))}: no such object is learned",
                stacklevel=2,
            )

    def frames(self, root: Path) -> dict[str, list[Frame]]:
        """The keyframes of each scene, by its token, in the order of time."""
        try:
            self.check()
            sweeps = {str(row["token"]): row for row in self.rows["sample_data"]}
            keys = {str(row["sample_token"]): row for row in self.rows["sample_data"] if row["is_key_frame"]}
            annotated: dict[str, list[Row]] = {}
            for row in self.rows["sample_annotation"]:
                annotated.setdefault(str(row["sample_token"]), []).append(row)
            found: dict[str, list[Frame]] = {}
            for sample in sorted(self.rows["sample"], key=lambda row: int(str(row["timestamp"]))):
                token = str(sample["token"])
                frame = self._frame(root, keys[token], sweeps, annotated.get(token, []))
                found.setdefault(str(sample["scene_token"]), []).append(frame)
            return found
        except (KeyError, TypeError, ValueError) as error:
            reason = f"there is no row or entry {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{self.folder}: the tables are not in the form of nuScenes': {reason}") from error

    def _frame(self, root: Path, key: Row, sweeps: Mapping[str, Row], annotated: Sequence[Row]) -> Frame:
        into = np.linalg.inv(self._pose(key))
        listed, row = [(_inside(root, key), np.eye(4), 0.0)], key
        while len(listed) < self.count and row["prev"]:
            row = sweeps[str(row["prev"])]
            age = (int(str(key["timestamp"])) - int(str(row["timestamp"]))) / 1e6
            listed.append((_inside(root, row), into @ self._pose(row), age))
        frame = Frame(tuple(listed))
        racks = [one for one in annotated if self._category(one) == RACK]
        for one in annotated:
            number = NUMBERS.get(self._category(one))
            if number is not None and int(str(one["num_lidar_pts"])) + int(str(one["num_radar_pts"])):
                frame.boxes.append(self._box(one, into))
                frame.classes.append(number)
                parked = CLASSES[number] in PARKED and any(_holds(rack, one) for rack in racks)
                frame.ignored.append(parked)
        return frame

    def _pose(self, row: Row) -> Array:
        """From the frame of the lidar at this moment to the global one."""
        pose = _matrix(self._of["ego_pose"][str(row["ego_pose_token"])])
        return _upright(pose @ _matrix(self._of["calibrated_sensor"][str(row["calibrated_sensor_token"])]), row)

    def _category(self, annotation: Row) -> str:
        instance = self._of["instance"][str(annotation["instance_token"])]
        return str(self._of["category"][str(instance["category_token"])]["name"])

    def _box(self, row: Row, into: Array) -> list[float]:
        whole = into @ _upright(_matrix(row), row)
        width, length, height = _floats(row["size"])
        speed = into[:2, :3] @ self._velocity(row)
        heading = float(np.arctan2(whole[1, 0], whole[0, 0]))
        return [*whole[:3, 3].tolist(), length, width, height, heading, *speed.tolist()]

    def _velocity(self, row: Row) -> Array:
        """In the global frame, by the annotations of the same object before and after; NaN where it is unknown."""
        annotations, samples = self._of["sample_annotation"], self._of["sample"]
        before, after = (annotations[str(row[way])] if row[way] else row for way in ("prev", "next"))
        first, last = (int(str(samples[str(one["sample_token"])]["timestamp"])) for one in (before, after))
        longest = LONGEST_STEP * (2 if row["prev"] and row["next"] else 1)
        seconds = (last - first) / 1e6
        if not 0 < seconds <= longest:
            return np.full(3, np.nan)
        way: Array = np.array(_floats(after["translation"])) - np.array(_floats(before["translation"]))
        return way / seconds

    @cached_property
    def _of(self) -> dict[str, dict[str, Row]]:
        """The rows of each table by their tokens."""
        return {name: {str(row["token"]): row for row in rows} for name, rows in self.rows.items()}


def _floats(value: object) -> list[float]:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is no list of numbers")
    numbers = [float(one) for one in value]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{value!r} are not finite numbers")
    return numbers


def _matrix(row: Row) -> Array:
    """The 4 x 4 matrix of a row's rotation, a quaternion w, x, y, z, and translation."""
    rotation = _floats(row["rotation"])
    if len(rotation) != 4 or abs(math.hypot(*rotation) - 1) > 0.01:
        raise ValueError(f"the rotation of {row['token']!r} is no quaternion of length 1: {rotation}")
    w, x, y, z = np.array(rotation) / np.linalg.norm(rotation)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = _floats(row["translation"])
    return matrix


def _upright(matrix: Array, row: Row) -> Array:
    """The same pose, whose vertical axis is about that of the world: boxes and lidars of nuScenes stand upright."""
    if matrix[2, 2] < UPRIGHT:
        raise ValueError(f"{row['token']!r} lies on its side or its head: a rotation is a quaternion w, x, y, z")
    return matrix


def _holds(rack: Row, one: Row) -> bool:
    """Whether the centre of an annotation is in the box of a rack."""
    width, length, height = _floats(rack["size"])
    own = np.linalg.inv(_matrix(rack)) @ np.array([*_floats(one["translation"]), 1.0])
    return bool((np.abs(own[:3]) <= np.array([length, width, height]) / 2).all())


def _inside(root: Path, row: Row) -> Path:
    name = Path(str(row["filename"]))
    if name.is_absolute() or ".." in name.parts:
        raise ValueError(f"the file {str(name)!r} is outside {root}")
    return root / name


class Clouds:
    """The keyframes as a map-style dataset of padded clouds."""

    def __init__(self, frames: Sequence[Frame], settings: Settings):
        self.frames, self.settings = frames, settings

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], int]:
        numbers = 4 if self.settings.sweeps == 1 else 5
        found = []
        for place, (path, into, age) in enumerate(self.frames[index].sweeps):
            cloud = read_cloud(path, numbers)
            if place:
                cloud = cloud[(np.abs(cloud[:, :2]) >= CLOSE).any(1)]
                cloud[:, :3] = cloud[:, :3] @ into[:3, :3].T + into[:3, 3]
                cloud[:, 4] = age
            found.append(within(cloud, self.settings.side))
        points, count = padded_cloud(np.concatenate(found), self.settings.points)
        return {POINTS: torch.from_numpy(points), COUNT: torch.tensor(count)}, 0


def _source(frames: Sequence[Frame], settings: Settings, access: Access) -> Source:
    rows = [{"boxes": one.boxes, "classes": one.classes, "ignored": one.ignored} for one in frames]
    size = len(frames) * settings.points * (4 if settings.sweeps == 1 else 5) * 4
    dataset, targets = Clouds(frames, settings), padded(rows)
    if size > memory_for_samples(access.memory):
        return Streamed(dataset, targets, workers=access.workers)
    return kept(Streamed(dataset, targets, workers=access.workers if len(frames) > FEW else 0), size)


def _missing(frames: Sequence[Frame]) -> Iterator[str]:
    for frame in frames:
        for path, _, _ in frame.sweeps:
            if not path.is_file():
                yield f"{path} is missing: get the lidar files of this version"


NUSCENES = DataSet("nuscenes", "nuScenes: lidar clouds with boxes of 10 classes, 850 scenes", read, Settings)
