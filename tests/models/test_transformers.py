"""Classifiers of transformers, which answer with objects: by name, distilled, saved, exported and asked."""

import pytest
import torch

import understudy
from tests.conftest import make_data
from understudy import export
from understudy.config.settings import Settings
from understudy.data import from_tensors
from understudy.errors import UserError
from understudy.export.open import open_student
from understudy.models import build, from_teacher
from understudy.shipping.predict import predict
from understudy.tasks import Text
from understudy.tasks.words import vocabulary_of
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
        ("transformers:resnets", {}, "no classifier of the type 'resnets'; did you mean 'resnet'"),
        ("transformers:timm_wrapper", {}, "no classifier of the type 'timm_wrapper'"),
        ("transformers:bart_large", {}, "no classifier of the type 'bart_large'"),
        ("transformers:bert", {"hidden": 8}, "has no setting 'hidden'; did you mean .*'hidden_act'"),
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


BERT = {"hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 8}
SENTENCES = ["a fine film", "a dull film", "fine , fine", "dull and long"] * 12


def test_a_bert_teaches_a_smaller_one_that_predicts(tmp_path):
    task = Text(("bad", "good"), vocabulary_of(SENTENCES, least=1), 8)
    data = from_tensors((task.encode(SENTENCES), torch.tensor([1, 0, 1, 0] * 12)), task=task)
    teacher = build("transformers:bert", classes=2, channels=data.shape[0], size=8, **BERT)
    assert teacher.config.vocab_size == data.shape[0]
    assert teacher.config.max_position_embeddings == 512
    student = build("transformers:bert", classes=2, channels=data.shape[0], size=8, **{**BERT, "num_hidden_layers": 2})
    assert len(from_teacher(student, teacher, [0, 3])) == len(student.state_dict())
    config = understudy.TrainConfig(epochs=2, batch=8, group_by_length=2)
    run = understudy.distill(
        teacher,
        student,
        data,
        method="minilm",
        config=config,
        out=tmp_path,
        accept_weak=True,
        callback=understudy.Callback(),
    )
    asked = predict(tmp_path, SENTENCES[:3])
    assert [one.problem for one in asked] == [None] * 3
    with torch.inference_mode():
        expected = run.student.eval()(**task.encode(SENTENCES[:3])).logits.softmax(1).amax(1)
    assert [one.classes[0][1] for one in asked] == pytest.approx(expected.tolist(), abs=1e-5)
