"""The product: it comes back without the user's code, with it only where it is trusted, and never half."""

import json

import pytest
import safetensors.torch
import torch
from torch import nn

import understudy
from tests.conftest import RECIPE_ALONE
from understudy import files
from understudy.errors import UserError
from understudy.models import NetworkSpec, Normalized, build
from understudy.models import student as product

SHAPE, CLASSES = (3, 8, 8), ("a", "b", "c")
SPEC = NetworkSpec("resnet8", {"widths": [4, 4, 4]})


@pytest.fixture
def saved(tmp_path):
    """A folder with a small student, and the student."""
    network = Normalized(SPEC.build(3, 3, 8), (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)).eval()
    product.save(tmp_path, network, product.describe(network, SPEC, SHAPE, CLASSES))
    return tmp_path, network


def change(folder, **values):
    path = folder / "student.json"
    path.write_text(json.dumps(files.sealed(json.loads(path.read_text()) | values)))  # anybody can compute a digest


def test_it_answers_as_it_did(saved):
    folder, network = saved
    images = torch.rand(2, *SHAPE)
    assert torch.equal(understudy.load(folder)(images), network(images))


def test_a_network_of_ours_that_was_passed_as_an_object_comes_back_if_it_is_as_it_was_built(tmp_path, small):
    student = build("resnet8", widths=(4, 4, 4), classes=3)
    understudy.distill(None, student, small.data(), method="alone", epochs=2, out=tmp_path)
    images = torch.rand(2, *SHAPE)
    torch.testing.assert_close(understudy.load(tmp_path)(images), student.eval()(images))
    student.linear = nn.Sequential(student.linear, nn.Tanh())
    assert product.describe(student, None, SHAPE, CLASSES)["network"] is None


def test_own_code_runs_only_where_its_module_is_trusted(make_run, tmp_path):
    run = make_run(text=RECIPE_ALONE)
    run.execute()
    with pytest.raises(UserError, match="--trust smallnets") as caught:
        understudy.load(tmp_path / "run")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="--trust smallnets"):
        understudy.load(tmp_path / "run", trust=["small"])
    images = torch.rand(2, *SHAPE)
    trained = run.trained(run.plan.names[0]).eval()
    torch.testing.assert_close(understudy.load(tmp_path / "run", trust=["smallnets"])(images), trained(images))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"network": 3}, "network"),
        ({"network": {"name": "resnet8", "settings": [1]}}, "settings"),
        ({"network": {"name": "resnet9000x"}}, "resnet9000x"),
        ({"network": {"name": "resnet8", "settings": {"trusted": ["os"]}}}, "--trust"),
        ({"network": {"name": "os:system"}}, "--trust os"),
        ({"network": None, "class": "__main__:Net"}, "__main__:Net"),
        ({"classes": []}, "classes"),
        ({"classes": ["a", "b"]}, "does not fit"),
        ({"input": {"shape": []}}, "shape"),
        ({"input": {"shape": [3, 0, 8]}}, "shape"),
        ({"front": {"front": "normalized", "mean": "x", "std": 3}}, "front"),
        ({"front": {"front": "magic"}}, "magic"),
        ({"format": 2}, "format"),
    ],
)
def test_a_description_that_is_damaged_or_not_the_weights_own_is_one_line(saved, values, named):
    folder, _ = saved
    change(folder, **values)
    with pytest.raises(UserError, match=named) as caught:
        understudy.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[1]", b"{", b'{"format": 1}'])
def test_a_foreign_description_is_one_line(saved, content):
    folder, _ = saved
    (folder / "student.json").write_bytes(content)
    with pytest.raises(UserError, match=r"student\.json is not a student's description") as caught:
        understudy.load(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_are_damaged_missing_or_anothers_are_one_line(saved):
    folder, _ = saved
    weights = folder / "student.safetensors"
    whole = weights.read_bytes()
    for content in (whole[:-10], b"", b"no tensors at all"):
        weights.write_bytes(content)
        with pytest.raises(UserError, match="damaged or no safetensors"):
            understudy.load(folder)
    safetensors.torch.save_file(build("resnet14", classes=3).state_dict(), weights)
    with pytest.raises(UserError, match="does not fit") as caught:
        understudy.load(folder)
    assert "\n" not in str(caught.value)
    weights.unlink()
    with pytest.raises(UserError, match="no weights file"):
        understudy.load(folder)
    with pytest.raises(UserError, match="holds no student"):
        understudy.load(folder / "nowhere")
