"""Data that the user brings: tensors, arrays, datasets, and what is wrong with them."""

import errno

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from understudy.data import Data, Stream, as_data, from_datasets, from_inputs, from_tensors, numbered, own
from understudy.data.dataset import Contents, assembled
from understudy.data.sources import InMemory, Streamed
from understudy.errors import UserError

# Python 3.12 and later warn of worker processes forked from a process with threads, which PyTorch always has.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

X = torch.arange(20 * 3 * 4 * 4).reshape(20, 3, 4, 4).remainder(251).to(torch.uint8)
Y = torch.arange(20) % 4


class Pictures:
    """A map-style dataset without listed labels."""

    def __init__(self, n=20, item=lambda i: (Image.fromarray(X[i].permute(1, 2, 0).numpy()), int(Y[i]))):
        self.n = n
        self.item = item

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return self.item(i)


class Listed(Pictures):
    targets = Y.tolist()


def test_tensors_and_arrays():
    data = from_tensors((X, Y), test=(X[:5], Y[:5]), validation=4, seed=3)
    assert (len(data.train), len(data.validation), len(data.test), data.shape) == (16, 4, 5, (3, 4, 4))
    assert data.classes == ("0", "1", "2", "3")
    assert data.mean is not None
    arrays = from_tensors((X.numpy() / 255, Y.numpy()), validation=0, classes=["a", "b", "c", "d"])
    assert arrays.train.source.samples.dtype == torch.float32
    assert arrays.mean is None
    assert arrays.test is None
    assert from_tensors((X, Y), classes=7).classes == tuple("0123456")


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (X, Y[:3], "20 samples and 3 labels"),
        (X, torch.eye(4)[Y], r"labels have shape \(20, 4\).*argmax"),
        (X, Y + 0.5, "whole class numbers, found 0.5"),
        (X, Y - 1, "label -1"),
        (X.float() / 0, Y, "sample 0 holds NaN"),
        (X[:0], Y[:0], "there are no samples"),
        (Y, Y, "its first dimension must be the samples"),
    ],
)
def test_tensors_that_do_not_fit(x, y, words):
    with pytest.raises(UserError, match=words):
        from_tensors((x, y))


def test_test_samples_that_do_not_fit():
    with pytest.raises(UserError, match="test part: sample 0 has label 9"):
        _ = from_tensors((X, Y), test=(X, Y + 9)).test
    with pytest.raises(UserError, match=r"test samples have shape \(3, 2, 2\), training samples \(3, 4, 4\)"):
        _ = from_tensors((X, Y), test=(X[:, :, :2, :2], Y)).test


def test_validation_samples_of_another_shape():
    train, other = (InMemory(torch.zeros(4, side), torch.arange(4) % 2) for side in (3, 5))
    contents = Contents(train, None, classes=("a", "b"), validation=other)
    with pytest.raises(UserError, match=r"validation samples have shape \(5,\), training samples \(3,\)"):
        assembled(contents, name="x", validation=0.1, seed=0)


@pytest.mark.parametrize("dataset", [Pictures(), Listed(), TensorDataset(X, Y), Subset(Pictures(), range(20))])
@pytest.mark.parametrize("limit", [10, 10**9])
def test_datasets(dataset, limit, monkeypatch, cpu):
    monkeypatch.setattr(own, "memory_for_samples", lambda gigabytes: limit)
    data = from_datasets(dataset, dataset, validation=4, workers=0)
    assert data.train.targets.tolist() == Y[data.train.ids].tolist()
    streamed = limit == 10 and not isinstance(dataset, TensorDataset)
    assert isinstance(data.train.source, Streamed if streamed else InMemory)
    batch = next(data.train.in_order(8, cpu))
    assert torch.equal(batch.inputs, X[batch.ids].float() * (1 / 255))
    assert len(data.test) == 20


def test_labels_are_read_with_workers(monkeypatch):
    monkeypatch.setattr(own, "memory_for_samples", lambda gigabytes: 10)
    assert from_datasets(Pictures(), validation=0, workers=2).train.targets.tolist() == Y.tolist()


def test_listed_labels_that_items_do_not_carry_are_not_used(monkeypatch):
    monkeypatch.setattr(own, "memory_for_samples", lambda gigabytes: 10)
    dataset = Listed(item=lambda i: (X[i], 3 - int(Y[i])))
    assert from_datasets(dataset, validation=0, workers=0).train.targets.tolist() == (3 - Y).tolist()
    subset = Subset(Listed(), [5, 6, 8])
    assert own._listed_targets(subset, Y[0]).tolist() == [1, 2, 0]


def test_the_test_dataset_is_not_read_before_it_is_asked_for():
    def refuse(i):
        raise AssertionError("read")

    data = from_datasets(Pictures(), Pictures(item=refuse))
    with pytest.raises(AssertionError, match="read"):
        _ = data.test


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (Pictures(0), "the dataset is empty"),
        (Pictures(item=lambda i: {"x": 1, "y": 2}), "item 0 is a dict of 2"),
        (Pictures(item=lambda i: (X[i],)), "item 0 is a tuple of 1"),
        (Pictures(item=lambda i: ("words", 1)), "input of item 0 is no tensor"),
        (Pictures(item=lambda i: (torch.rand(3), 1)), "sample 0 differs when it is read again"),
        (Pictures(item=lambda i: (torch.zeros(i + 1), 1)), r"sample 1 has shape \(2,\), sample 0 \(1,\)"),
        (Pictures(item=lambda i: (X[i], "cat")), "class numbers"),
        (Pictures(item=lambda i: (X[i], [1] * (i + 1))), "the target of sample 1 has shape"),
        (DataLoader(TensorDataset(X, Y)), "loader.dataset"),
        (Endless(), r"Endless is read one item after the other.*Stream\(make, length\)"),
        (iter([(X[0], 1)]), "list_iterator is read one item after the other"),
        (7, "int has no numbered items"),
        ((X, Y, X), "data is a tuple of 3"),
    ],
)
def test_datasets_that_do_not_fit(dataset, words):
    with pytest.raises(UserError, match=words):
        as_data(dataset)


def test_shapes_that_differ_in_a_streamed_set(monkeypatch, cpu):
    monkeypatch.setattr(own, "memory_for_samples", lambda gigabytes: 1)
    dataset = Pictures(item=lambda i: (torch.zeros(i + 1, 2), 0))
    with pytest.raises(UserError, match=r"sample 1 has shape \(2, 2\), sample 0 \(1, 2\)") as caught:
        list(from_datasets(dataset, validation=0, workers=2).train.in_order(4, cpu))
    assert "\n" not in str(caught.value)


def test_as_data_takes_every_form():
    data = from_tensors((X, Y))
    assert as_data(data) is data
    forms = [
        (X, Y),
        (X, Y.tolist()),
        [X.numpy(), Y.numpy()],
        TensorDataset(X, Y),
        ((X, Y), (X, Y)),
        (Listed(), Pictures()),
        "demo",
    ]
    made = [as_data(form) for form in forms]
    assert all(isinstance(one, Data) for one in made)
    assert [one.test is not None for one in made] == [False, False, False, False, True, True, True]
    assert np.allclose([len(one.train) for one in made[:6]], 18)


def test_a_list_of_words_is_told_as_labels():
    with pytest.raises(UserError, match=r"train: give a pair \(x, y\) of tensors or arrays"):
        as_data((X, ["cat"] * 20))


class Counted(IterableDataset):
    """An iterable data set with a length."""

    def __len__(self):
        return 20

    def __iter__(self):
        return ((X[i], int(Y[i])) for i in range(20))


def items():
    yield from Counted()


STREAMS = Counted(), Stream(items, 20), Stream(Counted(), 20), Stream(list(items()), 20)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("limit", [10, 10**9])
def test_streams_with_a_length_are_numbered(stream, limit, monkeypatch, cpu):
    monkeypatch.setattr(own, "memory_for_samples", lambda gigabytes: limit)
    monkeypatch.setattr(numbered, "MODEST", limit)
    expected = from_tensors((X, Y), test=(X, Y), validation=4)
    data = from_datasets(stream, stream, validation=4, workers=2 if stream is STREAMS[1] else 0)
    assert isinstance(data.train.source, Streamed if limit == 10 else InMemory)
    for part in ("train", "validation", "test"):
        here, there = getattr(data, part), getattr(expected, part)
        for one, other in zip(here.in_order(3, cpu), there.in_order(3, cpu), strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert torch.equal(one.targets, other.targets)
            assert torch.equal(one.ids, other.ids)
    assert as_data(stream).task.names == ("0", "1", "2", "3")


def test_a_stream_of_inputs(cpu):
    data = as_data(Stream(lambda: iter(X), 20), validation=0)
    assert not data.task.labelled
    assert torch.equal(next(data.train.in_order(20, cpu)).inputs, X.float() * (1 / 255))
    assert len(from_inputs(Stream(items, 20), validation=0).train) == 20


def test_a_scratch_file_is_removed(monkeypatch):
    monkeypatch.setattr(numbered, "MODEST", 10)
    read = numbered.Numbered(Stream(items, 20))
    assert torch.equal(read[3][0], X[3])
    folder = read._read.file.folder
    assert folder.is_dir()
    del read
    assert not folder.exists()


def test_a_scratch_file_without_room(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(numbered, "MODEST", 10)
    monkeypatch.setattr(numbered.os, "posix_fallocate", full, raising=False)
    with pytest.raises(UserError, match=r"the stream takes 0.00 GB, and no such file can be made.*set TMPDIR"):
        from_datasets(Stream(items, 20))


def shuffled():
    return ((torch.rand(3), 0) for _ in range(4))


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (Stream(items, 19), "has more items than the 19"),
        (Stream(items, 21), "ends after 20 items, and states 21"),
        (Stream(items(), 20), "item 0 of the stream differs when it is read again: an iterator can be read once"),
        (Stream(shuffled, 4), "item 0 of the stream differs"),
        (Stream(items, 0), "a stream of length 0"),
        (Stream(lambda: iter([("a", 1)]), 1), "the input of an item of the stream is no tensor"),
    ],
)
def test_streams_that_do_not_fit(stream, words):
    with pytest.raises(UserError, match=words):
        from_datasets(stream)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([({"a": X[0]}, 1)] * 3, r"only items \(tensor, target\)"),
        ([X[0]] * 3, r"only items \(tensor, target\)"),
        ([(X[0], 1), (X[0, :2], 1)], r"item 1 of the stream has \(2, 4, 4\) torch.uint8, the first \(3, 4, 4\)"),
    ],
)
def test_large_streams_that_do_not_fit(items, words, monkeypatch):
    monkeypatch.setattr(numbered, "MODEST", 10)
    with pytest.raises(UserError, match=words):
        from_datasets(Stream(items, len(items)))


def test_a_test_part_of_other_classes_is_told_before_a_training():
    x, y = torch.rand(20, 4), torch.arange(20) % 2
    given = from_tensors((x, y), test=(x, y + 1))
    assert "test part" in given.problems()[0]
    assert not from_tensors((x, y), test=(x, y)).problems()


def test_masks_that_are_pictures_are_their_numbers():
    class Streets:
        def __len__(self) -> int:
            return 6

        def __getitem__(self, index: int) -> tuple[Image.Image, Image.Image]:
            mask = Image.new("P", (8, 8), index % 2)
            mask.putpalette([0, 0, 0, 128, 0, 0])
            mask.putpixel((3, 1), 255)
            return Image.new("RGB", (8, 8), (9, 9, 9)), mask

    found = from_datasets(Streets(), task="segmentation", classes=["street", "person"], validation=0)
    assert found.train.targets[:, 0, 0].tolist() == [0, 1, 0, 1, 0, 1]
    assert (found.train.targets[:, 1, 3] == 255).all()
