"""The user's own data in files of every format: the same samples as in a folder, read by number, or a clear refusal."""

import io
import json
import pickle
import shutil
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data import load
from understudy.data.content import content
from understudy.data.sets import webdataset
from understudy.errors import UserError
from understudy.tasks import Regression, SoftLabels, Unlabelled

CLASSES = ("cat", "dog", "emu")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def picture(number):
    generator = np.random.default_rng(number)
    height, width = generator.integers(33, 60, 2)
    return Image.fromarray(generator.integers(0, 255, (height, width, 3)).astype(np.uint8))


def encoded(number):
    file = io.BytesIO()
    picture(number).save(file, "PNG")
    return file.getvalue()


PARTS = {"train": range(12), "test": range(12, 18)}


def folder(root):
    for part, numbers in PARTS.items():
        for number in numbers:
            path = root / "folder" / part / CLASSES[number % 3] / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(number))
    return root / "folder"


def shards(root, *, label="cls", word=lambda number: str(number % 3), per=5):
    (root / "shards").mkdir(exist_ok=True)
    for part, numbers in PARTS.items():
        for first in range(numbers.start, numbers.stop, per):
            with tarfile.open(root / "shards" / f"{part}-{first:04d}.tar", "w") as archive:
                for number in range(first, min(first + per, numbers.stop)):
                    members = [(f"a.b/{number:03d}.png", encoded(number))]
                    members += [(f"a.b/{number:03d}.{label}", word(number).encode())] if label else []
                    for name, data in members:
                        info = tarfile.TarInfo(name)
                        info.size = len(data)
                        archive.addfile(info, io.BytesIO(data))
    return root / "shards"


def parquet(root, *, image="image", label="label", words=False):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (root / "parquet").mkdir(exist_ok=True)
    for part, numbers in PARTS.items():
        columns = {image: [{"bytes": encoded(number), "path": f"{number}.png"} for number in numbers]}
        if label:
            columns[label] = [CLASSES[number % 3] if words else number % 3 for number in numbers]
        pq.write_table(pa.table(columns), root / "parquet" / f"{part}-00000-of-00001.parquet", row_group_size=5)
    return root / "parquet"


def on_disk(root, *, image="image", label="label"):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(names=list(CLASSES))})
    splits = {
        part: datasets.Dataset.from_dict(
            {
                image: [{"bytes": encoded(number), "path": None} for number in numbers],
                label: [number % 3 for number in numbers],
            },
            features=features,
        )
        for part, numbers in PARTS.items()
    }
    datasets.DatasetDict(splits).save_to_disk(root / "saved")
    return root / "saved"


FORMATS = {
    "webdataset": ("webdataset", shards, {}),
    "webdataset, words in JSON": (
        "webdataset",
        lambda root: shards(root, label="json", word=lambda number: json.dumps({"label": CLASSES[number % 3]})),
        {"label": "json"},
    ),
    "parquet": ("parquet", parquet, {}),
    "parquet, words": ("parquet", lambda root: parquet(root, image="img", words=True), {"image": "img"}),
    "huggingface": ("huggingface", on_disk, {}),
    "huggingface, CIFAR-10's columns": ("huggingface", lambda root: on_disk(root, image="img"), {}),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("called", FORMATS)
def test_the_same_samples_as_in_a_folder(called, tmp_path, monkeypatch):
    name, write, settings = FORMATS[called]
    root, options = write(tmp_path), {"validation": 0, "workers": 0, "size": 32}
    data, expected = load(name, root, **options, **settings), load("folder", folder(tmp_path), **options)
    numbers = expected.train.source.samples[by_number(expected, tmp_path)]
    assert torch.equal(data.train.source.samples, numbers)
    assert data.train.targets.tolist() == [number % 3 for number in PARTS["train"]]
    assert data.test.targets.tolist() == [number % 3 for number in PARTS["test"]]
    assert data.classes in (CLASSES, ("0", "1", "2"))
    assert len(content(data.train.source)) == 64
    monkeypatch.setattr("understudy.data.dataset.memory_for_samples", lambda gigabytes: 10)
    streamed = load(name, root, **options, **settings)
    ids = torch.tensor([11, 3, 7])
    assert torch.equal(next(iter(streamed.train.source.batches([ids], torch.device("cpu")))), numbers[ids])
    unlabelled = load(name, root, task="unlabelled", **options, **settings)
    assert isinstance(unlabelled.task, Unlabelled)
    assert len(unlabelled.test) == 6


def by_number(data, root):
    """The places of a folder's samples, in the order of their numbers."""
    paths = sorted((root / "folder" / "train").rglob("*.png"), key=lambda path: (path.parent.name, path.name))
    return torch.tensor(sorted(range(len(paths)), key=lambda place: paths[place].name))


def test_without_a_column_or_member_for_labels_there_are_none(tmp_path):
    for data in (
        load("webdataset", shards(tmp_path, label=None), workers=0),
        load("parquet", parquet(tmp_path, label=None), workers=0),
    ):
        assert data.task == Unlabelled()
        assert data.shape == (3, 32, 32)


def test_the_index_of_shards_is_kept_until_a_shard_changes(tmp_path, monkeypatch):
    root = shards(tmp_path)
    first = load("webdataset", root, workers=0).train.source.samples
    (index,) = (tmp_path / "cache").rglob("*.json")
    with monkeypatch.context() as patch:
        patch.setattr(webdataset, "_members", lambda *_: pytest.fail("read again"))
        assert torch.equal(load("webdataset", root, workers=0).train.source.samples, first)
    index.write_text(index.read_text().replace('"shard": 0', '"shard": 1', 1))  # damaged
    assert torch.equal(load("webdataset", root, workers=0).train.source.samples, first)
    index.unlink()
    index.mkdir()  # neither read nor written
    assert torch.equal(load("webdataset", root, workers=0).train.source.samples, first)


def arrays(root, **given):
    (root / "arrays").mkdir(exist_ok=True)
    for name, array in given.items():
        if array is not None:
            np.save(root / "arrays" / f"{name}.npy", array)
    np.savez(root / "arrays.npz", **{name: array for name, array in given.items() if array is not None})
    return root / "arrays", root / "arrays.npz"


X = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3)).astype(np.uint8)
Y = np.arange(20) % 4


def test_numpy_files(tmp_path, monkeypatch):
    for root in arrays(tmp_path, x_train=X, y_train=Y, x_test=X[:6], y_test=Y[:6]):
        data = load("numpy", root, validation=4)
        assert (data.shape, len(data.train), len(data.validation), len(data.test)) == ((3, 8, 8), 16, 4, 6)
        assert torch.equal(data.train.source.samples, torch.from_numpy(X).permute(0, 3, 1, 2))
        assert load("numpy", root, task="unlabelled").task == Unlabelled()
    monkeypatch.setattr("understudy.data.sets.numpy_files.memory_for_samples", lambda gigabytes: 10)
    streamed = load("numpy", root, validation=4, workers=0)
    batch = next(iter(streamed.train.source.batches([torch.tensor([5, 2])], torch.device("cpu"))))
    assert torch.equal(batch, torch.from_numpy(X[[5, 2]]).permute(0, 3, 1, 2))


def test_the_validation_part_of_numpy_files(tmp_path):
    parts = {"x_train": X[:10], "y_train": Y[:10], "x_val": X[10:14], "y_val": Y[10:14]}
    for root in arrays(tmp_path, **parts, x_test=X[14:], y_test=Y[14:]):
        data = load("numpy", root)
        assert [len(part) for part in (data.train, data.validation, data.test)] == [10, 4, 6]
        assert data.validation.targets.tolist() == Y[10:14].tolist()
        assert len(load("numpy", root, validation=0).validation or ()) == 0
    alone = arrays(tmp_path / "arrays", **parts)[1]
    data = load("numpy", alone, validation=2)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [8, 2, 4]
    with pytest.raises(UserError, match=r"the validation part has no labels \(y_val\)"):
        load("numpy", arrays(alone.parent, **{**parts, "x_test": X, "y_test": Y, "y_val": None})[1])
    with pytest.raises(UserError, match="3 samples and 4 labels in the validation part"):
        load("numpy", arrays(alone.parent, **{**parts, "x_val": X[:3], "x_test": X, "y_test": Y})[1])


@pytest.mark.parametrize("unread", ["x_valid", "y_val", "y_tests"])
def test_arrays_under_other_names_are_warned_of(unread, tmp_path):
    for root in arrays(tmp_path, x_train=X, y_train=Y, x_test=X, y_test=Y, **{unread: Y}):
        with pytest.warns(UserWarning, match=rf"'{unread}': not read, since parts are called x_train, x_val"):
            load("numpy", root)


@pytest.mark.parametrize(("name", "write"), [("folder", folder), ("webdataset", shards), ("parquet", parquet)])
def test_parts_under_other_names_are_warned_of(name, write, tmp_path):
    root = write(tmp_path)
    for path in [path for path in root.iterdir() if path.name.startswith("test")]:
        path.rename(path.with_name(path.name.replace("test", "dev")))
    with pytest.warns(UserWarning, match=r"'dev.*: not read, since parts are called train, val"):
        assert load(name, root, workers=0, validation=0).test is None


def test_a_few_rows_that_are_no_distributions_make_no_regression(tmp_path):
    rows = PROBABILITIES.copy()
    rows[7] *= 2
    with pytest.raises(UserError, match=r"sample 7 are no distribution: their sum is 2 .*\(1 such samples\)"):
        load("numpy", arrays(tmp_path, x=X, y=rows)[0])
    assert isinstance(load("numpy", tmp_path / "arrays", task="regression").task, Regression)


def test_numbers_and_no_labels_in_numpy_files(tmp_path):
    vectors, _ = arrays(tmp_path, x=X.reshape(20, -1) / 255, y=np.random.default_rng(0).normal(size=(20, 2)))
    assert isinstance(load("numpy", vectors).task, Regression)
    (vectors / "y.npy").unlink()
    assert isinstance(load("numpy", vectors).task, Unlabelled)


PROBABILITIES = np.full((20, 3), 0.25) + 0.25 * np.eye(3)[np.arange(20) % 3]


def test_rows_of_probabilities(tmp_path):
    """They are soft labels in every format; a class number beside them is a row with a single 1."""
    expected = torch.tensor(PROBABILITIES[:12], dtype=torch.float32)
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    datasets = pytest.importorskip("datasets")
    images = [{"bytes": encoded(number), "path": None} for number in range(12)]
    columns = {"image": images, "label": PROBABILITIES[:12].tolist()}
    (tmp_path / "table").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "table" / "train.parquet")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.Sequence(datasets.Value("float32"), length=3)}
    )
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "saved")
    packed = shards(tmp_path, label="json", word=lambda n: json.dumps({"label": PROBABILITIES[n].tolist() if n else 0}))
    roots = {
        "numpy": arrays(tmp_path, x=X[:12], y=PROBABILITIES[:12])[0],
        "parquet": tmp_path / "table",
        "huggingface": tmp_path / "saved",
        "webdataset": packed,
    }
    for name, root in roots.items():
        settings = {"label": "json"} if name == "webdataset" else {}
        data = load(name, root, validation=0, workers=0, classes=CLASSES, **settings)
        assert data.task == SoftLabels(CLASSES), name
        first = torch.tensor([1.0, 0, 0]) if name == "webdataset" else expected[0]
        assert torch.equal(data.train.targets, torch.cat([first[None], expected[1:]])), name
    assert load("parquet", roots["parquet"], workers=0, task="regression").task.outputs == 3
    with pytest.raises(UserError, match=r"sample 0 are no distribution: their sum is 1\.5"):
        load("numpy", arrays(tmp_path, x=X, y=1.5 * PROBABILITIES)[0], task="soft-labels")


def test_the_forms_of_numpy_files(tmp_path):
    """Class numbers in a column, floating-point images with the channels last, and the other order of bytes."""
    root, _ = arrays(tmp_path, x=(X / 255).astype(">f4"), y=Y[:, None].astype(">i8"))
    data = load("numpy", root, validation=0)
    assert data.classes == ("0", "1", "2", "3")
    assert data.train.targets.tolist() == Y.tolist()
    assert torch.allclose(data.train.source.samples, torch.from_numpy(X).permute(0, 3, 1, 2) / 255)


def test_a_test_part_without_labels_is_refused(tmp_path):
    root, _ = arrays(tmp_path, x_train=X, y_train=Y, x_test=X)
    with pytest.raises(UserError, match=r"the test part has no labels \(y_test\)"):
        load("numpy", root).test  # noqa: B018
    assert "the test part has no labels (y_test)" in load("numpy", root).problems()[0]
    assert len(load("numpy", root, task="unlabelled").test) == 20
    saved = on_disk(tmp_path)
    datasets = pytest.importorskip("datasets")
    splits = datasets.load_from_disk(str(saved))
    splits["test"] = splits["test"].remove_columns("label")
    splits.save_to_disk(tmp_path / "other")
    with pytest.raises(UserError, match="split 'test' has no column 'label'"):
        load("huggingface", tmp_path / "other", workers=0).test  # noqa: B018


@pytest.mark.parametrize("name", ["webdataset", "parquet", "huggingface"])
def test_a_test_part_whose_labels_are_not_published_is_told_before_a_training(name, tmp_path):
    def label(number):
        return number % 3 if number in PARTS["train"] else -1

    if name == "webdataset":
        root = shards(tmp_path, word=lambda number: str(label(number)))
    else:
        datasets = pytest.importorskip("datasets")
        splits = datasets.load_from_disk(str(on_disk(tmp_path)))
        kinds = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
        splits = splits.map(lambda row: {"label": -1}, features=kinds) | {"train": splits["train"].cast(kinds)}
        splits = datasets.DatasetDict(splits)
        root = tmp_path / name
        root.mkdir()
        if name == "huggingface":
            splits.save_to_disk(root)
        else:
            for part, table in splits.items():
                table.to_parquet(root / f"{part}.parquet")
    (problem,) = load(name, root, workers=0).problems()
    assert "has the label -1, as samples without a label have" in problem


def test_names_of_classes_in_parquet_are_those_that_the_library_datasets_wrote(tmp_path):
    datasets = pytest.importorskip("datasets")
    for part, table in datasets.load_from_disk(str(on_disk(tmp_path))).items():
        table.to_parquet(tmp_path / f"{part}.parquet")
    data = load("parquet", tmp_path, workers=0, validation=0)
    assert data.classes == CLASSES
    assert data.train.targets.tolist() == [number % 3 for number in PARTS["train"]]
    assert load("parquet", tmp_path, workers=0, classes=("a", "b", "c")).classes == ("a", "b", "c")
    with pytest.raises(UserError, match="classes gives another order than the numbers in the column 'label' have"):
        load("parquet", tmp_path, workers=0, classes=CLASSES[::-1])


def test_labels_of_shards_are_found_in_capitals(tmp_path):
    data = load("webdataset", shards(tmp_path, label="CLS"), workers=0, validation=0)
    assert data.train.targets.tolist() == [number % 3 for number in PARTS["train"]]


def test_names_of_classes_that_look_like_numbers(tmp_path):
    names = ("1", "2", "x")
    root = shards(tmp_path, word=lambda number: names[number % 3])
    data = load("webdataset", root, workers=0, validation=0, classes=names)
    assert data.train.targets.tolist() == [number % 3 for number in PARTS["train"]]
    assert data.test.targets.tolist() == [number % 3 for number in PARTS["test"]]


def written(name, content=b"no archive"):
    def write(root):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
        return root / name

    return write


class Runs:
    def __reduce__(self):
        return pytest.fail, ("unpickled",)


HUGE = b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (900000000000, 8), }\n123"


def zipped(root, content):
    with zipfile.ZipFile(root / "x.npz", "w") as archive:
        archive.writestr("x.npy", content)
    return root / "x.npz"


def renamed(path, other):
    return path.rename(other)


def labelled(root, label):
    """Parquet files whose first label is this one."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": encoded(number), "path": None} for number in range(4)]
    pq.write_table(pa.table({"image": images, "label": [label, 0, 1, 1]}), root / "train.parquet")
    return root


def rows(root, labels):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [{"bytes": encoded(number), "path": None} for number in range(len(labels))]
    pq.write_table(pa.table({"image": images, "label": labels}), root / "train.parquet")
    return root


def altered(root, number, header):
    """Shards of which the first one's member of this number has another header, or where it ends before it."""
    path = root / "train-0000.tar"
    with tarfile.open(path) as archive:
        place = archive.getmembers()[number].offset
    content = path.read_bytes()
    path.write_bytes(content[:place] + (header + content[place + len(header) :] if header is not None else b""))
    return root


def without_an_image(root):
    with tarfile.open(root / "train.tar", "w") as archive:
        for name in ("a.b/002.png", "a.b/002.cls", "a.b/003.left.png", "a.b/003.cls"):
            info = tarfile.TarInfo(name)
            info.size = len(data := encoded(2) if name.endswith("png") else b"1")
            archive.addfile(info, io.BytesIO(data))
    return root


def objects(root):
    np.save(root / "x.npy", np.array([{"a": 1}, None]), allow_pickle=True)
    return root


@pytest.mark.parametrize(
    ("name", "write", "settings", "message"),
    [
        ("numpy", lambda root: root, {}, "holds no array x_train or x"),
        ("numpy", written("x.npz"), {}, "cannot be read"),
        ("numpy", objects, {}, "arrays of objects are not accepted"),
        ("numpy", lambda root: arrays(root, x=X, y=Y[:3])[0], {}, "20 samples and 3 labels in the train part"),
        ("parquet", written("train.parquet"), {}, "is no Parquet file"),
        ("parquet", lambda root: root, {}, "holds no Parquet files of a training part"),
        ("parquet", parquet, {"image": "picture"}, "has no column 'picture'"),
        ("parquet", parquet, {"classes": ("cat",)}, "sample 1 has the label 1, which is of no known class"),
        ("webdataset", written("train.tar"), {}, "is no tar file"),
        ("webdataset", lambda root: root, {}, "holds no shards of a training part"),
        ("webdataset", lambda root: shards(root, word=lambda n: "9" if n else "x"), {}, "the label 9"),
        ("webdataset", lambda root: shards(root, word=lambda n: ""), {}, "the label ''"),
        (
            "webdataset",
            lambda root: shards(root, word=lambda n: "x" * 70_000),
            {},
            "70,000 bytes, too many for a label",
        ),
        ("webdataset", shards, {"label": "txt"}, r"no sample of the training part has a label \(.txt\)"),
        ("webdataset", lambda root: altered(shards(root), 2, b"\xff" * 512), {}, "damaged or cut short at byte"),
        ("webdataset", lambda root: altered(shards(root), 2, None), {}, "damaged or cut short at byte"),
        ("webdataset", lambda root: altered(shards(root), 2, b"../x.cls" + bytes(92)), {}, "is damaged or cut short"),
        ("webdataset", without_an_image, {}, "sample 'a.b/003' has a label and no image"),
        ("parquet", lambda root: labelled(root, 0.5), {}, "sample 0 has the label 0.5: give the number of a class"),
        (
            "parquet",
            lambda root: rows(root, [[0.5, 0.5], [1.0]]),
            {},
            r"sample 1 has the label \[1.0\]: give 2 numbers",
        ),
        ("parquet", lambda root: labelled(root, None), {}, "sample 0 has the label None"),
        ("parquet", lambda root: parquet(root, label=None), {"label": "fine"}, "has no column 'fine'"),
        ("numpy", lambda root: arrays(root, x=X, y=Y.astype(str))[0], {}, "labels of the train part are of type <U"),
        ("numpy", lambda root: arrays(root, x=X, y=Y + 1j)[0], {}, "labels of the train part are of type complex"),
        ("numpy", lambda root: arrays(root, x=X[0, 0, 0, 0])[0], {}, "x is no array with a row for each sample"),
        ("numpy", lambda root: renamed(arrays(root, x=X)[1], root / "x.npy").parent, {}, "cannot be read"),
        ("numpy", lambda root: arrays(root, x=X)[0] / "x.npy", {}, "is no .npz file"),
        ("numpy", written("x.npz", pickle.dumps(Runs())), {}, "cannot be read"),
        ("numpy", lambda root: written("x.npy", pickle.dumps(Runs()))(root).parent, {}, "cannot be read"),
        ("numpy", lambda root: zipped(root, pickle.dumps(Runs())), {}, "x is no array"),
        ("numpy", lambda root: zipped(root, HUGE), {}, "Unable to allocate"),
        ("huggingface", lambda root: root, {}, "cannot be loaded by the library datasets"),
        ("huggingface", lambda root: None, {}, "needs dataset, a name on the Hub"),
        ("huggingface", on_disk, {"image": "picture"}, "there is no column 'picture'"),
        ("huggingface", on_disk, {"classes": ("dog", "cat", "emu")}, r"in the column 'label' have \(cat, dog, emu\)"),
        ("folder", lambda root: with_val(folder(root)), {}, "holds val and validation"),
        ("huggingface", on_disk, {"train": "training"}, "there is no split 'training'"),
    ],
)
def test_what_cannot_be_read_is_one_line(name, write, settings, message, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        load(name, write(tmp_path), workers=0, **settings)
    assert "\n" not in str(caught.value)


def test_a_corrupt_image_is_named_by_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "encoded", lambda number: b"no image")
    for name, write in (("parquet", parquet), ("webdataset", shards)):
        with pytest.raises(UserError, match=r"train.*, sample .* is not an image that can be read"):
            load(name, write(tmp_path), workers=0, size=32)


@pytest.mark.parametrize(("name", "package"), [("parquet", "pyarrow"), ("huggingface", "datasets")])
def test_a_missing_package_is_named_with_the_way_to_get_it(name, package, tmp_path, monkeypatch):
    (tmp_path / "train.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'understudy\["):
        load(name, tmp_path)


def with_val(root):
    for name in ("val", "validation"):
        shutil.copytree(root / "test", root / name)
    return root


def test_files_in_folders_below_those_of_the_parts(tmp_path):
    """The nearest folder with a part's name counts, so that no test shard becomes a training shard."""
    flat = shards(tmp_path)
    for path in sorted(flat.iterdir()):
        part, number = path.stem.split("-")
        place = tmp_path / "deep" / part / f"node-{number}" / "0.tar"
        place.parent.mkdir(parents=True)
        path.rename(place)
    data = load("webdataset", tmp_path / "deep", workers=0, validation=0)
    assert (len(data.train), len(data.test)) == (12, 6)


@pytest.mark.parametrize("called", ["val", "validation"])
def test_the_validation_part_of_a_folder(called, tmp_path):
    root = folder(tmp_path)
    (root / "test").rename(root / called)
    assert len(load("folder", root, workers=0).test) == 6
    shutil.copytree(root / "train", root / "test")
    data = load("folder", root, workers=0)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 6, 12)


def part_renamed(name, root):
    """The files with their test part as a validation part, and the training part's as the test part."""
    if name == "folder":
        (root / "test").rename(root / "val")
        shutil.copytree(root / "train", root / "test")
    elif name == "huggingface":
        datasets = pytest.importorskip("datasets")
        splits = datasets.load_from_disk(str(root))
        splits = {"train": splits["train"], "validation": splits["test"], "test": splits["train"]}
        datasets.DatasetDict(splits).save_to_disk(root.parent / "three")
        return root.parent / "three"
    else:
        for path in sorted(root.iterdir()):
            if path.name.startswith("test"):
                path.rename(path.with_name(path.name.replace("test", "validation")))
            else:
                shutil.copy(path, path.with_name(path.name.replace("train", "test")))
    return root


@pytest.mark.parametrize(
    ("name", "write"),
    [("folder", folder), ("webdataset", shards), ("parquet", parquet), ("huggingface", on_disk)],
)
def test_a_validation_part_of_its_own(name, write, tmp_path):
    options = {"size": 32, "workers": 0}
    expected = load(name, write(tmp_path), validation=0, **options).test.source.samples
    root = part_renamed(name, tmp_path / {"huggingface": "saved", "webdataset": "shards"}.get(name, name))
    three = load(name, root, **options)
    assert (len(three.train), len(three.validation), len(three.test)) == (12, 6, 12)
    assert torch.equal(three.validation.source.samples, expected)
    assert load(name, root, validation=0, **options).validation is None
