"""A student that starts from layers of its teacher: of the own text family, of BERTs, and in a recipe."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from understudy.errors import UserError
from understudy.models import Normalized, OwnTokens, build, from_teacher
from understudy.taps import inner
from understudy.taps.attention import list_of_layers

BERT = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 8,
}


def encoder(depth, width=8):
    return build("text-encoder", classes=2, channels=20, size=6, width=width, depth=depth, heads=2)


def bert(depth, classes=2, **settings):
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(
        BertConfig(**{**BERT, **settings}, num_hidden_layers=depth, num_labels=classes)
    )


def test_each_layer_is_that_of_the_teacher_and_the_rest_has_its_name():
    teacher, student = encoder(4), encoder(2)
    names = from_teacher(student, teacher, [0, 3])
    own, given = student.state_dict(), teacher.state_dict()
    assert set(names) == set(own)
    assert torch.equal(own["layers.1.norm2.bias"], given["layers.3.norm2.bias"])
    for name, value in own.items():
        assert torch.equal(value, given[name.replace("layers.1.", "layers.3.")]), name
    assert all(p.requires_grad and p.is_leaf for p in student.parameters())


def test_a_bert_starts_from_one_without_its_prefix_and_its_head_is_drawn():
    teacher, student = bert(3), bert(1)
    classifier = student.classifier.weight.clone()
    names = from_teacher(student, teacher.bert, [2])
    assert torch.equal(
        student.bert.encoder.layer[0].attention.self.query.weight,
        teacher.bert.encoder.layer[2].attention.self.query.weight,
    )
    assert torch.equal(student.bert.embeddings.word_embeddings.weight, teacher.bert.embeddings.word_embeddings.weight)
    assert torch.equal(student.classifier.weight, classifier)
    assert set(student.state_dict()) - set(names) == {"classifier.weight", "classifier.bias"}


def test_lists_are_found_inside_what_wraps_a_network_and_can_be_named():
    network = build(
        "transformers:vit",
        classes=2,
        channels=3,
        size=8,
        hidden_size=8,
        num_attention_heads=2,
        intermediate_size=8,
        patch_size=4,
        num_hidden_layers=2,
    )
    assert list_of_layers(inner(Normalized(network, [0.5] * 3, [0.5] * 3))) == "vit.layers"
    assert list_of_layers(bert(2)) == "bert.encoder.layer"
    student = nn.Sequential(nn.Embedding(20, 8), *(encoder(1).layers[0] for _ in range(2)))
    wrapped = nn.ModuleDict({"blocks": nn.Sequential(*student[1:]), "tokens": student[0]})
    names = from_teacher(wrapped, encoder(3), [0, 2], at="layers -> blocks")
    assert "tokens.weight" in names
    assert "blocks.1.linear1.weight" in names


def test_layers_may_have_names_as_those_of_torchvisions_transformers():
    teacher, student = (
        nn.ModuleDict(
            {"layers": nn.Sequential(OrderedDict((f"layer_{number}", nn.Linear(2, 2)) for number in range(depth)))}
        )
        for depth in (4, 2)
    )
    from_teacher(student, teacher, [3, 1], at="layers")
    assert torch.equal(student["layers"].layer_0.weight, teacher["layers"].layer_3.weight)
    assert torch.equal(student["layers"].layer_1.weight, teacher["layers"].layer_1.weight)


def test_networks_of_the_same_token_table_have_the_same_words():
    teacher, student = OwnTokens(encoder(4), "small"), OwnTokens(encoder(2), "small")
    from_teacher(student, teacher, [0, 3])
    assert torch.equal(student.module.tokens.weight, teacher.module.tokens.weight)


@pytest.mark.parametrize(
    ("student", "layers", "at", "words"),
    [
        (encoder(2), [0], None, "the student has 2 layers at 'layers'"),
        (encoder(2), [0, 4], None, "the teacher's layers at 'layers' are numbered 0 to 3"),
        (encoder(2), [0, -1], None, "the teacher's layers at 'layers' are numbered 0 to 3"),
        (encoder(2), [0, "1"], None, "the teacher's layers at 'layers' are numbered 0 to 3"),
        (encoder(2, width=4), [0, 1], None, r"'positions' has shape \(6, 4\), the teacher's \(6, 8\), and 28 more"),
        (
            OwnTokens(encoder(2), "small"),
            [0, 1],
            None,
            "reads texts by token_table = 'small', the teacher by the data's",
        ),
        (encoder(2), [0, 1], "blocks", "the network has no module 'blocks'"),
        (nn.Linear(2, 2), [0], None, "the student has no list of layers of one class"),
        (bert(2), [0, 1], None, "the teacher has no 'layers.0.attention.self.query.weight'"),
    ],
)
def test_what_does_not_fit_is_named(student, layers, at, words):
    before = [value.clone() for value in student.state_dict().values()]
    with pytest.raises(UserError, match=words):
        from_teacher(student, encoder(4), layers, at=at)
    assert all(map(torch.equal, before, student.state_dict().values()))
