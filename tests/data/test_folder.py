"""A folder of images per class."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data import as_data, dataset, images, load
from understudy.data.content import content
from understudy.data.sources import InMemory, Streamed
from understudy.errors import UserError
from understudy.models.fingerprints import of_samples

# Python 3.12 and later warn of worker processes forked from a process with threads, which PyTorch always has.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_resized_and_cropped(write_images, channels):
    data = load("folder", write_images(), size=4, channels=channels, validation=2)
    assert data.shape == (channels, 4, 4)
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 8)
    assert len(data.mean) == channels


def test_the_crop_is_the_centre(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 4:12] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    image = images.decoded(tmp_path / "wide.png", (3, 8, 8))
    assert image.shape == (3, 8, 8)
    assert (image == 200).all()


def test_val_stands_in_for_test_and_none_is_none(write_images, tmp_path):
    root = write_images(parts=("train", "val"))
    assert len(load("folder", root, size=4).test) == 8
    for file in sorted((root / "val").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (root / "val").rmdir()
    assert load("folder", root, size=4).test is None


def test_classes_choose_the_order(write_images):
    data = load("folder", write_images(), size=4, classes=["dog", "cat"], validation=0)
    assert data.train.targets.tolist() == [0] * 4 + [1] * 4
    assert data.train.source.samples.shape == (8, 3, 4, 4)


def test_square_images_of_one_size_need_none_and_a_path_is_enough(write_images):
    root = write_images(size=(6, 6))
    assert load("folder", root, validation=2).shape == as_data(root, validation=2).shape == (3, 6, 6)
    assert as_data(str(root)).classes == ("cat", "dog")


def test_large_sets_are_streamed(write_images, monkeypatch, cpu):
    root = write_images()
    resident = load("folder", root, size=4, validation=0)
    monkeypatch.setattr("understudy.data.dataset.memory_for_samples", lambda gigabytes: 10)
    streamed = load("folder", root, size=4, validation=0, workers=2)
    assert isinstance(streamed.train.source, Streamed)
    assert (streamed.mean, streamed.std) == (resident.mean, resident.std)
    for one, other in zip(resident.train.in_order(3, cpu), streamed.train.in_order(3, cpu), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets, other.targets)


def test_memory_follows_from_the_machine_and_changes_no_key(write_images, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**22}[name])  # 16 GiB
    limits = tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"
    monkeypatch.setattr(dataset, "_CONTAINER", limits)
    assert dataset.memory_for_samples() == 2 * 2**30
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert dataset.memory_for_samples() == 2**30
    for limit in limits:
        limit.write_text(f"{2**31}\n")
        assert dataset.memory_for_samples() == dataset.MODEST
        limit.write_text("max\n")
        assert dataset.memory_for_samples() == 2**30
    monkeypatch.setattr(dataset, "MODEST", 10)
    root = write_images()
    kept, read = (load("folder", root, size=4, validation=0, memory=memory).train.source for memory in (1, 1e-8))
    assert (type(kept), type(read)) == (InMemory, Streamed)
    assert content(kept) == content(read)
    assert of_samples(kept) == of_samples(read)


@pytest.mark.parametrize("limit", [10, 10**9])
def test_a_file_that_is_no_image(write_images, monkeypatch, limit, cpu):
    monkeypatch.setattr("understudy.data.dataset.memory_for_samples", lambda gigabytes: limit)
    root = write_images()
    (root / "train" / "dog" / "2.png").write_text("not a picture")
    with pytest.raises(UserError, match=r"train/dog/2.png is not an image") as caught:
        list(load("folder", root, size=4, validation=0, workers=2).train.in_order(4, cpu))
    assert "\n" not in str(caught.value)


def test_a_truncated_image(write_images):
    root = write_images(size=(64, 64))
    file = root / "train" / "cat" / "0.png"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(UserError, match=r"train/cat/0.png cannot be read as an image"):
        load("folder", root, size=4)


def test_folders_that_are_not_right(write_images, tmp_path):
    with pytest.raises(UserError, match="needs root"):
        load("folder", size=4)
    with pytest.raises(UserError, match=r"there is no folder .*train"):
        load("folder", tmp_path, size=4)
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        load("folder", tmp_path, size=4)
    (tmp_path / "train" / "ant").mkdir()
    with pytest.raises(UserError, match="train/ant holds no images"):
        load("folder", tmp_path, size=4)
    (tmp_path / "train" / "ant").rmdir()
    (tmp_path / "train").rmdir()
    root = write_images()
    with pytest.raises(UserError, match=r"'folder': channels: input should be 1 or 3 \(it is 2\)"):
        load("folder", root, size=4, channels=2)
    with pytest.raises(UserError, match=r"'folder': size: input should be greater than or equal to 1 \(it is 0\)"):
        load("folder", root, size=0)
    (root / "test" / "doge").mkdir()
    with pytest.raises(UserError, match=r"test/doge is of no known class; did you mean 'dog'"):
        load("folder", root, size=4)


@pytest.mark.parametrize(
    ("sides", "size"),
    [([(40, 40)] * 3, 40), ([(40, 48)] * 3, 32), ([(70, 100), (100, 80), (400, 300)], 64), ([(900, 700)] * 2, 224)],
)
def test_the_size_of_images_that_differ(tmp_path, sides, size):
    for number, side in enumerate(sides):
        place = tmp_path / "train" / "cat"
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", side).save(place / f"{number}.jpg")
    assert load("folder", tmp_path, validation=0).shape == (3, size, size)


def test_the_folders_of_the_classes_may_stand_alone(write_images):
    root = write_images()
    data = load("folder", root / "train", size=4, validation=0)
    assert data.classes == load("folder", root, size=4, validation=0).classes
    assert data.open_test is None
