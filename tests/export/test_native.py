"""A student in the form of its own library shows images as its description does."""

import math

import pytest

from understudy.data.images import SHORT_SIDE
from understudy.models.description import Description, Input, Named
from understudy.shipping.native import opened_by, processor, timm_config


def test_images_have_the_short_side_and_the_crop_of_the_description():
    for side in (8, 28, 32, 160, 224):
        for resize in range(side, 2 * side):
            seen = Input(shape=(3, side, side), image=SHORT_SIDE, resize=resize)
            config = timm_config(seen)
            assert math.floor(side / config["crop_pct"]) == resize  # as timm reckons
            assert (config["crop_mode"], config["interpolation"]) == ("center", "bilinear")
            written = processor(seen, {"mean": [0.5] * 3, "std": [0.25] * 3})
            assert (written["size"], written["crop_size"]) == (
                {"shortest_edge": resize}, {"height": side, "width": side},
            )  # fmt: skip
    assert processor(Input(shape=(1, 8, 8)), {"mean": [0.5], "std": [0.25]})["do_convert_rgb"] is False


TEXT = {"name": "text", "classes": ["a", "b"]}
IMAGES = {"name": "classification", "classes": ["a", "b"]}


@pytest.mark.parametrize(
    ("network", "task", "front", "told"),
    [
        ("timm:resnet10t", IMAGES, None, "timm.create_model("),
        (
            "transformers:vit",
            IMAGES,
            {"front": "normalized", "mean": [0.5], "std": [0.5]},
            "AutoModelForImageClassification",
        ),
        ("transformers:bert", TEXT, None, "AutoModelForSequenceClassification"),
        ("transformers:bert", TEXT, {"front": "own tokens", "table": ""}, None),
        ("resnet8", IMAGES, None, None),
    ],
)
def test_the_line_that_opens_it_names_the_class_of_its_task(network, task, front, told):
    shape = (16,) if task is TEXT else (1, 8, 8)
    described = Description(
        network=Named(name=network), front=front, input=Input(shape=shape), classes=("a", "b"), task=task, format=1,
        **{"class": "x:X"},
    )  # fmt: skip
    assert (told in (opened_by(described) or "")) if told else opened_by(described) is None
