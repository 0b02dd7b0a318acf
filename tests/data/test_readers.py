"""Readers of upstream files: what they read, and what they say of files that are not right."""

import gzip

import numpy as np
import pytest
import torch
from scipy.io import savemat

from understudy.data import Access, Data, load, names
from understudy.data.sets import demo
from understudy.data.sets.people import PEOPLE
from understudy.errors import OptionalPackageError, UserError

LOCAL = {"download": False, "verify": False}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST/raw"), ("fashion_mnist", "FashionMNIST/raw")])
def test_mnist_is_read(tmp_path, write_mnist, name, folder, packed):
    images, labels = write_mnist(folder, packed)
    data = load(name, tmp_path, validation=10, **LOCAL)
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 10, 20)
    assert data.shape == (1, 28, 28)
    assert len(data.classes) == 10
    assert np.array_equal(data.train.source.samples[:, 0], images)
    assert np.array_equal(data.train.source.targets, labels)


def test_statistics_are_those_of_the_training_part(tmp_path, write_mnist):
    images, _ = write_mnist()
    data = load("mnist", tmp_path, validation=10, **LOCAL)
    part = images[data.train.ids.numpy()] / 255
    assert data.mean == pytest.approx((part.mean(),), abs=1e-4)
    assert data.std == pytest.approx((part.std(),), abs=1e-4)


@pytest.mark.parametrize("kind", [10, 100])
def test_cifar_is_read(tmp_path, write_cifar, kind):
    _, pixels, labels = write_cifar(kind)
    data = load(f"cifar{kind}", tmp_path, validation=0, **LOCAL)
    assert data.validation is None
    assert np.array_equal(data.train.source.samples, pixels)
    assert np.array_equal(data.train.source.targets, labels)
    assert data.shape == (3, 32, 32)
    assert len(data.classes) == kind
    assert len(data.test) == 4


def test_people_of_cifar100_are_halved_and_as_many_others_taken(tmp_path, write_cifar):
    _, pixels, labels = write_cifar(100, records=300)
    data = load("cifar100-people", tmp_path, validation=0, **LOCAL)
    people = np.isin(labels, PEOPLE)
    assert data.shape == (3, 16, 16)
    assert data.task.name == "binary"
    assert data.task.labels == ("people",)
    assert len(data.train) == 2 * people.sum()
    assert data.train.source.targets.mean() == 0.5
    halved = pixels[people].reshape(-1, 3, 16, 2, 16, 2).mean((3, 5))
    found = data.train.source.samples[data.train.source.targets[:, 0] == 1].numpy()
    assert np.abs(found - halved).max() <= 0.5
    assert len(load("cifar100-people", tmp_path, validation=0, others=3, **LOCAL).train) == 4 * people.sum()
    assert data.test.source.targets.shape[1] == 1


def test_cifar_names_come_from_their_file(tmp_path, write_cifar):
    folder, *_ = write_cifar(100)
    (folder / "fine_label_names.txt").write_text("\n".join(f"thing{i}" for i in range(100)) + "\n")
    assert load("cifar100", tmp_path, **LOCAL).classes[99] == "thing99"
    (folder / "fine_label_names.txt").write_text("one\ntwo\n")
    with pytest.raises(UserError, match="names 2 classes, expected 100"):
        load("cifar100", tmp_path, **LOCAL)


def write_svhn(folder, name, count, labels=None):
    random = np.random.default_rng(2)
    x = random.integers(0, 256, (32, 32, 3, count)).astype(np.uint8)
    y = (np.arange(count) % 10 + 1 if labels is None else np.asarray(labels)).astype(np.uint8)[:, None]
    folder.mkdir(exist_ok=True)
    savemat(folder / f"{name}_32x32.mat", {"X": x, "y": y})
    return x


@pytest.mark.parametrize("folder", ["SVHN", "."])
def test_svhn_is_read(tmp_path, folder):
    x = write_svhn(tmp_path / folder, "train", 20)
    write_svhn(tmp_path / folder, "test", 10)
    data = load("svhn", tmp_path, validation=0, **LOCAL)
    assert torch.equal(data.train.source.samples[3], torch.from_numpy(x[..., 3]).permute(2, 0, 1))
    assert data.train.targets[:10].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]  # 10 is the digit 0
    assert len(data.test) == 10
    write_svhn(tmp_path / folder, "extra", 30)
    assert len(load("svhn", tmp_path, validation=0, extra=True, **LOCAL).train) == 50


def test_svhn_says_what_is_wrong(tmp_path, monkeypatch):
    write_svhn(tmp_path / "SVHN", "test", 10)
    write_svhn(tmp_path / "SVHN", "train", 10, labels=[1, 2])
    with pytest.raises(UserError, match="10 images, but 2 labels"):
        load("svhn", tmp_path, **LOCAL)
    file = tmp_path / "SVHN" / "train_32x32.mat"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"train_32x32.mat is not a readable .mat file"):
        load("svhn", tmp_path, **LOCAL)
    with pytest.raises(UserError, match=r"train_32x32.mat is not the published file"):
        load("svhn", tmp_path, download=False)
    monkeypatch.setitem(__import__("sys").modules, "scipy.io", None)
    with pytest.raises(OptionalPackageError, match=r"understudy\[svhn\]"):
        load("svhn", tmp_path, **LOCAL)


def test_demo_is_balanced_and_honest():
    data = load("demo", validation=500)
    assert torch.bincount(data.train.targets).tolist() == [450] * 10
    assert torch.bincount(data.test.targets).tolist() == [500] * 10
    assert data.shape == (1, 28, 28)
    assert demo.indices("train").shape == (5000,)
    assert 0.2 < data.mean[0] < 0.4


def test_demo_file_damaged(tmp_path):
    (tmp_path / "demo.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(UserError, match="install understudy again"):
        demo.read(tmp_path / "demo.npz")


def test_the_test_file_is_not_read_before_it_is_asked_for(tmp_path, write_mnist, write_cifar):
    write_mnist()
    (tmp_path / "MNIST/raw/t10k-images-idx3-ubyte.gz").write_bytes(b"nonsense")
    data = load("mnist", tmp_path, **LOCAL)
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte.gz is damaged"):
        _ = data.test
    folder, *_ = write_cifar()
    cifar = load("cifar10", tmp_path, **LOCAL)
    (folder / "test_batch.bin").unlink()
    with pytest.raises(UserError, match=r"cannot read .*test_batch.bin \(No such file"):
        _ = cifar.test


def test_a_missing_test_file_is_noticed_at_once(tmp_path, write_mnist):
    write_mnist()
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match=r"no .*MNIST/raw/t10k-labels-idx1-ubyte.gz: get http.* and put it there"):
        load("mnist", tmp_path, **LOCAL)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mnist", r"MNIST/raw/train-images-idx3-ubyte.gz: get https://.* \(sha256 440f.*\) and put it there"),
        (
            "cifar10",
            r"bin/data_batch_1.bin: get https://.*gz \(sha256 c4a3.*\.tar\.gz, or its unpacked files into",
        ),
        ("svhn", r"SVHN/train_32x32.mat: get https://.* and put it there"),
    ],
)
def test_missing_files_say_where_to_put_what(tmp_path, name, words):
    with pytest.raises(UserError, match=words):
        load(name, tmp_path, download=False)


@pytest.mark.parametrize("packed", [True, False])
def test_truncated_idx(tmp_path, write_mnist, packed):
    write_mnist(packed=packed)
    file = tmp_path / f"MNIST/raw/train-images-idx3-ubyte{'.gz' if packed else ''}"
    file.write_bytes(file.read_bytes()[:20000])
    expected = f"{16 + 40 * 784:,}"
    with pytest.raises(UserError, match=rf"train-images.* is truncated: {expected} bytes expected, [\d,]+ found"):
        load("mnist", tmp_path, **LOCAL)


def test_idx_of_another_kind_or_md5(tmp_path, write_mnist):
    write_mnist()
    with pytest.raises(UserError, match=r"is not the published file \(md5 .*verify=False"):
        load("mnist", tmp_path, download=False)
    raw = tmp_path / "MNIST/raw"
    (raw / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\x00" * 4000))
    with pytest.raises(UserError, match="not an idx file of images: it begins with 0, expected 2051"):
        load("mnist", tmp_path, **LOCAL)
    (raw / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\x00" * 7))
    with pytest.raises(UserError, match="16 bytes expected, 7 found"):
        load("mnist", tmp_path, **LOCAL)


def test_counts_and_labels_that_do_not_fit(tmp_path, write_mnist):
    write_mnist(labels=[1, 2, 3])
    with pytest.raises(UserError, match=r"holds 40 images, but .* holds 3 labels"):
        load("mnist", tmp_path, **LOCAL)
    write_mnist(labels=[11] + [1] * 39)
    with pytest.raises(UserError, match=r"sample 0 has label 11, but the 10 classes are numbered 0 to 9 \(1 such"):
        load("mnist", tmp_path, **LOCAL)


def test_cifar_of_the_wrong_size_or_md5(tmp_path, write_cifar):
    folder, *_ = write_cifar()
    with pytest.raises(UserError, match=r"data_batch_1.bin is truncated: 30,730,000 bytes expected, 12,292 found"):
        load("cifar10", tmp_path, download=False)
    file = folder / "test_batch.bin"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"test_batch.bin is truncated: 12,292 bytes expected, 12,287 found"):
        load("cifar10", tmp_path, **LOCAL)


def test_cifar_with_the_right_size_and_another_content(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        with (folder / name).open("wb") as file:
            file.truncate(30_730_000)
    with pytest.raises(UserError, match=r"data_batch_1.bin is not the published file"):
        load("cifar10", tmp_path, download=False)


def test_settings_and_names_are_checked(tmp_path, write_mnist):
    write_mnist()
    with pytest.raises(UserError, match="there is no data set 'minst'; did you mean 'mnist'"):
        load("minst")
    with pytest.raises(UserError, match="size is a setting of 'aflw'"):
        load("mnist", tmp_path, size=32, **LOCAL)
    with pytest.raises(UserError, match="10 classes, but classes= names 2"):
        load("mnist", tmp_path, classes=["a", "b"], **LOCAL)
    assert load("mnist", tmp_path, classes=tuple("abcdefghij"), **LOCAL).classes == tuple("abcdefghij")
    with pytest.raises(UserError, match="'mnist': sise: data set 'mnist' has no such setting"):
        load("mnist", tmp_path, sise=32, **LOCAL)
    with pytest.raises(UserError, match=r"'svhn': extra: input should be a valid boolean.* \(it is 'some'\)"):
        load("svhn", tmp_path, extra="some", **LOCAL)
    known = "aflw cifar10 cifar100 cifar100-people coco conll cub200 demo fashion_mnist fb15k237 folder glue"
    more = "huggingface imagenet imagenet32 mnist numpy nuscenes parquet pennfudan sst2 svhn triples voc2007 webdataset"
    assert sorted(names()) == [*known.split(), *more.split()]


def test_the_default_root(monkeypatch, tmp_path, write_mnist):
    write_mnist()
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path))
    assert isinstance(load("mnist", **LOCAL), Data)
    monkeypatch.delenv("UNDERSTUDY_DATA")
    assert Access().folder.parts[-3:] == (".cache", "understudy", "data")
