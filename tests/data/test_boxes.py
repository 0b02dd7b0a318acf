"""Readers of boxes: COCO's, VOC's and Penn-Fudan's upstream forms, made small."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from understudy.cli._app import app
from understudy.data import load
from understudy.data.sets import pennfudan
from understudy.errors import UserError
from understudy.tasks import Detection

RECIPES = Path(__file__).parents[2] / "recipes"
SIZES = [(40, 20), (16, 32), (32, 32)]


@pytest.fixture
def coco(tmp_path):
    """Two splits with three images each, whose object is a bright rectangle; numbers of categories with gaps."""
    (tmp_path / "annotations").mkdir()
    for split in ("train2017", "val2017"):
        (tmp_path / split).mkdir()
        content = {"images": [], "annotations": [], "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]}
        for number, (width, height) in enumerate(SIZES, 1):
            pixels = np.zeros((height, width, 3), np.uint8)
            pixels[4:12, 2:14] = 255
            Image.fromarray(pixels).save(tmp_path / split / f"{number:012d}.png")
            content["images"].append({"id": 100 + number, "file_name": f"{number:012d}.png", "width": width,
                                      "height": height})  # fmt: skip
        boxes = [[2, 4, 12, 8], [2, 4, 12, 8], [5, 5, 0, 3], [0, 0, 9, 9]]
        for number, (image, kind, crowd) in enumerate(((101, 7, 0), (102, 3, 0), (102, 3, 0), (102, 7, 1)), 1):
            named = {"id": number, "image_id": image, "category_id": kind, "bbox": boxes[number - 1], "iscrowd": crowd}
            content["annotations"].append(named)
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return tmp_path


def bright(image: torch.Tensor) -> list[int]:
    """The box around the pixels of the object, between the borders of a letterbox."""
    rows, columns = (image[0] > 170).nonzero().unbind(1)
    return [int(side) for side in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)]


def test_coco_is_read_in_its_upstream_form(coco):
    data = load("coco", coco, size=40, validation=0)
    assert data.task == Detection(("dog", "cat"))  # in the order of their numbers
    assert (len(data.train), len(data.test), data.shape) == (3, 3, (3, 40, 40))
    images, targets = data.train.source.samples, data.train.targets
    assert targets["classes"].tolist() == [[1, -1], [0, 1], [-1, -1]]
    assert targets["ignored"].tolist() == [[False, False], [False, True], [False, False]]
    for image in (0, 1):
        found, expected = targets["boxes"][image, 0], torch.tensor(bright(images[image])).float()
        assert (found - expected).abs().max() <= 1
    assert targets["boxes"][0, 0].tolist() == [2, 14, 14, 22]
    assert data.facts["boxes without area, left out"] == 1
    assert not data.problems()


def test_what_is_wrong_with_cocos_files_is_told(coco):
    path = coco / "annotations/instances_train2017.json"
    whole = json.loads(path.read_text())
    first = coco / "train2017/000000000001.png"
    Image.new("RGB", (20, 40)).save(first)
    with pytest.raises(UserError, match="is not 40 x 20"):
        load("coco", coco)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(first, exif=exif)
    with pytest.raises(UserError, match="is 40 x 20 as it is stored, and its annotation is of this, but EXIF turns it"):
        load("coco", coco)
    first.unlink()
    with pytest.raises(UserError, match="000000000001"):
        load("coco", coco)
    for change, words in (
        ({"categories": [{"id": 1}]}, "no entry 'name'"),
        ({"annotations": [{"id": 9, "image_id": 101, "category_id": 7, "bbox": [1, 2]}]}, "annotation 9"),
        ({"annotations": [{"id": 9, "image_id": 101, "category_id": 5, "bbox": [1, 2, 3, 4]}]}, "no entry 5"),
        ({"images": [{"id": 1, "file_name": "../x.png", "width": 4, "height": 4}]}, "is outside"),
        ({"images": [{"id": 1, "file_name": "x.png", "width": 0, "height": 4}]}, "0 x 4 pixels"),
        ({"images": [*whole["images"], whole["images"][1]]}, "2 images have the id 102"),
        ({"categories": [*whole["categories"], {"id": 7, "name": "cow"}]}, "2 categories have the id 7"),
    ):
        path.write_text(json.dumps({**whole, **change}))
        with pytest.raises(UserError, match=words):
            load("coco", coco)
    path.write_text("{")
    with pytest.raises(UserError, match="not in the form of COCO"):
        load("coco", coco)
    with pytest.raises(UserError, match=r"cocodataset\.org"):
        load("coco", coco / "train2017")


ANNOTATION = """<annotation><!-- by hand --><size><width>40</width><height>20</height><depth>3</depth></size>
<object><name>dog</name><difficult>0</difficult><bndbox><xmin>3</xmin><ymin>5</ymin><xmax>14</xmax><ymax>12</ymax>
</bndbox><part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>
<object><name>person</name><difficult>1</difficult><bndbox><xmin>20</xmin><ymin>1</ymin><xmax>40</xmax><ymax>20</ymax>
</bndbox></object></annotation>"""


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOCdevkit/VOC2007"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number in range(4):
        pixels = np.zeros((20, 40, 3), np.uint8)
        pixels[4:12, 2:14] = 255
        Image.fromarray(pixels).save(root / f"JPEGImages/{number:06d}.jpg", quality=95)
        (root / f"Annotations/{number:06d}.xml").write_text(ANNOTATION)
    (root / "ImageSets/Main/trainval.txt").write_text("000000\n000001\n")
    (root / "ImageSets/Main/test.txt").write_text("000002\n000003\n")
    return tmp_path


def test_voc_is_read_in_its_upstream_form(voc):
    data = load("voc2007", voc, size=40, validation=0)
    assert data.task.metric == "voc07"
    assert [figure.name for figure in data.task.figures] == ["ap50"]
    assert (len(data.train), len(data.test), len(data.classes)) == (2, 2, 20)
    targets = data.train.targets
    assert [data.classes[number] for number in targets["classes"][0].tolist()] == ["dog", "person"]
    assert targets["ignored"][0].tolist() == [False, True]
    assert targets["boxes"][0].tolist() == [[2, 14, 14, 22], [19, 10, 40, 30]]
    assert bright(data.train.source.samples[0]) == [2, 14, 14, 22]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>', "declares a document type"),
        ("<name>dog</name>", "<name>unicorn</name>", "not in"),
        ("<xmin>3</xmin>", "", "no bndbox/xmin"),
        ("<width>40</width>", "<width>x</width>", "could not convert"),
        ("</annotation>", "", "form of VOC"),
    ],
)
def test_what_is_wrong_with_vocs_annotations_is_told(voc, before, after, words):
    path = voc / "VOCdevkit/VOC2007/Annotations/000001.xml"
    path.write_text(ANNOTATION.replace(before, after))
    with pytest.raises(UserError, match=words):
        load("voc2007", voc)
    with pytest.raises(UserError, match="holds no VOC 2007"):
        load("voc2007", voc / "VOCdevkit/VOC2007/JPEGImages")


@pytest.fixture
def penn_fudan(tmp_path, monkeypatch):
    monkeypatch.setattr(pennfudan, "IMAGES", 5)
    for folder in ("PNGImages", "PedMasks"):
        (tmp_path / "PennFudanPed" / folder).mkdir(parents=True)
    for number in range(5):
        mask = np.zeros((20, 40), np.uint8)
        mask[2:12, 3:9], mask[6:18, 20:31] = 1, 2
        Image.fromarray((mask > 0).astype(np.uint8).repeat(3).reshape(20, 40, 3) * 255).save(
            tmp_path / f"PennFudanPed/PNGImages/FudanPed{number:05d}.png"
        )
        Image.fromarray(mask).save(tmp_path / f"PennFudanPed/PedMasks/FudanPed{number:05d}_mask.png")
    return tmp_path


def test_penn_fudans_boxes_are_around_its_masks(penn_fudan):
    data = load("pennfudan", penn_fudan, targets="boxes", size=40, validation=1)
    assert (len(data.train), len(data.validation), len(data.test), data.classes) == (3, 1, 1, ("person",))
    assert data.train.targets["boxes"][0].tolist() == [[3, 12, 9, 22], [20, 16, 31, 28]]
    (penn_fudan / "PennFudanPed/PedMasks/FudanPed00003_mask.png").write_bytes(b"")
    with pytest.raises(UserError, match="FudanPed00003_mask"):
        data = [load("pennfudan", penn_fudan, targets="boxes", size=40, fold=fold) for fold in range(5)]


@pytest.mark.parametrize(
    ("recipe", "settings", "own", "words"),
    [
        ("detect", "keep_statistics = true, levels = 2", "{ width = 8, levels = 2 }", "boxes of 1 classes"),
        ("segment", "keep_statistics = true, width = 8", "{ width = 8, depth = 5 }", "2 classes of pixels"),
    ],
)
def test_the_recipes_of_penn_fudan_pass_the_check(penn_fudan, recipe, settings, own, words):
    """With a backbone of the library's own; those of timm are tested with timm."""
    text = (RECIPES / f"{recipe}_pennfudan.toml").read_text(encoding="utf-8")
    theirs = f"""\
settings = {{ backbone = "timm:tf_efficientnet_lite0", {settings} }}
weights = "efficientnet-lite0-57934424.pth"
"""
    assert theirs in text
    text = text.replace(theirs, f"settings = {own}\n")
    text = text.replace('lr_scale = { "*backbone*" = 0.3 }\n', "")
    (penn_fudan / "recipe.toml").write_text(text)
    changes = {"root": f'"{penn_fudan}"', "size": 32, "validation": 1}
    small = [f"data.{key}={value}" for key, value in changes.items()]
    small += ["seeds=[0]", "train.batch=2", "teacher.train.batch=2"]
    options = [word for change in small for word in ("--set", change)]
    called = CliRunner().invoke(app, ["check", str(penn_fudan / "recipe.toml"), *options, "--verbose"])
    assert called.exit_code == 0, called.output + called.stderr
    assert words in called.output + called.stderr
