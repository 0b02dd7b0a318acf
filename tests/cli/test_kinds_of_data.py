"""Every command that reads data takes them from the user's function, from a stream, and from files of every format."""

import io
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from tests.conftest import pictures
from tests.runs.test_path import SEARCH
from understudy.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
CODE = """
from tests.conftest import pictures
from understudy.data import Stream

def tensors(samples: int = 60):
    return pictures(samples, 0), pictures(18, 1)

def stream(samples: int = 60):
    return Stream(lambda: zip(*pictures(samples, 0)), samples), Stream(lambda: zip(*pictures(18, 1)), 18)
"""
PARTS = {"train": (60, 0), "test": (18, 1)}


def encoded(image):
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


def write_numpy(root):
    arrays = {}
    for part, what in PARTS.items():
        arrays[f"x_{part}"], arrays[f"y_{part}"] = (tensor.numpy() for tensor in pictures(*what))
    np.savez(root / "data.npz", **arrays)
    return root / "data.npz"


def write_shards(root):
    for part, what in PARTS.items():
        with tarfile.open(root / f"{part}.tar", "w") as archive:
            for number, (image, label) in enumerate(zip(*pictures(*what), strict=True)):
                for name, content in ((f"{number:03d}.png", encoded(image)), (f"{number:03d}.cls", b"%d" % label)):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return root


def columns(part):
    images, labels = pictures(*PARTS[part])
    return {"image": [{"bytes": encoded(image), "path": None} for image in images], "label": labels.tolist()}


def write_parquet(root):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for part in PARTS:
        pq.write_table(pa.table(columns(part)), root / f"{part}.parquet")
    return root


def write_saved(root):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list("abc"))})
    splits = {part: datasets.Dataset.from_dict(columns(part), features=features) for part in PARTS}
    datasets.DatasetDict(splits).save_to_disk(root / "saved")
    return root / "saved"


KINDS = {
    "datacode:tensors": None,
    "datacode:stream": None,
    "numpy": write_numpy,
    "webdataset": write_shards,
    "parquet": write_parquet,
    "huggingface": write_saved,
}


@pytest.fixture
def understudy(workplace, quick, tmp_path, monkeypatch, capsys):
    (tmp_path / "datacode.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        assert not caught.value.code, shown.out + shown.err
        return shown.out

    return run


# All commands with one kind; of the others, whose data are made at the same place, one.
TABLE = dict.fromkeys(KINDS, ("check",)) | {"datacode:tensors": ("check", "path", "tune", "bench", "distill")}


@pytest.mark.parametrize(("kind", "command"), [(kind, command) for kind in TABLE for command in TABLE[kind]])
def test_commands_take_data_of_every_kind(kind, command, understudy, workplace, tmp_path):
    write = KINDS[kind]
    given = ["--set", f"data.name={kind}", "--trust", "smallnets", "--trust", "datacode", "--set", "data.workers=0"]
    text = (SEARCH if command == "path" else (workplace / "recipe.toml").read_text()).replace('name = "folder"\n', "")
    text = text.replace('root = "pictures"\n', f'root = "{write(tmp_path)}"\n' if write else "")
    text = text if write and kind != "numpy" else text.replace("size = 8\n", "")
    text = text.replace("[data]\n", f'[data]\nname = "{kind}"\n')
    (tmp_path / "recipe.toml").write_text(text)
    recipe, out = tmp_path / "recipe.toml", ["--out", tmp_path / "run"]
    few = ["--set", "train.epochs=2", "--set", "methods.fitnets.hint_epochs=1"]
    if command == "check":
        understudy("check", recipe, *given)
    elif command == "bench":
        understudy("bench", recipe, *given, "--seconds", 0)
    elif command == "tune":
        understudy("tune", recipe, *given, *few, *out, "--search", "train.optimizer.lr=0.01..0.1", "--trials", 1)
    elif command == "path":
        understudy("path", recipe, *given, "--set", "seeds=[0]", "--set", "path.sizes=[4]", *out)
    else:
        understudy("distill", recipe, *given, *few, *out, "--no-check")
        understudy(
            "export", tmp_path / "run", "--to", "torch", "--broken", "--trust", "smallnets", "--trust", "datacode"
        )
        picture = workplace / "pictures" / "test" / "a" / "000.png"
        assert "000.png" in understudy("predict", tmp_path / "run", picture, "--trust", "smallnets")
