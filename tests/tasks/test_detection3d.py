"""Detection in space: figures against nuScenes' development kit, places and peaks against loops, views, training."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import understudy
from tests.conftest import Stopper
from tests.tasks import scenes
from tests.tasks.test_tasks import PLAIN, FromAbove, made
from understudy import Objective
from understudy.answers import StoredAnswers
from understudy.config.optimizers import AdamW
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.data import Augmentation, Turn, clouds, from_datasets, from_tensors
from understudy.data.clouds import padded_cloud, read_cloud
from understudy.errors import UserError
from understudy.losses import bounded_numbers, number_distance
from understudy.models import build
from understudy.shipping.predict import predict
from understudy.tasks import Detection3D, padded
from understudy.tasks.centre_precision import CentrePrecision, detection_score, mean_precision
from understudy.tasks.space import covered, objects_of
from understudy.terms import KD, Hint, Labels, Localisation
from understudy.training.interrupt import Stopped, StopRequest
from understudy.training.loop import Training

KIT = Path(__file__).parent / "nuscenes_scores.json"  # written by scripts/nuscenes_scores.py
TASK = Detection3D(("car", "pedestrian"), side=8)


def measured(samples):
    precision = CentrePrecision(
        scenes.NUSCENES,
        symmetric=["barrier"],
        without_heading=["traffic_cone"],
        without_velocity=["traffic_cone", "barrier"],
    )
    for boxes, scores, classes, objects, labels in samples:
        precision.add(boxes, scores, classes, objects, labels, np.zeros(len(labels), bool))
    value, errors = mean_precision(precision.of_classes()), precision.errors()
    return {"map": value, "nds": detection_score(value, errors), **errors}


@pytest.mark.parametrize("seed", range(6))
def test_the_figures_are_those_of_the_development_kit(seed):
    ours = measured(scenes.judged(seed))
    assert ours == pytest.approx(json.loads(KIT.read_text())["figures"][seed], abs=1e-9)
    assert 0.05 < ours["map"] < 0.9


def test_ignored_objects_are_neither_to_be_found_nor_wrong_to_find():
    box, far = np.zeros((1, 9)), np.full((1, 9), 40.0)
    box[:, 3:6] = far[:, 3:6] = 1.0
    counted = []
    for ignored in (False, True):
        precision = CentrePrecision(["car"])
        own = np.concatenate([box, far])
        precision.add(own, np.array([0.5, 0.9]), np.array([0, 0]), own, np.array([0, 0]), np.array([False, ignored]))
        counted.append(precision.found[0].objects)
        assert precision.of_classes()[0] == pytest.approx(1.0)
        assert precision.found[0].left_out[0].sum(1).tolist() == [int(ignored)] * 4
    assert counted == [2, 1]


def test_boxes_beyond_the_range_of_their_class_do_not_count():
    rows = [{"boxes": [[x, 0, 0, 1, 1, 1, 0]], "classes": [0]} for x in (2.0, 3.9)]
    targets = padded(rows)
    task = Detection3D(("car",), side=8, ranges=(3.0,))
    precision = task.precision()
    task.add(precision, {"boxes": objects_of(targets).boxes.nan_to_num(0.0), "classes": targets["classes"],
                         "scores": torch.tensor([[0.5], [0.9]])}, targets)  # fmt: skip
    assert precision.found[0].objects == 1
    assert [len(scores) for scores in precision.found[0].scores] == [1]


def answers(places, side, classes=2):
    """Rows of an answer on a square of so many places, with nothing said of boxes."""
    step = side / places
    at = (torch.arange(places) + 0.5) * step - side / 2
    y, x = torch.meshgrid(at, at, indexing="ij")
    rows = torch.zeros(1, places * places, 13 + classes)
    rows[..., 0], rows[..., 1], rows[..., 2] = x.flatten(), y.flatten(), step
    return rows


def perfect(task, targets, places=8):
    """The answer whose boxes are the targets."""
    rows = answers(places, task.side, len(task.classes)).repeat(len(targets["boxes"]), 1, 1)
    rows[..., 13:] = -9.0
    for sample, (boxes, classes) in enumerate(zip(targets["boxes"], targets["classes"], strict=True)):
        for box, kind in zip(boxes.tolist(), classes.tolist(), strict=True):
            x, y, z, length, width, height, heading = box[:7]
            if kind < 0:
                continue
            place = int(
                (y + task.side / 2) // (task.side / places) * places + (x + task.side / 2) // (task.side / places)
            )
            row = rows[sample, place]
            row[3:5] = (torch.tensor([x, y]) - row[:2]) / row[2]
            row[5], row[6:9] = z, torch.tensor([length, width, height]).log()
            row[9], row[10] = math.sin(heading), math.cos(heading)
            row[13 + kind] = 9.0
    return {"places": rows}


def test_the_boxes_of_an_answer_are_those_that_its_numbers_say():
    _, marked = scenes.scenes(12, seed=3)
    targets = TASK.converted(padded(marked))
    answer = perfect(TASK, targets)
    found, meter = TASK.detections(answer), TASK.meter()
    meter.update(answer, targets)
    figures = meter.compute()
    assert figures["map"] == pytest.approx(1.0)
    assert max(figures[name] for name in ("mate", "mase", "maoe")) < 1e-5
    assert figures["loss"] < 0.01
    for sample in range(12):
        there = targets["classes"][sample] >= 0
        kept = found["classes"][sample] >= 0
        assert int(there.sum()) == int(kept.sum())
        wanted = sorted(targets["boxes"][sample, there][:, :7].tolist())
        np.testing.assert_allclose(sorted(found["boxes"][sample, kept][:, :7].tolist()), wanted, atol=1e-4)
    rows = TASK.rows(answer, targets)
    assert int(rows.labels.sum()) == int((targets["classes"] >= 0).sum())
    torch.testing.assert_close(rows.weights.sum(1), torch.full((12,), 4.0))
    student, wanted = TASK.numbers(answer, targets), TASK.numbers(answer, targets).targets
    torch.testing.assert_close(student.values * student.weights, wanted * student.weights, atol=1e-5, rtol=1e-5)
    assert student.weights.sum() == 8 * (targets["classes"] >= 0).sum()


def test_a_box_suppresses_those_near_it_by_its_size():
    rows = answers(8, 8)
    rows[..., 13:] = -9.0
    for place, kind, logit, length in ((0, 0, 3.0, 4.0), (1, 0, 2.0, 4.0), (2, 1, 3.0, 0.6), (3, 1, 2.0, 0.6)):
        rows[0, place, 13 + kind], rows[0, place, 6:8] = logit, math.log(length)
    found = Detection3D(("car", "pedestrian"), side=8).detections({"places": rows})
    assert found["classes"][0][found["classes"][0] >= 0].tolist() == [0, 1, 1]


def test_peaks_are_at_the_places_of_centres_and_wider_for_large_objects():
    rows = answers(16, 16)
    targets = TASK.converted(
        padded([{"boxes": [[0.2, 0.3, 0, 9, 9, 2, 0], [-5.0, 5.0, 0, 0.5, 0.5, 2, 0]], "classes": [0, 1]}])
    )
    heat = TASK._heat(rows[..., :3], objects_of(targets))[0].view(16, 16, 2)
    assert heat[8, 8, 0] == 1
    assert heat[13, 3, 1] == 1
    assert (heat == 1).sum() == 2
    assert heat[8, 9, 0].item() == pytest.approx(math.exp(-1 / (2 * 1.5**2)))  # a sixth of 9 m, in places of 1 m
    assert heat[13, 4, 1].item() == pytest.approx(math.exp(-1 / (2 * (5 / 6) ** 2)))
    ignored = {**targets, "ignored": torch.tensor([[True, False]])}
    assert TASK._heat(rows[..., :3], objects_of(ignored))[0].view(16, 16, 2)[8, 8, 0] == 1
    confident = {"places": rows.clone()}
    confident["places"][0, 8 * 16 + 8, 13] = 8.0
    assert TASK.loss(confident, ignored) < TASK.loss(confident, {**targets, "classes": torch.tensor([[-1, 1]])})


def test_a_place_is_covered_if_it_lies_in_a_box_seen_from_above():
    target = padded([{"boxes": [[0, 0, 0, 6, 2, 1, math.pi / 2], [3.4, -3.4, 0, 0.1, 0.1, 1, 0]], "classes": [0, 1]}])
    seen = covered(objects_of(target), (8, 8), 8.0)[0]
    expected = torch.zeros(8, 8)
    expected[1:7, 3:5] = 1  # 6 m along y, in rows
    expected[0, 7] = 1  # smaller than a place
    assert torch.equal(seen, expected)


@pytest.mark.parametrize(
    "turn", [Turn(angle=180.0, scale=0.0), Turn(angle=30.0, mirror=False), Turn(angle=0.0)], ids=str
)
def test_boxes_move_with_their_points(turn):
    count = 24
    drawn = [scenes.scene(torch.Generator().manual_seed(seed), ground=0, velocity=True) for seed in range(count)]
    inputs, targets = clouds([cloud for cloud, _ in drawn]), TASK.converted(padded([target for _, target in drawn]))
    turns = turn.drawn(3, 5, torch.arange(count), torch.device("cpu"))
    moved, followed = TASK.turned(inputs, targets, turns)
    for sample in range(count):
        points = moved["points"][sample, : int(inputs["count"][sample])]
        classes = targets["classes"][sample]
        nearest = torch.full((len(points),), 9.0)
        for box, kind in zip(followed["boxes"][sample], classes.tolist(), strict=True):
            if kind < 0:
                continue
            x, y = (points[:, :2] - box[:2]).unbind(1)
            along, across = (
                (x * box[6].cos() + y * box[6].sin()) / box[3],
                (y * box[6].cos() - x * box[6].sin()) / box[4],
            )
            up = (points[:, 2] - box[2]) / box[5]
            outermost = torch.stack((along, across)).abs().amax(0)
            on_wall = (outermost - 0.5).abs().where((outermost < 0.501) & (up.abs() < 0.501), 9.0)
            nearest = torch.minimum(nearest, on_wall)
            torch.testing.assert_close(box[7:], turns.scale[sample] * torch.stack((box[6].cos(), box[6].sin())))
        assert nearest.max() < 1e-3
    gone = (followed["boxes"][..., :2].abs() > 4).any(2) & (targets["classes"] >= 0)
    assert torch.equal(followed["classes"] < 0, (targets["classes"] < 0) | gone)
    alone = turn.drawn(3, 5, torch.tensor([7]), torch.device("cpu"))
    assert torch.equal(alone.matrix[0], turns.matrix[7])  # a function of the sample, at any place of a batch


def test_turns_are_of_clouds_alone():
    images, data = made("detection"), made("detection-3d")
    for other, views, words in (
        (images, Augmentation(turn=Turn()), "turn moves clouds of points"),
        (made("text"), Augmentation(turn=Turn()), "turn moves points in space"),
        (data, Augmentation(turn=Turn(), flip=True), "is of images"),
    ):
        stream = other.train.epoch(0, seed=0, batch=4, augmentation=views, task=other.task, device=torch.device("cpu"))
        with pytest.raises(UserError, match=words):
            next(stream)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"boxes": [[0, 0, 0, 1, 1, 0, 0]], "classes": [0]}, "above 0"),
        ({"boxes": [[0, float("nan"), 0, 1, 1, 1, 0]], "classes": [0]}, "sample 0 has the box"),
        ({"boxes": [[0, 0, 0, 1, 1, 1, 0, 0, float("inf")]], "classes": [0]}, "sample 0 has the box"),
        ({"boxes": [[0, 0, 0, 1, 1, 1, 0]], "classes": [2]}, "objects of classes"),
        ({"boxes": [[0, 0, 4, 4]], "classes": [0]}, r"give \(N, M, 9\), x, y, z"),
        ({"boxes": [[0, 0, 0, 1, 1]], "classes": [0]}, r"in space \(M, 7\) or \(M, 9\)"),
    ],
)
def test_what_is_wrong_with_boxes_in_space_is_told(target, words):
    with pytest.raises(UserError, match=words):
        TASK.check(padded([target]))


def test_what_is_wrong_with_inputs_and_settings_is_told(tmp_path):
    marked, part = padded([{"boxes": [[0, 0, 0, 1, 1, 1, 0]], "classes": [0]}] * 4), torch.zeros(4, 5, 4)
    for inputs, words in (
        (torch.rand(4, 3, 8, 8), "'points'"),
        ({"points": part, "count": torch.zeros(4, 1).long()}, "it is one number"),
        ({"points": part[..., :2], "count": torch.zeros(4).long()}, "3 or more"),
    ):
        with pytest.raises(UserError, match=words):
            from_tensors((inputs, marked), task="detection-3d", validation=0)
    with pytest.raises(UserError, match="cloud 1 has shape"):
        clouds([np.zeros((3, 4)), np.zeros((3, 3))])
    with pytest.raises(UserError, match="cloud 0 has numbers that are not finite"):
        clouds([np.full((3, 4), np.nan)])
    with pytest.raises(UserError, match="2 ranges for 1 classes"):
        Detection3D(("car",), ranges=(1.0, 2.0))
    with pytest.raises(UserError, match="symmetric names 'bus'"):
        Detection3D(("car",), symmetric=("bus",))
    with pytest.raises(UserError, match=r"13\.3333 pillars"):
        build("pillars", size=8, pillar=0.6)
    far = Detection3D(("car",), side=8, velocity=True)
    remarks = far.remarks(padded([{"boxes": [[9, 0, 0, 1, 1, 1, 40]], "classes": [0]}]))
    assert ["1 of 1 objects are outside" in remarks[0], "in radians" in remarks[1], "no object has" in remarks[2]] == [
        True
    ] * 3
    (tmp_path / "a.bin").write_bytes(b"12345678")
    with pytest.raises(UserError, match="no points of 4 numbers each"):
        read_cloud(tmp_path / "a.bin", 4)
    np.save(tmp_path / "a.npy", np.zeros((5, 3)))
    with pytest.raises(UserError, match=r"must be \(points, 4\)"):
        read_cloud(tmp_path / "a.npy", 4)


def test_a_cloud_with_too_many_points_keeps_some_of_all():
    cloud = np.arange(10, dtype=np.float32)[:, None].repeat(3, 1)
    kept, count = padded_cloud(cloud, 4)
    assert (kept[:, 0].tolist(), count) == ([0, 2, 5, 7], 4)
    inputs = {"points": torch.from_numpy(padded_cloud(cloud, 12)[0]), "count": torch.tensor(10)}
    items = [(inputs, {"boxes": [[0, 0, 0, 1, 1, 1, 0]] * count, "labels": [0] * count}) for count in (1, 2, 0, 1)]
    data = from_datasets(items, task={"name": "detection-3d", "side": 8}, classes=["car"], validation=0)
    assert data.shape == (3, 12, 8)
    assert (data.train.targets["classes"] >= 0).sum(1).tolist() == [1, 2, 0, 1]


def test_points_that_pad_or_lie_outside_change_nothing():
    torch.manual_seed(0)
    network = build("pillars", classes=2, channels=4, size=8, width=4, pillar=1.0).eval()
    points = torch.rand(2, 30, 4) * 6 - 3
    count = torch.tensor([30, 12])
    answer = network(points, count)
    other = points.clone()
    other[1, 12:] = torch.tensor([2.5, 2.5, 0.0, 50.0])
    outside = torch.tensor([[9.0, 0.0, 0.0, 1.0], [0.0, 0.0, 7.0, 1.0]]).expand(2, 2, 4)
    assert torch.equal(network(other, count), answer)
    assert torch.equal(network(torch.cat((outside, points), 1), count + 2), answer)
    assert not torch.equal(network(other, torch.tensor([30, 13])), answer)
    assert TASK.misfit({"places": answer}) is None
    of_another_side = build("pillars", classes=2, channels=4, size=16, width=4, pillar=2.0).eval()(points, count)
    assert "reach 8 m from 0, 0, and the square of 8 m reaches 4 m" in TASK.misfit({"places": of_another_side})
    assert "but at others" in TASK.fits({"places": answer}, {"places": of_another_side})
    assert answer[0, :5, 0].tolist() == [-3, -1, 1, 3, -3]
    assert answer[0, :5, 1].tolist() == [-3, -3, -3, -3, -1]


def test_boxes_in_space_are_localised_by_their_numbers():
    torch.manual_seed(0)
    data, teacher = made("detection-3d"), FromAbove(2, 8)
    batch = next(data.train.in_order(8, torch.device("cpu")))
    for term in (Localisation(form="huber"), Localisation(bounded=True)):
        same = Objective(term, student=copy.deepcopy(teacher).eval(), teacher=teacher, task=data.task)(
            batch.inputs, batch.targets
        )
        other = Objective(term, student=FromAbove(2, 8), teacher=teacher, task=data.task)(batch.inputs, batch.targets)
        assert other.loss > 0
        other.loss.backward()
        assert same.loss.item() == pytest.approx(0.0, abs=1e-7) or term.bounded
    assert "take form = 'huber'" in Localisation().misfit(data.task)
    with pytest.raises(UserError, match="numbers of boxes"):
        number_distance(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4), torch.ones(1, 2))
    ones = torch.ones(1, 1, 2)
    assert bounded_numbers(2 * ones, 3 * ones, ones, torch.tensor([[[1.0, 0.0]]])).item() == 0.0


def test_a_hint_weighs_the_map_by_boxes_seen_from_above():
    data, (teacher, student) = made("detection-3d"), (FromAbove(2, 8).eval(), FromAbove(2, 8).eval())
    batch = next(data.train.in_order(8, torch.device("cpu")))
    given = {"student": student, "teacher": teacher, "example": batch.inputs, "task": data.task}
    objective = Objective(Hint("middle -> middle", reduce="mean", where="targets", regressor="none"), **given).eval()
    maps = [net.middle(net.conv(net.pillars(**batch.inputs)).relu()) for net in (teacher, student)]
    weights = covered(objects_of(batch.targets), (8, 8), 8.0)
    apart = (maps[0] - maps[1]).square().mean(1) * weights
    expected = (apart.sum((1, 2)) / weights.sum((1, 2))).mean()
    torch.testing.assert_close(objective(batch.inputs, batch.targets).loss, expected)


@pytest.fixture(scope="module")
def street():
    """Scenes that a small network can learn, with a teacher trained on them."""
    found, marked = scenes.scenes(64, seed=1)
    task = {"name": "detection-3d", "side": 8}
    return from_tensors((clouds(found), marked), task=task, classes=scenes.NAMES, validation=16)


def network(width):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(width)
        return build("pillars", classes=2, channels=4, size=8, width=width, pillar=0.5, levels=2, depth=0, tower=0)


def training(data, terms, width, folder, *, epochs=6, teacher=None, stop=None, after=0, stored=None):
    config = TrainConfig(epochs=epochs, batch=12, optimizer=AdamW(lr=0.01), augmentation=Augmentation(turn=Turn()))
    stop = stop or StopRequest()
    return Training(
        network(width), [] if teacher is None else [teacher], [Stage("only", terms, config)], data, settings=PLAIN,
        checkpoint_folder=folder, every=0.0, stop=stop, callback=Stopper(stop, after), stored=stored,
    )  # fmt: skip


HINTED = Labels() + KD() + 0.5 * Localisation(form="huber") + Hint("neck -> neck", reduce="relative", where="targets")


def test_teacher_student_and_hinted_student_learn_where_things_are(street, tmp_path):
    taught = training(street, Labels(), 12, tmp_path / "teacher", epochs=10)
    first = taught.run().stages[0].validation
    teacher = taught.student.eval()
    found = [
        training(street, Labels(), 4, tmp_path / "alone").run().stages[0].validation["map"],
        training(street, HINTED, 4, tmp_path / "hinted", teacher=teacher).run().stages[0].validation["map"],
    ]
    assert first["map"] > 0.2
    assert first["mate"] < 1.0
    assert min(found) > 0.02


def test_a_hinted_training_on_turned_clouds_is_resumed_bit_for_bit_with_stored_answers(street, tmp_path):
    def begun(folder, stop=None, after=0):
        stored = StoredAnswers(views=2, folder=str(tmp_path / "stored"), taps="exact")
        return training(street, HINTED, 4, folder, teacher=network(6).eval(), epochs=4, stop=stop, after=after,
                        stored=stored)  # fmt: skip

    whole = begun(tmp_path / "whole")
    whole.run()
    assert (tmp_path / "stored").is_dir()
    with pytest.raises(Stopped):
        begun(tmp_path / "halves", StopRequest(), 15).run()
    second = begun(tmp_path / "halves")
    second.run()
    for key, value in whole.student.state_dict().items():
        assert torch.equal(value, second.student.state_dict()[key]), key


def test_a_student_of_clouds_reports_and_predicts_files(tmp_path):
    data = made("detection-3d")
    teacher, student = (build("pillars", classes=2, channels=4, size=8, width=4, pillar=1.0) for _ in range(2))
    with torch.no_grad():
        student.head.answers.bias[10:] = 1.0  # so that there are boxes to show
    run = understudy.distill(
        teacher, student, data, method="fitnets-joint", pair="neck -> neck", where="targets",
        epochs=1, accept_weak=True, out=tmp_path / "run", callback=understudy.Callback(),
    )  # fmt: skip
    result = json.loads((run.folder / "result.json").read_text())
    assert result["task"]["figures"][0]["name"] == "map"
    assert "mean average precision" in run.report().read_text().lower()
    described = json.loads((run.folder / "student.json").read_text())["input"]
    assert described == {"shape": list(data.shape), "tensors": ["points", "count"]}
    folder = tmp_path / "clouds"
    folder.mkdir()
    cloud = scenes.scenes(1)[0][0].numpy()
    np.save(folder / "a.npy", cloud)
    cloud.astype(np.float32).tofile(folder / "b.bin")
    beams = np.column_stack([cloud[:, :3], 255 * cloud[:, 3], np.zeros(len(cloud))]).astype(np.float32)
    beams.tofile(folder / "c.pcd.bin")
    (folder / "d.bin").write_bytes(b"123")
    (folder / "notes.txt").write_text("no cloud")
    found = predict(run.folder, [folder])
    assert [Path(one.image).name for one in found] == ["a.npy", "b.bin", "c.pcd.bin", "d.bin"]
    assert found[0].text == found[1].text == found[2].text
    far = np.concatenate([np.full((5000, 4), 9.0), cloud])  # more points than the student takes, outside its square
    np.save(folder / "a.npy", far)
    assert predict(run.folder, [folder / "a.npy"])[0].text == found[0].text
    assert " m, " in found[0].text
    assert "degrees" in found[0].text
    assert set(found[0].record["boxes"][0]) == {"label", "score", "box"}
    assert "no points of 4 numbers each" in found[3].problem
