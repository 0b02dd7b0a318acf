"""Objects of other libraries are built again by name; what cannot be is said before the training."""

import pytest
import torch
from torch import Tensor, nn

from understudy import distill, load
from understudy.data import from_tensors
from understudy.errors import UserError
from understudy.models import build, origins
from understudy.models import student as product

transformers = pytest.importorskip("transformers")


class Own(nn.Module):
    """Of the user's own code, made without arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


class Wide(Own):
    def __init__(self, width: int):
        super().__init__()
        self.fc = nn.Linear(width, 3)


def vit(**settings: object) -> nn.Module:
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(**small, image_size=8, patch_size=4, num_labels=3, **settings)
    return transformers.ViTForImageClassification(config)


def test_an_object_of_transformers_leaves_a_student_that_is_built_again(tmp_path):
    torch.manual_seed(0)
    images, labels = torch.rand(24, 3, 8, 8), torch.arange(24) % 3
    teacher = build("resnet8", widths=[4, 4, 4], classes=3)
    data = from_tensors((images, labels), validation=0.25)
    student = vit()
    distill(teacher, student, data, epochs=2, out=tmp_path / "run", accept_weak=True)
    loaded = load(tmp_path / "run")
    with torch.no_grad():
        torch.testing.assert_close(loaded(images).logits, student.eval()(images).logits)


def test_settings_that_change_nothing_once_trained_are_not_compared():
    spec = origins.named(vit(hidden_dropout_prob=0.3))
    assert spec is not None
    assert spec.name == "transformers:vit"
    changed = vit()
    changed.vit.layernorm = nn.Identity()
    assert origins.named(changed) is None


def test_what_cannot_be_built_again_is_named():
    assert product.lost(build("resnet8")) is None
    assert product.lost(Own()) is None
    for network in (nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), Wide(192)):
        assert "cannot be built from its description" in str(product.lost(network))


def test_no_advice_that_does_not_work(tmp_path):
    changed = vit()
    changed.vit.layernorm = nn.Identity()
    for network in (changed, Wide(192)):
        product.save(tmp_path, network, product.describe(network, None, (3, 8, 8), ("a", "b", "c")))
        with pytest.raises(UserError) as told:
            load(tmp_path)
        assert "--trust" not in str(told.value)
        assert "load_weights" in str(told.value)
