"""Exports are proved on real data, and what is not good enough leaves nothing behind."""

import errno
import json
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version

import pytest
import torch
from PIL import Image

import understudy
from tests.conftest import RECIPE_ALONE
from understudy import export
from understudy import files as files_module
from understudy.cli.export import _data as data_named
from understudy.data import from_tensors
from understudy.data.images import SHORT_SIDE, TORCHVISION
from understudy.errors import UserError
from understudy.export.open import open_student
from understudy.export.proof import Compared
from understudy.export.proofs import add_proof, read_proofs
from understudy.files import sealed
from understudy.models import build
from understudy.models import student as product
from understudy.runs.folder import with_seal, without_seal
from understudy.tasks import Figure

FORMATS = ("onnx", "torch", "int8")


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_exported_agrees_with_pytorch_for_any_batch(shipped, name):
    found = shipped.exported[name]
    compared = found.proof.compared
    assert compared.samples == 30
    assert found.proof.measured_on == "test"
    assert compared.agreement >= (0.99 if name == "int8" else 1.0)
    assert compared.lost <= (0.5 if name == "int8" else 0.0)
    opened = open_student(found.path, trust=[str(found.path)])
    student = understudy.load(shipped.folder)
    for batch in (1, 5):
        images = torch.rand(batch, 3, 8, 8)
        answers = opened.network(images)
        assert answers.shape == (batch, 3)
        if name != "int8":
            torch.testing.assert_close(answers, student(images), rtol=1e-4, atol=1e-5)
    assert opened.description == understudy.models.student.read(shipped.folder)


def test_the_proofs_stand_beside_the_files(shipped):
    proofs = json.loads((shipped.folder / "proof.json").read_text())
    assert proofs.pop("digest")
    assert set(proofs) == {"student.onnx", "student.pt2", "student.int8.onnx"}
    for name, proof in proofs.items():
        assert proof["bytes"]["after"] == (shipped.folder / name).stat().st_size
        assert proof["speedup"].keys() == {"over_pytorch", "over_teacher"}
        assert all(proof["speedup"].values())
        assert set(proof["latency_ms"]) == {"before", "after", "teacher"}
        assert proof["latency_ms"]["after"]["threads"] == 1
        assert proof["throughput_ms"]["after"]["batch"] > 1
        assert proof["versions"]["torch"] == version("torch")  # without the build's suffix
    assert proofs["student.onnx"]["facts"]["opset"] == 18
    assert proofs["student.int8.onnx"]["facts"]["layers"]["floating_point"] == 2


def test_an_onnx_file_is_whole_states_its_input_and_tells_nothing_of_where_it_was_made(shipped):
    import onnx

    path = shipped.folder / "student.onnx"
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [(v.domain, v.version) for v in model.opset_import] == [("", 18)]
    (images,), (logits,) = model.graph.input, model.graph.output
    assert (images.name, logits.name) == ("images", "logits")
    assert images.type.tensor_type.shape.dim[0].dim_param
    described = json.loads({p.key: p.value for p in model.metadata_props}["understudy"])
    assert described["input"]["shape"] == [3, 8, 8]
    assert described["input"]["range"] == [0.0, 1.0]
    assert described["input"]["channels"] == "RGB"
    assert described["classes"] == ["0", "1", "2"]
    assert b"site-packages" not in path.read_bytes()
    assert str(shipped.folder).encode() not in path.read_bytes()


@pytest.mark.parametrize("name", ["student.onnx", "student.int8.onnx"])
def test_onnx_runtime_keeps_no_core_busy_while_pytorch_is_timed(shipped, name):
    options = open_student(shipped.folder / name).network.session.get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    assert options.intra_op_num_threads == torch.get_num_threads()


def test_int8_quantises_all_but_the_first_and_the_last_layer(shipped):
    import onnx

    graph = onnx.load(shipped.folder / "student.int8.onnx").graph
    made_by = {output: node for node in graph.node for output in node.output}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    in_int8 = [node.input[1] in made_by and made_by[node.input[1]].op_type == "DequantizeLinear" for node in layers]
    assert in_int8 == [False, *[True] * (len(layers) - 2), False]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.tensor([100.0, 0, 0]), "agrees with PyTorch on"),
        (torch.full((3,), 0.5), "a value differs by 0.5"),
        (torch.full((3,), torch.nan), "agrees with PyTorch on"),
    ],
)
def test_what_is_beyond_tolerance_is_one_line_and_keeps_nothing(folder, plain_format, small, error, told):
    plain_format(error)
    (folder / "student.plain").write_text("of yesterday")
    before = files(folder)
    with pytest.raises(UserError, match=f"student.plain is not good enough, and was not kept: .*{told}") as caught:
        export.export(folder, "plain", data=small.data(), seconds=0.0)
    assert "\n" not in str(caught.value)
    assert files(folder) == before
    with pytest.raises(UserError, match="not kept"):
        export.export(folder, "plain", out=folder / "new", data=small.data(), seconds=0.0)
    assert not (folder / "new").exists()


def test_a_figure_that_is_no_number_is_beyond_every_tolerance():
    error = Figure("error", "error", better="lower")
    compared = Compared(9, 0.1, 1.0, None, error, before=0.1, after=float("nan"))
    assert "of error on 9 samples" in (compared.beyond(export.FORMATS["int8"].tolerance) or "")


def test_a_tolerance_is_the_users(folder, plain_format, small):
    plain_format(torch.tensor([100.0, 0, 0]))
    loose = {"agreement": 0, "loss": 100, "difference": 1e9}
    found = export.export(folder, "plain", data=small.data(), tolerance=loose, seconds=0.0)
    assert found.proof.compared.agreement < 1
    assert found.proof.compared.lost > 50
    with pytest.raises(UserError, match="points of accuracy on 30"):
        export.export(folder, "plain", data=small.data(), tolerance=loose | {"loss": 50}, seconds=0.0)
    with pytest.raises(UserError, match="no 'agreemnt'; did you mean 'agreement'"):
        export.export(folder, "plain", data=small.data(), tolerance={"agreemnt": 1}, seconds=0.0)


def test_without_a_test_part_validation_proves_it_and_without_both_nothing_does(folder, plain_format, small):
    plain_format()
    assert export.export(folder, "plain", data=small.data(test=False), seconds=0.0).proof.measured_on == "validation"
    with pytest.raises(UserError, match="neither a test nor a validation part"):
        export.export(folder, "plain", data=small.data(test=False, validation=0), seconds=0.0)


def test_where_it_goes(folder, plain_format, small, tmp_path):
    plain_format()

    def place(**settings):
        return export.export(folder, "plain", data=small.data(), seconds=0.0, **settings).path

    assert place() == folder / "student.plain"
    assert place(out=tmp_path / "elsewhere") == tmp_path / "elsewhere" / "student.plain"
    assert place(out=tmp_path / "mine.plain") == tmp_path / "mine.plain"
    with pytest.raises(UserError, match=r"ends in \.plain, as in mine\.plain"):
        place(out=tmp_path / "mine.onnx")


def test_a_network_at_hand_is_not_changed_and_is_the_one_that_was_saved(folder, plain_format, small):
    plain_format()
    network = understudy.load(folder).train()
    export.export(folder, "plain", data=small.data(), network=network, seconds=0.0)
    assert network.training
    with torch.no_grad():
        next(network.parameters()).add_(1)
    with pytest.raises(UserError, match=r"the student was changed since it was saved in .* \(.*weight differs\)"):
        export.export(folder, "plain", data=small.data(), network=network, seconds=0.0)


@pytest.mark.parametrize(
    "image",
    [{}, {"image": SHORT_SIDE, "resize": 12}, {"image": TORCHVISION, "resize": 8}],
    ids=["cover", "short", "raw"],
)
def test_a_folder_of_images_is_read_as_the_student_sees_images(tmp_path, image, small):
    images, labels = small.pictures(12, 0)
    for number, (picture, label) in enumerate(zip(images, labels.tolist(), strict=True)):
        (tmp_path / "photos" / "abc"[label]).mkdir(parents=True, exist_ok=True)
        array = picture.permute(1, 2, 0).repeat_interleave(3, 1).numpy()
        Image.fromarray(array).save(tmp_path / "photos" / "abc"[label] / f"{number}.png")
    network = build("resnet8", widths=(4, 4, 4), classes=3, size=8)
    described = product.describe(network, network.built_as, (3, 8, 8), ("a", "b", "c"), image)
    product.save(tmp_path / "student", network, described)
    data = data_named(tmp_path / "student", str(tmp_path / "photos"), None)
    assert product.describe(network, network.built_as, data.shape, data.task, data.image) == described


def test_data_that_name_the_outputs_otherwise_are_told(folder, plain_format, small):
    plain_format()
    rename(folder, ["cat", "dog", "eel"])

    def note(*names):
        data = from_tensors(small.pictures(60, 0), small.pictures(30, 1), classes=names)
        return export.export(folder, "plain", data=data, seconds=0.0).note

    assert note("cat", "dog", "eel") is None
    assert note("0", "1", "2") is None  # not named
    assert note("cat", "dog", "fox") == "tensors names other outputs than the student: 'eel' is 'fox'"
    with pytest.raises(UserError, match="'dog' is output 1 of the student and 2 of tensors"):
        note("cat", "cow", "dog")


def rename(folder, classes):
    """Gives the classes of a saved student other names."""
    described = json.loads((folder / "student.json").read_text())
    del described["digest"]
    described["classes"] = described["task"]["classes"] = classes
    (folder / "student.json").write_text(json.dumps(sealed(described)))


def test_what_cannot_be_is_one_line(folder, plain_format, small, tmp_path):
    plain_format()
    with pytest.raises(UserError, match="no format 'onx'; did you mean 'onnx'"):
        export.export(folder, "onx", data=small.data())
    with pytest.raises(UserError, match="does not say on which data"):
        export.export(folder, "plain")
    other = torch.rand(12, 3, 9, 9), torch.arange(12) % 3
    with pytest.raises(
        UserError, match="takes 3x8x8 and has 3 outputs; tensors holds 3x9x9, and its task has 3 outputs"
    ):
        export.export(folder, "plain", data=other)
    with pytest.raises(UserError, match="holds no student"):
        export.export(tmp_path, "plain", data=small.data())


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [
        ("onnx", "onnxscript", "export"),
        ("int8", "onnxruntime", "export"),
        ("executorch", "executorch.exir", "executorch"),
    ],
)
def test_a_package_that_is_missing_is_named_with_its_extra(folder, small, monkeypatch, name, missing, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=rf"needs the package .*understudy\[{extra}\]"):
        export.export(folder, name, data=small.data())


def test_a_student_of_too_few_layers_is_not_for_int8(tmp_path, small):
    from understudy.models import NetworkSpec

    code = "n.Sequential(n.Flatten(), n.Linear(192, 4), n.ReLU(), n.Linear(4, 3))"
    (tmp_path / "two.py").write_text(f"from torch import nn as n\ndef make(): return {code}\n")
    spec = NetworkSpec("two:make")
    sys.path.insert(0, str(tmp_path))
    try:
        network = spec.build(trusted=["two"])
        product.save(tmp_path, network, product.describe(network, spec, (3, 8, 8), ("a", "b", "c")))
        with pytest.raises(UserError, match="this student has no other"):
            export.export(tmp_path, "int8", data=small.data(), trust=["two"], seconds=0.0, broken=True)
    finally:
        sys.path.remove(str(tmp_path))


@pytest.mark.parametrize("how", ["whitened", "local contrast"])
def test_a_whitening_front_is_exported_with_the_student_and_stays_in_floating_point(tmp_path, small, how):
    from understudy.models import LocalContrast, NetworkSpec, Whitened, Whitening
    from understudy.models import student as product

    data = small.data()
    spec = NetworkSpec("resnet8", {"widths": [4, 4, 4]})
    images = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        front = Whitening.fit(images) if how == "whitened" else LocalContrast((3, 8, 8))
        network = Whitened(spec.build(3, 3, 8), front).eval()
    product.save(tmp_path, network, product.describe(network, spec, (3, 8, 8), data.classes))
    loose = {"agreement": 0, "loss": 100}
    found = export.export(tmp_path, "int8", data=data, tolerance=loose, seconds=0.0, broken=True)
    assert found.proof.compared.largest_difference < 0.2 * found.proof.compared.largest_value
    assert found.record["facts"]["layers"] == {"int8": 8, "floating_point": 2}


def test_a_run_proves_its_student_on_its_own_data_beside_its_own_teacher(make_run, plain_format, tmp_path):
    plain_format()
    taught = '[teacher]\nnetwork = "resnet8"\nweights = "gone.safetensors"\n'
    make_run(text=RECIPE_ALONE.replace("smallnets:student", "resnet8")).execute()
    recipe = tmp_path / "run" / "recipe.toml"
    written = without_seal(recipe.read_text())[0] + taught
    recipe.write_text(with_seal(written))
    for place in (tmp_path / "run", tmp_path / "run" / "trainings" / "alone-0"):
        found = export.export(place, "plain", seconds=0.0, broken=True)
        assert found.proof.compared.samples == 18
        assert found.record["data"] == "folder"
        assert found.proof.speedup("teacher") is not None
    recipe.write_text(with_seal(written.replace('method = "alone"', 'method = "from-elsewhere"')))
    with pytest.raises(UserError, match="from-elsewhere"):  # of a package that is not installed here
        export.export(tmp_path / "run", "plain", seconds=0.0, broken=True)
    recipe.write_text(with_seal(written.replace('"resnet8"\nweights', '"smallnets:teacher"\nweights')))
    found = export.export(tmp_path / "run", "plain", seconds=0.0, broken=True)
    assert found.proof.speedup("teacher") is None
    assert "--trust smallnets" in found.note


@pytest.mark.parametrize("name", ["student.onnx", "student.int8.onnx", "student.pt2"])
def test_a_damaged_file_is_one_line(shipped, tmp_path, name):
    whole = (shipped.folder / name).read_bytes()
    for content in (b"", b"nothing of the kind", whole[: len(whole) // 2]):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"is damaged or no|was not exported") as caught:
            open_student(path, trust=[str(path)])
        assert "\n" not in str(caught.value)


def test_an_onnx_file_of_somebody_else_is_one_line(shipped, tmp_path):
    import onnx

    model = onnx.load(shipped.folder / "student.onnx")
    for text, told in ((None, "was not exported by understudy"), ("[]", "is not a student's description")):
        del model.metadata_props[:]
        if text is not None:
            onnx.helper.set_model_props(model, {"understudy": text})
        onnx.save(model, tmp_path / "other.onnx")
        with pytest.raises(UserError, match=told):
            open_student(tmp_path / "other.onnx")


def test_a_program_that_may_run_code_is_opened_only_where_it_is_named(shipped, tmp_path):
    path = shutil.copy(shipped.folder / "student.pt2", tmp_path / "student.pt2")
    with pytest.raises(UserError, match=r"may run code of whoever made it.*--trust"):
        open_student(path)
    with pytest.raises(UserError, match="is no student: name a run folder, or a file that ends in"):
        open_student(shipped.folder / "student.json")
    with pytest.raises(UserError, match="there is no student"):
        open_student(tmp_path / "nothing.onnx")


def test_exports_into_one_folder_at_once_keep_the_proofs_of_all(tmp_path):
    names = [f"{number}.onnx" for number in range(40)]
    with ProcessPoolExecutor(4) as pool:
        assert set(pool.map(partial(add_proof, tmp_path, record={"student": "a"}), names)) == {None}
    assert set(read_proofs(tmp_path)) == set(names)
    assert {path.name for path in tmp_path.iterdir()} == {"proof.json"}


def test_a_proof_is_kept_where_folders_have_no_locks(tmp_path, monkeypatch):
    def no_lock(handle, *, wait):
        raise OSError(errno.EBADF, "Bad file descriptor")  # as on NFS

    monkeypatch.setattr(files_module, "lock", no_lock)
    assert add_proof(tmp_path, "a.onnx", {"student": "a"}) is None
    assert set(read_proofs(tmp_path)) == {"a.onnx"}
