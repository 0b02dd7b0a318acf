"""Every statement of SECURITY.md that no other test holds."""

import json
import os
import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import understudy
from understudy import UserError, recipe
from understudy.data.images import decoded
from understudy.data.sets import demo
from understudy.export.open import open_student
from understudy.files import contents, read_json
from understudy.methods.notation import parse
from understudy.models import build
from understudy.models.weights import read_weights
from understudy.plans.cache import TrainingCache
from understudy.plans.entry import finish
from understudy.plans.training import Job
from understudy.report.reading import read_result
from understudy.runs.folder import RunFolder
from understudy.training.records import TrainingRecord
from understudy.trusted import call_factory

ROOT = Path(understudy.__file__).parents[1]
RECIPE = 'data = "demo"\n[student]\nnetwork = "resnet8"\n[methods.terms]'
PICKLED = (".pt", ".pth", ".th", ".bin", ".ckpt", ".tar")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not Path("ran").exists()


@pytest.mark.parametrize("suffix", PICKLED)
def test_pickles_are_not_executed(suffix):
    path = Path(f"weights{suffix}")
    for content in (Evil(), {"state_dict": Evil()}, {"weight": torch.ones(1), "more": Evil()}):
        torch.save(content, path)
        with pytest.raises(UserError, match=r"refused: it asks to run code \(.*mkdir\)"):
            read_weights(path)
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(UserError):
            read_weights(path)


def test_arrays_of_objects_are_not_read():
    np.savez("demo.npz", train_strips=np.array([Evil()], dtype=object), train_offsets=[[0, 1]], train_labels=[0])
    with pytest.raises(UserError, match="damaged"):
        demo.read(Path("demo.npz"))


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_torchscript_is_no_weights_file_and_no_student(suffix):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), f"script{suffix}")
        with pytest.raises(UserError):
            read_weights(f"script{suffix}")
        with pytest.raises(UserError, match="is no student"):
            open_student(Path(f"script{suffix}"))


def test_an_exported_program_asks_for_trust_before_it_is_read():
    Path("student.pt2").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match=r"add --trust student\.pt2"):
        open_student(Path("student.pt2"))
    with pytest.raises(UserError, match="damaged"):
        open_student(Path("student.pt2"), ["student.pt2"])


def onnx_file(domain="", location=None):
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    value = helper.make_tensor("w", kind, [1], [1.0])
    if location:
        value.ClearField("float_data")
        value.data_location = onnx.TensorProto.EXTERNAL
        value.external_data.add(key="location", value=location)
    node = helper.make_node("Own" if domain else "Add", ["x", "w"], ["y"], domain=domain)
    sides = [helper.make_tensor_value_info(name, kind, [1]) for name in "xy"]
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(helper.make_graph([node], "g", sides[:1], sides[1:], [value]), opset_imports=opsets)
    model.ir_version = 9
    onnx.save(model, "student.onnx") if not location else Path("student.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize("wrong", [{"domain": "somebodys"}, {"location": "../secret.bin"}, {"location": "/etc/passwd"}])
def test_onnx_runs_no_operators_of_its_own_and_reads_no_file_outside(wrong, tmp_path):
    pytest.importorskip("onnxruntime")
    (tmp_path.parent / "secret.bin").write_bytes(bytes(4))
    onnx_file(**wrong)
    with pytest.raises(UserError, match=r"student\.onnx is damaged or no ONNX file"):
        open_student(Path("student.onnx"))


@pytest.mark.parametrize(
    "text",
    ["__import__('os').mkdir('ran')", "KD(temperature=__import__('os').mkdir('ran'))", "os.mkdir('ran')", "[1][0]"],
)
def test_an_objective_is_not_evaluated(text):
    with pytest.raises(UserError):
        parse(text)
    with pytest.raises(UserError):
        recipe.parse(
            'data = "demo"\n[student]\nnetwork = "resnet8"\n[methods.terms]', "r", [f"methods.terms.terms={text}"]
        )


def described(network, settings=None, **changes):
    description = {
        "format": 1, "network": {"name": network, "settings": settings or {}}, "class": "x:Y", "front": None,
        "input": {"shape": [3, 8, 8]}, "classes": ["a", "b"],
    }  # fmt: skip
    Path("student.json").write_text(json.dumps(description | changes))
    safetensors.torch.save_file({"weight": torch.ones(1)}, "student.safetensors")


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        ("os:mkdir", {"path": "ran"}),
        ("python:os:mkdir", {"path": "ran"}),
        ("timm:hf-hub:somebody/net", {}),
        ("timm:resnet18", {"pretrained": True}),
        ("timm:resnet18", {"checkpoint_path": "x"}),
        ("torchvision:resnet18", {"weights": "DEFAULT"}),
        ("transformers:timm_wrapper", {}),
        ("resnet8", {"trusted": ["os"]}),
        ("../../x", {}),
    ],
)
def test_a_description_runs_no_code_and_fetches_nothing(network, settings):
    described(network, settings)
    with pytest.raises(UserError):
        understudy.load(".")


def test_trust_is_for_the_module_that_is_named_alone(tmp_path, monkeypatch):
    Path("mymodule_of_trust.py").write_text(
        "from os import mkdir\nimport torch\ndef make(): return torch.nn.Linear(1, 1)"
    )
    for trusted, name in (([], "mymodule_of_trust:make"), (["mymodule"], "mymodule_of_trust:make")):
        with pytest.raises(UserError, match="--trust mymodule_of_trust"):
            build(name, trusted=trusted)
    assert build("mymodule_of_trust:make", trusted=["mymodule_of_trust"])
    with pytest.raises(UserError, match="comes from the module"):
        call_factory("mymodule_of_trust:mkdir", ["mymodule_of_trust"], "network", lambda make: make("ran"))


def test_one_name_is_enough_for_a_student_of_ones_own():
    Path("mynet_of_trust.py").write_text("import torch\ndef make(): return torch.nn.Linear(1, 1)")
    described("python:mynet_of_trust:make")
    with pytest.raises(UserError, match=r"add --trust mynet_of_trust \(in Python"):
        understudy.load(".")
    with pytest.raises(UserError, match="does not fit Linear"):  # so it was built
        understudy.load(".", trust=["mynet_of_trust"])


def test_a_worker_trusts_what_its_job_names():
    assert Job.model_fields["trusted"].is_required() or not Job.model_fields["trusted"].get_default()


def test_an_entry_of_a_cache_names_no_other_files():
    place = Path("cache/nodes/key")
    place.mkdir(parents=True)
    (place / "student.safetensors").write_bytes(b"weights")
    finish(place, TrainingRecord(training="a", key="key"))
    record = json.loads((place / "result.json").read_text())
    Path("cache/payload").write_text("x")
    for name in ("../../payload", str(Path("mine").absolute()), "..", "a\x00b"):
        forged = {**record, "digests": {**record["digests"], name: "0" * 64}}
        (place / "result.json").write_text(json.dumps(forged))
        before = sorted(Path().rglob("*"))
        taken, lines = TrainingCache(Path("cache")).take("key", Path("victim"), "a")
        assert taken is None
        assert len(lines) == 1
        assert not [path for path in set(Path().rglob("*")) - set(before) if "damaged" not in path.parts]
        next(Path("cache/damaged").iterdir()).rename(place)


def test_a_link_in_the_place_of_a_file_that_is_written_is_not_followed():
    Path("precious").write_text("kept")
    Path("run").mkdir()
    Path("run/.lock").symlink_to(Path("precious").absolute())
    with pytest.raises(UserError, match="symbolic link"), RunFolder(Path("run")).locked():
        pass
    assert Path("precious").read_text() == "kept"


def test_a_pipe_or_a_device_in_the_place_of_a_file_is_refused():
    os.mkfifo("pipe")
    for place in ("pipe", "/dev/zero", "."):
        with pytest.raises(OSError, match=r"regular|directory"):
            contents(Path(place))
    Path("large").write_bytes(bytes(100))
    with pytest.raises(OSError, match="larger than 99 bytes"):
        contents(Path("large"), most=99)
    described("resnet8")
    Path("student.json").unlink()
    os.mkfifo("student.json")
    with pytest.raises(UserError, match="no regular file"):
        understudy.load(".")
    os.mkfifo("result.json")
    with pytest.raises(UserError):
        read_result(Path())
    with pytest.raises(UserError):
        read_json(Path("result.json"))
    with pytest.raises(UserError, match="larger than 1,000,000 bytes"):
        recipe.read(Path("/dev/zero"))


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 500, "a = " + "[" * 500 + "]" * 500, "a." * 100_000 + "b = 1", "", "#", "x"]
)
def test_a_recipe_is_small_and_flat(text):
    for changes in ([], ["train.epochs=1"]):
        with pytest.raises(UserError) as caught:
            recipe.parse(text, "r.toml", changes)
        assert len(str(caught.value)) < 500


def test_a_network_that_cannot_be_in_the_file_is_not_built():
    described("resnet-blocks", {"blocks": [1], "widths": [100_000], "strides": [1]})
    with pytest.raises(UserError, match="they are not of one student"):
        understudy.load(".")
    described("resnet-blocks", {"blocks": [10_000] * 20, "widths": [1] * 20, "strides": [1] * 20})
    with pytest.raises(UserError, match="blocks in all"):
        understudy.load(".")
    Path("student.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not a student's description"):
        understudy.load(".")


def test_a_picture_of_too_many_pixels_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    Image.new("L", (20, 20)).save("large.png")
    with pytest.raises(UserError, match="cannot be read as an image"):
        decoded(Path("large.png"), (1, 8, 8))


ASKED = ("outside.py", "library_weights.py")  # where the libraries fetch weights that a recipe or a caller asks for


def test_weights_are_downloaded_only_by_the_libraries_that_are_asked_for_them():
    there = (ROOT / "understudy" / "models").rglob("*.py")
    source = "".join(path.read_text() for path in there if path.name not in ASKED)
    assert not re.search(
        r"hf_hub_download|load_state_dict_from_url|pretrained=True|from_pretrained|urlopen|requests", source
    )


def test_every_file_that_the_page_names_is_there():
    page = (ROOT / "SECURITY.md").read_text()
    for name in re.findall(r"`(tests/[\w/]+\.py)`", page):
        assert (ROOT / name).is_file()
    assert all(f"`{suffix}`" in page for suffix in PICKLED)
