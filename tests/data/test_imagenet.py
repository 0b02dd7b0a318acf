"""ImageNet, on small data of its upstream forms; the whole set is not at hand."""

import io
import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from understudy.data import load
from understudy.data.sets import imagenet
from understudy.errors import UserError

pytest.importorskip("scipy")
SYNSETS = {"n02012849": "crane", "n01440764": "tench, Tinca tinca", "n03126707": "crane"}
IDS = {"n02012849": 2, "n01440764": 3, "n03126707": 1}  # the devkit's numbers are in another order than the synsets
CLASSES = ("tench", "crane (n02012849)", "crane (n03126707)")
SHOWN = ["n03126707", "n01440764", "n01440764", "n02012849", "n03126707"]  # by the validation images


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def jpeg(level, width=60, height=40):
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), level, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def tar(members, mode="w"):
    """An archive of these members, as bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def training():
    """The levels of the images by synset and name."""
    return {s: {f"{s}_{n}.JPEG": 10 * k + 20 * n for n in (7, 2, 4)} for k, s in enumerate(SYNSETS)}


def meta():
    from scipy.io import savemat

    rows = [(IDS[s], s, words, "gloss", 0, np.zeros(0), 0, 3) for s, words in SYNSETS.items()]
    rows.append((4, "n00000001", "animal", "gloss", 3, np.arange(3), 1, 0))
    names = [
        "ILSVRC2012_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    ]
    file = io.BytesIO()
    savemat(file, {"synsets": np.array(rows, [(name, object) for name in names])[:, None]})
    return file.getvalue()


TRUTH = "".join(f"{IDS[synset]}\n" for synset in SHOWN).encode()


def archives(root, **changes):
    """The official archives."""
    inner = {f"{s}.tar": tar({n: jpeg(level) for n, level in images.items()}) for s, images in training().items()}
    val = {f"ILSVRC2012_val_{n:08d}.JPEG": jpeg(50 * n) for n in (3, 1, 2, 5, 4)}
    devkit = {f"{imagenet.DEVKIT}/data/{imagenet.META}": meta(), f"{imagenet.DEVKIT}/data/{imagenet.TRUTH}": TRUTH}
    contents = {
        imagenet.TRAIN: tar(inner),
        imagenet.VALIDATION: tar(val),
        f"{imagenet.DEVKIT}.tar.gz": tar(devkit, "w:gz"),
    }
    root.mkdir(exist_ok=True)
    for name, content in (contents | changes).items():
        if content is not None:
            (root / name).write_bytes(content)
    return root


def folders(root, *, flat=False):
    """The images in folders, the validation images with their synsets or without."""
    for synset, images in training().items():
        for name, level in images.items():
            (root / "train" / synset).mkdir(parents=True, exist_ok=True)
            (root / "train" / synset / name).write_bytes(jpeg(level))
    for number, synset in enumerate(SHOWN, 1):
        folder = root / "val" if flat else root / "val" / synset
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"ILSVRC2012_val_{number:08d}.JPEG").write_bytes(jpeg(50 * number))
    return root


def with_words(root):
    (root / "synset_words.txt").write_text("".join(f"{synset} {words}\n" for synset, words in SYNSETS.items()))
    return root


def unpacked_devkit(root):
    (root / imagenet.DEVKIT / "data").mkdir(parents=True)
    (root / imagenet.DEVKIT / "data" / imagenet.META).write_bytes(meta())
    (root / imagenet.DEVKIT / "data" / imagenet.TRUTH).write_bytes(TRUTH)
    return root


def kaggle(root):
    folders(root / "ILSVRC" / "Data" / "CLS-LOC", flat=True)
    rows = [f"ILSVRC2012_val_{n:08d},{s} 1 2 3 4 {s} 5 6 7 8" for n, s in enumerate(SHOWN, 1)]
    (root / imagenet.SOLUTION).write_text("\n".join(["ImageId,PredictionString", *rows]) + "\n")
    with_words(root).joinpath("synset_words.txt").rename(root / "LOC_synset_mapping.txt")
    return root


FORMS = {
    "archives": archives,
    "folders": lambda root: with_words(folders(root)),
    "flat": lambda root: unpacked_devkit(folders(root, flat=True)),
    "kaggle": kaggle,
    "train unpacked": lambda root: (
        shutil.copytree(folders(root.parent / "f") / "train", archives(root) / "train").parent
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_data(form, tmp_path):
    data = load("imagenet", FORMS[form](tmp_path / "root"), validation=0, size=16, resize=20, workers=0, verify=False)
    assert data.classes == CLASSES  # in the order of the synsets, as torchvision's and timm's networks have them
    levels = [level for _, images in sorted(training().items()) for _, level in sorted(images.items())]
    (images,) = data.train.source.batches([torch.arange(len(data.train))], torch.device("cpu"))
    assert images.shape == (9, 3, 16, 16)
    assert (images[:, 0, 5, 5] - torch.tensor(levels)).abs().max() <= 1
    assert data.train.targets.tolist() == [number // 3 for number in range(9)]
    of_test = dict(zip(data.test.source.samples[:, 0, 5, 5].tolist(), data.test.targets.tolist(), strict=True))
    expected = [
        CLASSES.index(next(c for c in CLASSES if c in (SYNSETS[s].split(",")[0], f"crane ({s})"))) for s in SHOWN
    ]
    assert [of_test[min(of_test, key=lambda seen: abs(seen - 50 * n))] for n in range(1, 6)] == expected


def test_by_default_as_its_networks_are_measured(tmp_path):
    data = load("imagenet", archives(tmp_path / "root"), validation=3, workers=0, verify=False)
    assert (data.shape, data.image["resize"]) == ((3, 224, 224), 256)
    assert (len(data.train), len(data.validation), len(data.test)) == (6, 3, 5)


def test_the_index_is_kept(tmp_path, monkeypatch):
    root = archives(tmp_path / "root")
    first = load("imagenet", root, size=8, resize=8, workers=0, verify=False).train.targets
    monkeypatch.setattr(imagenet, "_members", lambda *_: pytest.fail("read again"))
    assert torch.equal(load("imagenet", root, size=8, resize=8, workers=0, verify=False).train.targets, first)
    (index, *_) = (tmp_path / "cache" / "understudy" / "archives").iterdir()
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(pytest.fail.Exception, match="read again"):  # a damaged one is of no use
        load("imagenet", root, size=8, resize=8, workers=0, verify=False)


def cut(content, at, patch=b""):
    return content[:at] + patch + content[at + len(patch) :] if patch else content[:at]


WHOLE = tar({"n01440764.tar": tar({"a.JPEG": jpeg(1), "b.JPEG": jpeg(2)})})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({imagenet.TRAIN: None}, "holds no ImageNet"),
        ({imagenet.TRAIN: b"no archive"}, "is no tar file"),
        ({imagenet.TRAIN: tar({"readme.txt": b"x"})}, "holds no images"),
        ({imagenet.TRAIN: cut(WHOLE, 1024)}, "is no tar file|damaged or cut short"),
        ({imagenet.TRAIN: cut(WHOLE, 512 + 1536, b"\xff" * 512)}, "damaged or cut short at byte"),
        ({f"{imagenet.DEVKIT}.tar.gz": None}, r"put ILSVRC2012_devkit_t12.tar.gz \(or Kaggle's"),
        ({f"{imagenet.DEVKIT}.tar.gz": b"no archive"}, "tar.gz is damaged"),
        ({f"{imagenet.DEVKIT}.tar.gz": tar({"x": b""}, "w:gz")}, "holds no meta.mat"),
        ({f"{imagenet.DEVKIT}.tar.gz": tar({"x/meta.mat": b"no"}, "w:gz")}, "meta.mat of the devkit is damaged"),
        ({f"{imagenet.DEVKIT}.tar.gz": tar({"meta.mat": meta(), imagenet.TRUTH: b"9\n"}, "w:gz")}, "TRUTH|truth"),
        (
            {f"{imagenet.DEVKIT}.tar.gz": tar({"meta.mat": meta(), imagenet.TRUTH: b"1\n"}, "w:gz")},
            "nothing tells what",
        ),
        ({imagenet.TRAIN: tar({"n01440764.tar": tar({})})}, "n01440764.tar holds no images"),
        ({imagenet.TRAIN: tar({"fish.tar": tar({"a.JPEG": jpeg(1)})})}, "fish.tar is called after no synset"),
        ({imagenet.VALIDATION: tar({"n09/ILSVRC2012_val_00000001.JPEG": jpeg(1)})}, None),
        ({imagenet.VALIDATION: tar({"n00000009/a.JPEG": jpeg(1)})}, "a.JPEG is of n00000009, of which there are no"),
    ],
)
def test_what_is_missing_or_damaged(changes, message, tmp_path):
    def opened():
        return load("imagenet", archives(tmp_path / "r", **changes), size=8, resize=8, workers=0, verify=False).test

    if message is None:
        with pytest.warns(UserWarning, match="holds 1 of the 5 validation images that the devkit lists"):
            assert len(opened()) == 1
        return
    with pytest.raises(UserError, match=message) as caught:
        opened()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: [one.unlink() for one in (root / "train" / "n02012849").iterdir()], "n02012849 holds no images"),
        (
            lambda root: shutil.move(root / "val" / SHOWN[0] / "ILSVRC2012_val_00000001.JPEG", root / "val"),
            "ILSVRC2012_val_00000001.JPEG lies in no folder of a synset",
        ),
    ],
)
def test_folders_that_are_half_there(change, message, tmp_path):
    """A class without images would change the numbers of those behind it; images beside folders would be left out."""
    root = with_words(folders(tmp_path / "root"))
    change(root)
    with pytest.raises(UserError, match=message):
        load("imagenet", root, size=8, workers=0)


def test_hidden_files_are_no_images(tmp_path):
    root = with_words(folders(tmp_path / "root"))
    (root / "train" / "n02012849" / "._n02012849_2.JPEG").write_bytes(b"of another system")
    assert len(load("imagenet", root, size=8, workers=0, validation=0).train) == 9


def test_a_devkit_that_is_not_the_published_one(tmp_path):
    with pytest.raises(UserError, match=r"devkit_t12.tar.gz is not the published file"):
        load("imagenet", archives(tmp_path / "root"), size=8, workers=0)
