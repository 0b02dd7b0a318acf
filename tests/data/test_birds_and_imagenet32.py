"""CUB-200-2011 and ImageNet32, on small data of their upstream form; the whole sets are not at hand."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data import load
from understudy.errors import UserError


def birds(root):
    folder = root / "CUB_200_2011"
    names = {1: "001.Black_footed_Albatross", 2: "002.Laysan_Albatross"}
    lines = {"images": [], "image_class_labels": [], "train_test_split": []}
    for number in range(1, 13):
        name = names[1 + number % 2]
        path = folder / "images" / name / f"{number:04d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((40 + number, 50, 3), 10 * number, np.uint8)).save(path)
        lines["images"].append(f"{number} {name}/{number:04d}.jpg")
        lines["image_class_labels"].append(f"{number} {1 + number % 2}")
        lines["train_test_split"].append(f"{number} {int(number <= 8)}")
    lines["classes"] = [f"{number} {name}" for number, name in names.items()]
    for name, listed in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(listed) + "\n")
    return folder


def test_birds(tmp_path):
    birds(tmp_path)
    data = load("cub200", tmp_path, validation=2, size=32)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 2, 4)
    assert data.classes[0] == "001.Black_footed_Albatross"
    assert data.shape == (3, 32, 32)
    assert data.train.source.targets.tolist() == [number % 2 for number in range(1, 9)]
    assert data.test.targets.tolist() == [number % 2 for number in range(9, 13)]
    assert abs(int(data.train.source.samples[2].float().mean()) - 30) <= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "images.txt").unlink(), "holds no CUB-200-2011"),
        (lambda folder: (folder / "classes.txt").write_text("albatross\n"), "each line must be a number and a text"),
        (lambda folder: (folder / "images.txt").write_text("1 a.jpg\n1 b.jpg\n"), "1 lines have the number of another"),
        (lambda folder: (folder / "train_test_split.txt").write_text("1 1\n"), "has no line for image"),
        (lambda folder: (folder / "images.txt").write_text("1 a.jpg\n"), "images.txt has no line for image"),
        (
            lambda folder: (folder / "train_test_split.txt").write_text("".join(f"{n} 2\n" for n in range(1, 13))),
            "image 1 has '2'",
        ),
        (lambda folder: (folder / "image_class_labels.txt").unlink(), "cannot read .*image_class_labels.txt"),
        (lambda folder: next((folder / "images").rglob("0002.jpg")).unlink(), "0002.jpg is missing"),
    ],
)
def test_birds_that_are_damaged(change, message, tmp_path):
    change(birds(tmp_path))
    with pytest.raises(UserError, match=message):
        load("cub200", tmp_path, size=32)


def batch(path, count=6, **changes):
    images = np.random.default_rng(0).integers(0, 255, (count, 3 * 32 * 32)).astype(np.uint8)
    np.savez(path, **{"data": images, "labels": np.arange(1, count + 1), "mean": images.mean(0), **changes})
    return images


def test_imagenet32(tmp_path):
    batch(tmp_path / "train_data_batch_1.npz")
    batch(tmp_path / "train_data_batch_10.npz", labels=[7, 8, 9, 10, 11, 1000])
    images = batch(tmp_path / "train_data_batch_2.npz")
    batch(tmp_path / "val_data.npz", 4)
    data = load("imagenet32", tmp_path, validation=2)
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 2, 4)
    assert data.train.source.targets.tolist() == [*range(6), *range(6), 6, 7, 8, 9, 10, 999]
    assert torch.equal(data.train.source.samples[6], torch.from_numpy(images[0]).view(3, 32, 32))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "holds no ImageNet32 in npz form"),
        (lambda path: path.write_bytes(b"x"), "is damaged|holds no"),
        (lambda path: batch(path, data=np.zeros((6, 5), np.uint8)), "holds no images of 3 x 32 x 32 bytes"),
        (lambda path: batch(path, labels=np.array([{}] * 6, dtype=object)), "is damaged"),
        (lambda path: path.write_bytes(pickle.dumps({"data": 1})), "is damaged"),
        (lambda path: np.savez(path, data=np.zeros((2, 3072), np.uint8)), "is damaged"),
        (lambda path: batch(path, labels=np.arange(6)), "sample 0 has label -1"),
    ],
)
def test_imagenet32_that_is_damaged(write, message, tmp_path):
    write(tmp_path / "train_data_batch_1.npz")
    with pytest.raises(UserError, match=message):
        load("imagenet32", tmp_path)
