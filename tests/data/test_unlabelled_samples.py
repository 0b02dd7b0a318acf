"""Training samples without labels beside those with labels: where they come from, and what is refused."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tasks import scenes
from tests.tasks.test_tasks import SENTENCES, made
from understudy import nested
from understudy.data import Access, Augmentation, Crop, from_tensors, load
from understudy.data.content import content
from understudy.data.parts import fewer
from understudy.data.sources import InMemory, Streamed
from understudy.data.unlabelled import Both, repeated, rest_unlabelled, source_of, with_unlabelled
from understudy.errors import UserError
from understudy.tasks.words import SPECIAL

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
CPU = torch.device("cpu")
X, Y = torch.rand(20, 4), torch.arange(20) % 2


@pytest.fixture
def photos(write_images, tmp_path):
    """The photos of a folder by class, and the same files once more without their classes."""
    root = write_images()
    for number, file in enumerate(sorted((root / "train").rglob("*.png"))):
        (tmp_path / "loose" / "deeper").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "loose" / "deeper" / f"{number}.png")
    shutil.move(root / "train", tmp_path / "own" / "train")
    return tmp_path


def inputs_of(source):
    return nested.concatenated(list(source.batches([torch.arange(len(source))], CPU)))


@pytest.mark.parametrize("settings", [{}, {"resize": 6}, {"resize": 6, "loader": "torchvision"}])
def test_images_become_samples_as_those_of_the_data_do(photos, settings):
    data = load("folder", photos / "own", size=4, validation=0, workers=0, **settings)
    source = source_of(str(photos / "loose"), data, Access(workers=0))
    assert type(source) is type(data.train.source)
    assert torch.equal(inputs_of(source), inputs_of(data.train.source))
    more = with_unlabelled(data, source)
    assert more.train.targets.tolist() == [0] * 4 + [1] * 4 + [-1] * 8
    assert (more.unlabelled, more.shape, more.mean) == (8, data.shape, data.mean)
    batch = next(more.train.in_order(16, CPU))
    assert torch.equal(batch.inputs[:8], batch.inputs[8:])


def test_a_pattern_names_images(photos):
    data = load("folder", photos / "own", size=4, validation=0)
    assert len(source_of(str(photos / "loose" / "*" / "[0-3].png"), data, Access(workers=0))) == 4


def test_crops_are_cut_out_of_the_files_of_both(photos):
    """As of one data set with all of the files."""
    for name in ("a", "b"):
        shutil.copytree(photos / "loose" / "deeper", photos / "all" / "train" / name)
    settings = {"size": 4, "resize": 6, "validation": 0, "workers": 0}
    data = load("folder", photos / "own", **settings)
    more = with_unlabelled(data, source_of(str(photos / "loose"), data, Access(workers=0)))
    whole = load("folder", photos / "all", **settings)
    assert isinstance(more.train.source.dataset, Both)
    views = [
        next(
            each.train.epoch(0, seed=3, batch=16, augmentation=Augmentation(crop=Crop()), task=data.task, device=CPU)
        ).inputs
        for each in (more, whole)
    ]
    assert torch.equal(*views)


@pytest.mark.parametrize("memory", [None, 1e-9])
def test_samples_that_are_measured_are_found_among_them(photos, memory):
    settings = {"size": 4, "validation": 0, "workers": 0, "memory": memory}
    data = load("folder", photos / "own", **settings)
    loose = source_of(str(photos / "test"), data, Access(workers=0, memory=memory))
    test = load("folder", photos / "test", **settings).train
    more = with_unlabelled(data, loose)
    assert isinstance(more.train.source, InMemory) == (memory is None)
    assert (repeated(more, test), repeated(data, test)) == (8, 0)


def test_samples_in_memory_stand_beside_streamed_ones(photos):
    data = load("folder", photos / "own", size=4, validation=0, workers=0, memory=1e-9)
    assert isinstance(data.train.source, Streamed)
    held = source_of(str(photos / "loose"), data, Access(workers=0))
    assert isinstance(held, InMemory)
    more = with_unlabelled(data, held)
    assert isinstance(more.train.source, Streamed)
    assert torch.equal(inputs_of(more.train.source)[8:], inputs_of(held))


def test_images_are_floating_point_where_the_others_are(photos):
    given = torch.rand(8, 3, 4, 4), torch.arange(8) % 2
    data = from_tensors(given, validation=0)
    more = with_unlabelled(data, source_of(str(photos / "loose"), data, Access(workers=0)))
    assert more.train.source.samples.dtype == torch.float32
    assert 0.5 < more.train.source.samples[8:].max() <= 1


@pytest.mark.parametrize("name", ["text", "tags"])
def test_texts_are_the_lines_of_a_file(name, tmp_path):
    data = made(name)
    (tmp_path / "texts.txt").write_text("﻿" + "\n".join(SENTENCES) + "\n\n  \n", encoding="utf-8")
    more = with_unlabelled(data, source_of(str(tmp_path / "texts.txt"), data, Access()))
    count = len(data.train.source)
    assert more.unlabelled == count
    listed = with_unlabelled(data, SENTENCES).train.source
    assert nested.same([more.train.source.samples, more.train.source.targets], [listed.samples, listed.targets])
    for whole in nested.tensors(more.train.source.samples):
        assert torch.equal(whole[:count], whole[count:])
    assert more.task.has_label(more.train.source.targets).tolist() == [True] * count + [False] * count
    if name == "tags":
        words = data.train.source.targets != -100
        assert torch.equal(more.train.source.targets[count:] == -1, words)


def test_a_task_of_token_ids_alone_takes_no_texts(tmp_path):
    """Each line became the same tokens, those of unknown words."""
    known = made("text")
    data = replace(known, task=replace(known.task, vocabulary=SPECIAL))
    (tmp_path / "texts.txt").write_text("\n".join(SENTENCES), encoding="utf-8")
    with pytest.raises(UserError, match="the task has no vocabulary, and every word of a text would be unknown"):
        source_of(str(tmp_path / "texts.txt"), data, Access())


def test_queries_are_the_lines_of_a_file(tmp_path):
    data = made("links")
    (tmp_path / "queries.tsv").write_text("e3\tnext\n?\tthird\te2\n")
    more = with_unlabelled(data, source_of(str(tmp_path / "queries.tsv"), data, Access()))
    assert more.unlabelled == 2
    assert more.task.has_label(more.train.targets).tolist()[-3:] == [True, False, False]
    assert inputs_of(more.train.source)["head"][-2:].tolist() == [
        data.task.entities.index(name) for name in ("e3", "e2")
    ]
    (tmp_path / "queries.tsv").write_text("e3\tnexd\n")
    with pytest.raises(UserError, match="there is no relation 'nexd'"):
        source_of(str(tmp_path / "queries.tsv"), data, Access())


def test_arrays_and_clouds(tmp_path):
    np.save(tmp_path / "x.npy", X.numpy().astype(np.float64))
    data = from_tensors((X, Y), validation=4)
    assert torch.equal(inputs_of(source_of(str(tmp_path / "x.npy"), data, Access())), X)
    data = made("detection-3d")
    (tmp_path / "clouds").mkdir()
    for number, cloud in enumerate(scenes.scenes(48)[0][:3]):
        np.save(tmp_path / "clouds" / f"{number}.npy", np.asarray(cloud, np.float32))
    found = inputs_of(source_of(str(tmp_path / "clouds"), data, Access()))
    ours = nested.chosen(data.train.source.samples, slice(3))
    assert nested.same(dict(found), dict(ours))


def test_the_rest_of_the_training_part():
    data = from_tensors((X, Y), validation=4)
    few = fewer(data, 6)
    less = rest_unlabelled(data, few)
    known = less.task.has_label(less.train.targets)
    assert torch.equal(less.train.ids[known], few.train.ids)
    assert torch.equal(less.train.targets[known], few.train.targets)
    assert (less.unlabelled, len(less.train)) == (10, 16)
    assert less.train.source.samples is data.train.source.samples
    assert (data.train.source.targets >= 0).all()
    assert less.validation is data.validation


def test_a_training_part_of_which_nothing_is_left():
    data = from_tensors((X, Y), validation=4)
    with pytest.raises(UserError, match="student_samples leaves out, and of 16 it leaves out none: lower it"):
        rest_unlabelled(data, fewer(data, 16))


def test_the_content_of_all_samples_counts():
    data = from_tensors((X, Y), validation=4)
    one, other = (content(with_unlabelled(data, torch.full((3, 4), value)).train.source) for value in (0.0, 1.0))
    assert one != other


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (torch.rand(5, 3), r"an input is \(3,\) of float32, and of the samples with labels \(4,\) of float32"),
        (torch.rand(5, 4).half(), r"of float16, and of the samples with labels \(4,\) of float32: give both"),
        ({"x": torch.rand(5, 4)}, "an input is none, and of the samples with labels"),
        (torch.zeros(0, 4), "there are no samples"),
        (torch.tensor([[1.0, 2.0, torch.nan, 0.0]]), "sample 0 holds NaN or infinity"),
        (["a text"], "the input of item 0 is no tensor, array or picture"),
    ],
)
def test_samples_of_another_form_are_refused(inputs, said):
    with pytest.raises(UserError, match=said):
        with_unlabelled(from_tensors((X, Y), validation=4), inputs)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none", None, r"'.*none': there is no such folder and no such file"),
        ("none*", None, r"'.*none\*' names no images \(files that end in .png"),
        ("empty/", None, r"'.*empty/?' holds no images"),
        ("x.npy", b"nothing", r"'.*x.npy' cannot be read"),
    ],
)
def test_files_that_are_not_right(photos, name, content, said):
    data = load("folder", photos / "own", size=4, validation=0)
    path = photos / name
    if name.endswith("/"):
        path.mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        source_of(str(path), data, Access(workers=0))


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file or directory: give a file with a text in each line"), (b"\xff\xfe\xff", "no text in UTF-8")],
)
def test_files_of_texts_that_are_not_right(tmp_path, content, said):
    path = tmp_path / "texts"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        source_of(str(path), made("text"), Access())
    path.write_text("\n \n")
    with pytest.raises(UserError, match="holds no text"):
        source_of(str(path), made("text"), Access())


def test_data_that_are_no_images_need_an_array(tmp_path):
    with pytest.raises(UserError, match=r"the inputs of tensors are no images and no texts: give an \.npy file"):
        source_of(str(tmp_path), from_tensors((X, Y), validation=4), Access())
