"""Image classifiers of transformers, which answer with objects: by name, distilled, saved, exported and asked."""

import pytest
import torch

import understudy
from tests.conftest import make_data
from understudy import export
from understudy.config.settings import Settings
from understudy.errors import UserError
from understudy.export.open import open_student
from understudy.models import build
from understudy.training.evaluate import answers

RESNET = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
VIT = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8, "patch_size": 4}


def test_data_and_settings_make_the_network():
    network = build("transformers:vit", classes=5, channels=1, size=12, **VIT)
    assert network(torch.rand(2, 1, 12, 12)).logits.shape == (2, 5)
    assert network.config.image_size == 12
    assert network.config.hidden_size == 8


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("transformers:resnets", {}, "no image classifier of the type 'resnets'; did you mean 'resnet'"),
        ("transformers:timm_wrapper", {}, "no image classifier of the type 'timm_wrapper'"),
        ("transformers:bert", {}, "no image classifier of the type 'bert'"),
        ("transformers:vit", {"hidden": 8}, "has no setting 'hidden'; did you mean .*'hidden_size'"),
        ("transformers:vit", {"hidden_size": "wide"}, "network 'transformers:vit': "),
        ("transformers:dinat", {"use_pretrained_backbone": True}, "'use_pretrained_backbone' is not taken"),
    ],
)
def test_mistakes(name, settings, words):
    with pytest.raises(UserError, match=words):
        build(name, classes=3, **settings)


def test_from_a_hint_to_a_file_that_is_alone(tmp_path):
    teacher = build("transformers:resnet", classes=3, channels=3, size=8, **RESNET)
    student = build("transformers:vit", classes=3, channels=3, size=8, **VIT)
    config = understudy.TrainConfig(epochs=1, batch=30)
    pair = "resnet.encoder.stages.1 -> vit.layers.0"
    understudy.distill(
        teacher, student, make_data(), method="fitnets-joint", pair=pair, config=config, out=tmp_path, accept_weak=True
    )
    network, data = understudy.load(tmp_path), make_data()
    before, _ = answers(network, data.test, Settings(device="cpu"))
    exported = export.export(tmp_path, "torch", data=data, seconds=0.0, broken=True)  # of one epoch
    alone = open_student(exported.path, trust=[str(exported.path)])
    after, _ = answers(alone.network, data.test, Settings(device="cpu"))
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
