"""A student of timm or transformers opens by its own library, from the folder that is pushed, with equal answers."""

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import understudy
from understudy.cli._app import app
from understudy.models import Normalized, build
from understudy.models import student as product
from understudy.shipping import hub, native


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, 32, 32)


def shipped(name: str, folder, **settings) -> nn.Module:
    torch.manual_seed(0)
    network = Normalized(build(name, classes=3, **settings), [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]).eval()
    folder.mkdir()
    product.save(folder, network, product.describe(network, None, (3, 32, 32), ("a", "b", "c")))
    hub.assemble(folder, folder / "out", ["student.safetensors", "student.json"])
    return understudy.load(folder)


@pytest.mark.filterwarnings("ignore")
def test_timm(image, tmp_path) -> None:
    import timm
    from timm.data import create_transform, resolve_model_data_config
    from torchvision.transforms.v2.functional import to_pil_image

    student = shipped("timm:resnet10t", tmp_path / "a")
    opened = timm.create_model(f"local-dir:{tmp_path / 'a' / 'out'}", pretrained=True).eval()
    transform = create_transform(**resolve_model_data_config(opened), is_training=False)
    pictures = [to_pil_image(one) for one in image]
    seen = torch.stack([transform(one) for one in pictures])
    exact = (image * 255).byte().float() / 255
    torch.testing.assert_close(opened(seen), student(exact), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_transformers(image, tmp_path) -> None:
    from transformers import AutoModelForImageClassification

    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    student = shipped("transformers:resnet", tmp_path / "a", **sizes)
    opened = AutoModelForImageClassification.from_pretrained(tmp_path / "a" / "out").eval()
    assert opened.config.id2label == {0: "a", 1: "b", 2: "c"}
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]))
    torch.testing.assert_close(opened((image - mean) / std).logits, student(image).logits)
    arguments = ["card", str(tmp_path / "a"), "--out", str(tmp_path / "b")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert "AutoModelForImageClassification" in (tmp_path / "b" / "README.md").read_text()


def test_a_network_of_ours_has_no_such_form(tmp_path) -> None:
    shipped("resnet8", tmp_path / "a")
    assert not native.save(tmp_path / "a", tmp_path)
    assert sorted(path.name for path in (tmp_path / "a" / "out").iterdir()) == ["student.json", "student.safetensors"]
