"""Segmentation: mean IoU, maps that follow augmentation, grids that differ, places, the reader of Penn-Fudan."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tasks.test_tasks import IMAGES, Pixels, made
from understudy import Objective
from understudy.data import Access, Augmentation, from_tensors, load
from understudy.data.sets import pennfudan
from understudy.data.unlabelled import source_of
from understudy.errors import UserError
from understudy.models import build
from understudy.tasks import Segmentation
from understudy.tasks.task import Moves
from understudy.terms import KD, Hint, Labels

TASK = Segmentation(("street", "person", "car"))


def test_the_mean_iou_is_torchmetrics():
    torchmetrics = pytest.importorskip("torchmetrics")
    generator = torch.Generator().manual_seed(0)
    logits, masks = torch.randn(6, 3, 5, 5, generator=generator), torch.randint(0, 3, (6, 5, 5), generator=generator)
    masks[0, :2] = 255
    meter = TASK.meter()
    metric = torchmetrics.JaccardIndex("multiclass", num_classes=3, ignore_index=255)
    for some in (slice(0, 2), slice(2, 6)):
        meter.update({"logits": logits[some]}, masks[some])
        metric.update(logits[some], masks[some])
    found = meter.compute()
    assert found["miou"] == pytest.approx(metric.compute().item(), abs=1e-6)
    right = (logits.argmax(1) == masks)[masks != 255]
    assert found["pixel_accuracy"] == pytest.approx(right.double().mean().item())


def test_a_class_of_which_there_is_no_pixel_is_left_out_of_the_mean():
    meter = TASK.meter()
    logits = torch.zeros(1, 3, 1, 4)
    logits[0, 1, 0, :3] = 1.0  # three pixels of class 1, one of class 0
    meter.update({"logits": logits}, torch.tensor([[[1, 1, 0, 0]]]))
    assert meter.compute()["miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_pixels_that_are_ignored_count_nowhere():
    masks = torch.tensor([[[0, 255], [255, 2]]])
    for place in ((0, 1), (1, 0)):
        one, other = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
        other[:, :, place[0], place[1]] = torch.tensor([5.0, -5.0, 1.0])
        assert torch.equal(TASK.loss({"logits": one}, masks), TASK.loss({"logits": other}, masks))
        rows = [TASK.rows({"logits": logits}, masks) for logits in (one, other)]
        assert torch.equal(*(row.fold(row.flat.square().sum(1)) for row in rows))


@pytest.mark.parametrize("views", [Augmentation(shift=2), Augmentation(flip=True), Augmentation(shift=2, flip=True)])
def test_maps_follow_the_images(views):
    masks = IMAGES.argmax(1)
    ids = torch.arange(len(IMAGES))
    images = views.draw(IMAGES + 1, 0, 3, ids)  # what comes in from outside is 0, and nothing else is
    found = TASK.moved(masks, views.moved((8, 8), 0, 3, ids))
    outside = (images == 0).all(1)
    assert torch.equal(found == 255, outside)
    assert torch.equal(found[~outside], images.argmax(1)[~outside])
    assert outside.any() == bool(views.shift)


def test_a_map_of_another_size_than_its_image_cannot_move():
    with pytest.raises(UserError, match="has its size"):
        TASK.moved(torch.zeros(2, 4, 4, dtype=torch.long), Moves((8, 8)))


def test_a_training_sees_maps_that_moved_with_their_images():
    data = made("segmentation")
    views = Augmentation(shift=1, flip=True)
    for batch in data.train.epoch(0, seed=0, batch=8, augmentation=views, task=data.task, device=torch.device("cpu")):
        inside = batch.targets != 255
        assert torch.equal(batch.inputs.argmax(1)[inside], batch.targets[inside])


def test_grids_of_teacher_and_student_may_differ():
    teacher, student = Pixels(3, 1), Pixels(3, 4)
    masks = IMAGES.argmax(1)
    objective = Objective(Labels() + KD(), student=student, teacher=teacher, task=TASK)
    outcome = objective(IMAGES[:4], masks[:4])
    outcome.loss.backward()
    brought = torch.nn.functional.interpolate(student(IMAGES[:4]), (8, 8), mode="bilinear")
    plain = Objective(KD(), student=torch.nn.Identity(), teacher=torch.nn.Identity())
    rows = [logits.movedim(1, -1).flatten(0, 2) for logits in (brought, teacher(IMAGES[:4]))]
    reading = plain.read(rows[0], masks[:4].flatten(), answers=plain.ask(rows[1]))
    torch.testing.assert_close(outcome.terms["kd"], plain.judge(reading).loss.detach())
    with pytest.raises(UserError, match="3 classes, the teacher with 4"):
        Objective(KD(), student=student, teacher=Pixels(4, 1), task=TASK, example=IMAGES[:2])


def test_a_hint_can_look_at_objects_alone():
    teacher, student = Pixels(3, 1), Pixels(3, 1)
    masks = torch.zeros(2, 8, 8, dtype=torch.long)
    masks[:, 2:4, 2:4] = 1
    given = {"student": student, "teacher": teacher, "example": IMAGES[:2], "task": TASK}
    of_objects = Objective(Hint("conv -> conv", reduce="mean", where="targets"), **given)
    everywhere = Objective(Hint("conv -> conv", reduce="mean"), **given)
    values = [network.conv(IMAGES[:2]) for network in (student, teacher)]
    apart = (values[0] - values[1]).square().mean(1)
    torch.testing.assert_close(of_objects(IMAGES[:2], masks).loss, apart[:, 2:4, 2:4].mean())
    torch.testing.assert_close(everywhere(IMAGES[:2], masks).loss, apart.mean())
    assert TASK.places(masks, (4, 4), (8, 8))[0].sum() == 1
    assert TASK.places(masks, (2, 2), (8, 8))[0].tolist() == [[0.25, 0.0], [0.0, 0.0]]


def test_what_is_wrong_with_maps_is_told():
    for masks, words in (
        (torch.tensor([[[0, 1]], [[0, 3]]]), "sample 1 has pixels of class 3"),
        (torch.tensor([[[0, 1]], [[255, 255]]]), "sample 1 has no pixel that counts"),
    ):
        with pytest.raises(UserError, match=words):
            TASK.check(masks)
    with pytest.raises(UserError, match="class number of each pixel"):
        from_tensors((IMAGES, torch.zeros(48)), task="segmentation")
    assert "height, width" in TASK.misfit({"logits": torch.zeros(2, 3)})
    with pytest.raises(UserError, match="mixup"):
        TASK.mixed(torch.zeros(1), torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_unet_answers_on_the_grid_of_its_stride(stride):
    network = build("unet", classes=3, channels=1, width=2, depth=2, stride=stride)
    assert network(torch.rand(1, 1, 20, 12)).shape == (1, 3, 20 // stride, 12 // stride)


def test_torchvisions_form_of_an_answer_is_understood():
    assert TASK.answer({"out": torch.zeros(1, 3, 2, 2), "aux": torch.ones(1)})["logits"].shape == (1, 3, 2, 2)


def _misses(folder, fold):
    """Whether the training part of a fold cannot be read."""
    try:
        load("pennfudan", folder, fold=fold)
    except UserError:
        return True
    return False


def write_penn_fudan(root):
    """Ten images, of which a part of each is a person's."""
    for folder in ("PNGImages", "PedMasks"):
        (root / "PennFudanPed" / folder).mkdir(parents=True)
    for number in range(10):
        mask = np.zeros((24, 20), np.uint8)
        mask[2 : 6 + number, 3:9], mask[2:5, 12:18] = 1, 2
        image = np.where(mask[..., None] > 0, 200, 30).astype(np.uint8).repeat(3, 2)
        Image.fromarray(image).save(root / f"PennFudanPed/PNGImages/FudanPed{number:05d}.png")
        Image.fromarray(mask).save(root / f"PennFudanPed/PedMasks/FudanPed{number:05d}_mask.png")


@pytest.fixture
def penn_fudan(tmp_path, monkeypatch):
    monkeypatch.setattr(pennfudan, "IMAGES", 10)
    write_penn_fudan(tmp_path)
    return tmp_path


def test_a_folder_with_a_part_of_penn_fudan_gives_a_warning(penn_fudan, monkeypatch):
    monkeypatch.setattr(pennfudan, "IMAGES", 11)
    with pytest.warns(UserWarning, match=r"PNGImages has 10 of Penn-Fudan's 11 images: the folds differ"):
        load("pennfudan", penn_fudan, size=16)


def test_penn_fudan_is_read_in_its_upstream_form(penn_fudan):
    data = load("pennfudan", penn_fudan, validation=2, size=16)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 2)
    assert data.shape == (3, 16, 16)
    assert data.classes == ("background", "person")
    images, masks = data.train.source.samples, data.train.source.targets
    assert ((images[:, 0] > 115) == (masks == 1)).double().mean() > 0.9
    whole = source_of(str(penn_fudan / "PennFudanPed/PNGImages"), data, Access())  # as predict reads files
    assert {image.numpy().tobytes() for image in images} < {image.numpy().tobytes() for image in whole.samples}
    folds = [load("pennfudan", penn_fudan, size=16, fold=fold).test.source.samples for fold in range(5)]
    assert len({image.numpy().tobytes() for fold in folds for image in fold}) == 10
    (penn_fudan / "PennFudanPed/PedMasks/FudanPed00003_mask.png").unlink()
    held = next(fold for fold in range(5) if not _misses(penn_fudan, fold))  # whose test part has the broken pair
    with pytest.raises(UserError, match="FudanPed00003_mask"):
        load("pennfudan", penn_fudan, fold=(held + 1) % 5)
    with pytest.raises(UserError, match=r"cis\.upenn\.edu"):
        load("pennfudan", penn_fudan / "PennFudanPed" / "PNGImages")
