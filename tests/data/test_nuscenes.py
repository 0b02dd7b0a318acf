"""nuScenes' reader, on small tables of the upstream form; the whole set is not at hand."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tests.data.test_boxes import RECIPES
from tests.tasks.scenes import points_on
from understudy.cli._app import app
from understudy.data import load
from understudy.data.sets.nuscenes import CLASSES, NUMBERS, VALIDATION, _numbers
from understudy.errors import UserError

SCENES = ("scene-0061", "scene-0553", "scene-0655", "scene-0103")  # the last one is of mini_val
CAR = [4.0, 6.0, -1.0, 4.5, 1.9, 1.6, 0.4]  # in the frame of the lidar
WALKER = [-8.0, 3.0, -0.9, 0.7, 0.6, 1.8, -2.0]
BIKE = [10.0, -10.0, -0.8, 1.7, 0.5, 1.2, 0.0]


def turn(angle):
    return [math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)]


def rotation(angle):
    return np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])


def place(token, translation, angle, **more):
    return {"token": token, "translation": list(map(float, translation)), "rotation": turn(angle), **more}


def write(root, version="v1.0-mini", scenes=SCENES, samples=3):
    """Tables and clouds: a vehicle that drives along x at 4 m/s, and objects that stand still beside it."""
    names = ["vehicle.car", "human.pedestrian.adult", "vehicle.bicycle", "static_object.bicycle_rack", "animal"]
    names += sorted(NUMBERS.keys() - set(names))
    tables = {
        "category": [{"token": f"c{number}", "name": name} for number, name in enumerate(names)],
        "calibrated_sensor": [place("lidar", (0.9, 0.0, 1.8), -math.pi / 2)],
        **{name: [] for name in ("scene", "sample", "sample_data", "sample_annotation", "ego_pose", "instance")},
    }
    for scene in scenes:
        tables["scene"].append({"token": scene, "name": scene})
        for number in range(samples):
            time, ahead = 1_000_000 + 500_000 * number, 100 + 2.0 * number
            sample = f"{scene}/{number}"
            tables["sample"].append({"token": sample, "timestamp": time, "scene_token": scene})
            for late, kind, before in ((0, "samples", f"{sample}/sweep"), (50_000, "sweeps", "")):
                name = f"{kind}/LIDAR_TOP/{scene}-{number}.pcd.bin"
                pose = place(f"{sample}/{kind}", (ahead - 4 * late / 1e6, 50.0, 0.0), 0.3)
                tables["ego_pose"].append(pose)
                tables["sample_data"].append({
                    "token": sample if kind == "samples" else f"{sample}/sweep", "sample_token": sample,
                    "ego_pose_token": pose["token"], "calibrated_sensor_token": "lidar", "filename": name,
                    "timestamp": time - late, "is_key_frame": kind == "samples", "prev": before,
                })  # fmt: skip
                path = root / name
                path.parent.mkdir(parents=True, exist_ok=True)
                boxes = [CAR, WALKER] if kind == "samples" else [moved(CAR, -4 * late / 1e6)]
                generator = torch.Generator().manual_seed(number)
                cloud = torch.cat([points_on(box, 20, generator) for box in boxes]).numpy()
                beams = np.zeros((len(cloud) + 2, 5), np.float32)
                beams[:-2, :3], beams[:-2, 3] = cloud[:, :3], np.round(255 * cloud[:, 3])
                beams[-2, :3], beams[-1, :3] = (500, 0, 0), (0.1, 0.2, -0.5)  # far away, and of the vehicle itself
                beams.tofile(path)
            tables["sample_data"].append(
                {
                    "token": f"{sample}/camera",
                    "filename": f"samples/CAM_FRONT/{number}.jpg",
                    "sample_token": sample,
                    "is_key_frame": False,
                }
            )
            for kind, box, points in ((0, CAR, 20), (1, WALKER, 20), (2, BIKE, 3), (3, [*BIKE[:3], 4, 4, 4, 1.0], 9),
                                      (4, WALKER, 5), (0, [20.0, 20.0, 0.0, 4.0, 2.0, 1.5, 0.0], 0)):  # fmt: skip
                token = f"{sample}/{len(tables['sample_annotation'])}"
                tables["instance"].append({"token": f"i{token}", "category_token": f"c{kind}"})
                center, heading = to_global(box, ahead)
                tables["sample_annotation"].append({
                    **place(token, center, heading), "sample_token": sample, "instance_token": f"i{token}",
                    "size": [box[4], box[3], box[5]], "num_lidar_pts": points, "num_radar_pts": 0, "prev": "",
                    "next": "", "attribute_tokens": [],
                })  # fmt: skip
        every = [row for row in tables["sample_annotation"] if row["sample_token"].startswith(scene)]
        cars = every[:: len(every) // samples]
        for before, after in pairwise(cars):
            before["next"], after["prev"] = after["token"], before["token"]
    folder = root / version
    folder.mkdir(parents=True)
    for name, rows in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return folder


def moved(box, way):
    """A box as the vehicle saw it when it had still to drive so far; the lidar's y is ahead."""
    return [box[0], box[1] - way, *box[2:]]


def to_global(box, ahead):
    vehicle = rotation(-math.pi / 2) @ np.array(box[:3]) + (0.9, 0.0, 1.8)
    return rotation(0.3) @ vehicle + (ahead, 50.0, 0.0), box[6] - math.pi / 2 + 0.3


def test_nuscenes_is_read_in_its_upstream_form(tmp_path):
    write(tmp_path)
    data = load("nuscenes", tmp_path, side=40, points=64)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 3, 3)  # scenes are whole
    assert data.shape == (4, 64, 40)
    assert data.task.classes == CLASSES
    targets, points = data.train.targets, data.train.source.samples["points"]
    assert [CLASSES[number] for number in targets["classes"][0].tolist()] == ["car", "pedestrian", "bicycle"]
    assert targets["ignored"][0].tolist() == [False, False, True]  # a bicycle in a rack
    for found, wanted in zip(targets["boxes"][0].tolist(), (CAR, WALKER, BIKE), strict=True):
        assert found[:7] == pytest.approx(wanted, abs=1e-4)
    assert targets["boxes"][0, 1:, 7:].isnan().all()
    # The car keeps its place before a vehicle that drives 4 m/s along the global x.
    speed = 4 * np.array([math.cos(-0.3), math.sin(-0.3)])
    assert targets["boxes"][1, 0, 7:].tolist() == pytest.approx([-speed[1], speed[0]], abs=1e-4)
    assert data.train.source.samples["count"].tolist() == [41] * 6  # without the point that is far away
    cloud = points[0, :20, :3].double().numpy() - CAR[:3]
    own = cloud @ rotation(CAR[6])
    walls = np.abs(np.abs(own[:, :2]) - np.array(CAR[3:5]) / 2)
    assert walls.min(1).max() < 1e-4
    assert points[..., 3].min() >= 0
    assert points[..., 3].max() <= 1
    assert not data.problems()
    assert len(list(_numbers(VALIDATION))) == 150
    write(tmp_path / "one", scenes=SCENES[2:])
    assert load("nuscenes", tmp_path / "one", side=40, points=64).validation is None  # no scene is divided


def test_earlier_sweeps_are_moved_to_the_frame_of_the_last(tmp_path):
    write(tmp_path)
    data = load("nuscenes", tmp_path, side=40, points=100, sweeps=2, validation=0)
    assert data.validation is None
    assert data.shape == (5, 100, 40)
    points, count = data.train.source.samples["points"][0], int(data.train.source.samples["count"][0])
    earlier = points[:count][points[:count, 4] > 0]
    assert len(earlier) == 20  # without the vehicle's own
    assert earlier[:, 4].unique().tolist() == pytest.approx([0.05])
    # It drove 0.2 m along the global x, and the car was seen so much farther away.
    own = (earlier[:, :3].double().numpy() - CAR[:3]) @ rotation(CAR[6])
    assert np.abs(np.abs(own[:, :2]) - np.array(CAR[3:5]) / 2).min(1).max() < 0.3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "v1.0-mini/sample.json").unlink(), "holds no nuScenes"),
        (lambda root: (root / "v1.0-mini/ego_pose.json").unlink(), "ego_pose.json"),
        (lambda root: (root / "v1.0-mini/instance.json").write_text("{"), "not in the form of nuScenes"),
        (lambda root: (root / "v1.0-mini/ego_pose.json").write_text("[]"), "no row or entry 'scene-0061/0/samples'"),
        (lambda root: edit(root, "sample_annotation", size=3), "is no list of numbers"),
        (lambda root: edit(root, "sample_data", filename="../LIDAR_TOP/x.pcd.bin"), "is outside"),
        (lambda root: edit(root, "sample_annotation", translation=[0, 0, math.nan]), "are not finite numbers"),
        (lambda root: edit(root, "sample_annotation", rotation=[0, 0, 0, 0]), "is no quaternion of length 1"),
        (lambda root: edit(root, "sample_annotation", rotation=[0.0, 0.0, 0.8, 0.6]), "a quaternion w, x, y, z"),
        (lambda root: edit(root, "ego_pose", rotation=[0.0, 0.0, 0.8, 0.6]), "a quaternion w, x, y, z"),
        (lambda root: shorten(root, "sample", 1), "sample_annotation.json has rows of 'scene-0061/0'"),
        (lambda root: shorten(root, "scene", 1), "sample.json has rows of 'scene-0061'"),
        (lambda root: edit(root, "sample", scene_token="scene-0061"), "has no row of the scene 'scene-0103'"),
        (lambda root: (root / "v1.0-mini/sample_annotation.json").write_text("[]"), "have no box of any class"),
        (lambda root: edit(root, "sample_annotation", num_lidar_pts=0), "have no box of any class"),
        (lambda root: (root / "samples/LIDAR_TOP/scene-0061-1.pcd.bin").unlink(), "scene-0061-1.pcd.bin"),
        (
            lambda root: (root / "samples/LIDAR_TOP/scene-0061-1.pcd.bin").write_bytes(b"1234"),
            "no points of 5 numbers each",
        ),
        (
            lambda root: (root / "samples/LIDAR_TOP/scene-0061-1.pcd.bin").write_bytes(b""),
            "0 bytes are no points",
        ),
        (
            lambda root: np.full(10, np.nan, np.float32).tofile(root / "samples/LIDAR_TOP/scene-0061-1.pcd.bin"),
            "numbers that are not finite",
        ),
    ],
)
def test_what_is_wrong_with_nuscenes_files_is_told(change, message, tmp_path):
    write(tmp_path)
    change(tmp_path)
    with pytest.raises(UserError, match=message):
        load("nuscenes", tmp_path)


def edit(root, table, **changes):
    path = root / f"v1.0-mini/{table}.json"
    path.write_text(json.dumps([{**row, **changes} for row in json.loads(path.read_text())]))


def shorten(root, table, count):
    """The table without its first rows."""
    path = root / f"v1.0-mini/{table}.json"
    path.write_text(json.dumps(json.loads(path.read_text())[count:]))


def test_a_category_of_another_name_is_warned_of(tmp_path):
    write(tmp_path)
    path = tmp_path / "v1.0-mini/category.json"
    path.write_text(path.read_text().replace("vehicle.bus.rigid", "vehicle.bus.stiff"))
    with pytest.warns(UserWarning, match=r"category.json names no vehicle.bus.rigid: no such object is learned"):
        load("nuscenes", tmp_path)


def test_the_recipe_for_nuscenes_passes_the_check(tmp_path):
    write(tmp_path)
    changes = {"data.root": f'"{tmp_path}"', "data.points": 64, "data.sweeps": 2, "data.side": 16,
               "teacher.settings.width": 8,
               "student.settings.width": 4, "seeds": "[0]", "train.batch": 2, "teacher.train.batch": 2}  # fmt: skip
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    called = CliRunner().invoke(app, ["check", str(RECIPES / "kd_nuscenes.toml"), *words, "--verbose"])
    assert called.exit_code == 0, called.output + called.stderr
    assert "boxes of 10 classes in space, 16 x 16 m" in called.output + called.stderr
