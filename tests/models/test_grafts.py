"""Grafts: a student with its teacher's classifier or with further layers, made again from plain values."""

import copy
import json

import pytest
import torch
from torch import nn

from understudy import TrainConfig, UserError, distill, load
from understudy.data import from_tensors
from understudy.models import Expansion, Graft, build, regraft
from understudy.models.grafts import graft_of
from understudy.taps import Pair

HEADS = Pair.parse("linear -> linear")


def networks(teachers=(8, 16)):
    torch.manual_seed(0)
    settings = {"blocks": (1, 1), "strides": (1, 2), "classes": 3, "channels": 1}
    teacher = build("resnet-blocks", widths=teachers, stem=8, **settings)
    return teacher.eval(), build("resnet-blocks", widths=(4, 8), stem=4, **settings)


@pytest.mark.parametrize("maps", [None, Pair.parse("layer2 -> layer2")], ids=["bridge", "projector"])
@pytest.mark.parametrize("teachers", [(8, 16), (4, 8)], ids=["wider", "alike"])
def test_a_graft_answers_with_the_teachers_classifier_and_is_made_again_from_its_description(maps, teachers):
    teacher, student = networks(teachers)
    again = copy.deepcopy(student)
    graft = Graft.between(student, teacher, HEADS, maps)
    graft.onto(student)
    graft.fill(student, teacher, "linear")
    frozen = [name for name, value in student.named_parameters() if not value.requires_grad]
    assert frozen == [f"{graft.classifier}.weight", f"{graft.classifier}.bias"]
    assert torch.equal(student.state_dict()[frozen[0]], teacher.linear.weight)
    regraft(again, json.loads(json.dumps(graft.describe())))
    fresh = dict(again.named_parameters())
    assert all(torch.equal(v, fresh[n]) for n, v in student.named_parameters() if n not in frozen)  # a function of it
    again.load_state_dict(student.state_dict())
    inputs = torch.randn(4, 1, 8, 8)
    assert torch.equal(again.eval()(inputs), student.eval()(inputs))
    graft.onto(student)  # once is enough
    assert torch.equal(again(inputs), student(inputs))


@pytest.mark.parametrize("maps", [None, Pair.parse("0 -> 0")], ids=["bridge", "projector"])
@pytest.mark.parametrize("kinds", ["conv linear", "linear conv", "conv conv"])
def test_a_classifier_may_be_a_convolution_of_1x1(maps, kinds):
    def network(kind, width):
        last = nn.Conv2d(width, 3, 1) if kind == "conv" else nn.Linear(width, 3)
        parts = [nn.Conv2d(1, width, 3), nn.AdaptiveAvgPool2d(1), last, nn.Flatten()]
        return nn.Sequential(*(parts if kind == "conv" else [*parts[:2], nn.Flatten(), last]))

    teacher, student = (network(*pair) for pair in zip(kinds.split(), (6, 4), strict=True))
    heads = Pair.parse(" -> ".join("2" if kind == "conv" else "3" for kind in kinds.split()))
    graft = Graft.between(student, teacher, heads, maps)
    graft.onto(student)
    graft.fill(student, teacher, heads.teacher.path)
    theirs, ours = teacher.get_submodule(heads.teacher.path), student.get_submodule(graft.classifier)
    assert torch.equal(ours.weight.flatten(), theirs.weight.flatten())
    assert torch.equal(ours.bias, theirs.bias)
    assert student(torch.randn(2, 1, 8, 8)).shape == (2, 3)


def test_an_expansion_is_added_to_the_map_and_made_again_from_its_description():
    _, student = networks()
    again, before = copy.deepcopy(student), copy.deepcopy(student)
    expansion = Expansion("layer2", channels=8, expanded=32)
    expansion.onto(student)
    regraft(again, json.loads(json.dumps(expansion.describe())))
    assert all(torch.equal(v, again.state_dict()[name]) for name, v in student.state_dict().items())
    student.layer2.expansion.contract[0].weight.data.zero_()
    inputs = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(student.eval()(inputs), before.eval()(inputs))
    expansion.onto(student)  # once is enough
    with pytest.raises(UserError, match="carries a graft already"):
        Expansion("layer1", channels=4, expanded=32).onto(student)


def test_an_expansion_of_a_map_that_the_classifier_does_not_read_is_refused_in_one_line():
    _, student = networks()
    Expansion("layer1", channels=8, expanded=32).onto(student)
    with pytest.raises(
        UserError, match=r"'layer1' answers with shape \(4, 4, 8, 8\), and its classifier takes 8 numbers"
    ):
        student(torch.randn(4, 1, 8, 8))


def test_a_student_of_norm_is_saved_with_its_layers(tmp_path):
    samples = torch.rand(24, 1, 8, 8), torch.arange(24) % 3
    data = from_tensors(samples, validation=8, test=samples)
    teacher, student = networks()
    config = TrainConfig(epochs=2, batch=8)
    distill(teacher, student, data, method="norm", copies=2, config=config, out=tmp_path, accept_weak=True)
    assert graft_of(student) == Expansion("layer2", channels=8, expanded=32)
    inputs = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(load(tmp_path).eval()(inputs), student.eval()(inputs))


def test_another_graft_on_the_same_student_is_refused():
    teacher, student = networks()
    Graft.between(student, teacher, HEADS, Pair.parse("layer2 -> layer2")).onto(student)
    with pytest.raises(UserError, match="carries a graft already"):
        Graft.between(student, teacher, HEADS, Pair.parse("layer1 -> layer1")).onto(student)
    assert graft_of(student) is not None


def test_only_linear_layers_are_classifiers():
    teacher, student = networks()
    with pytest.raises(UserError, match="the student's 'layer2' is no linear layer and no convolution of 1x1"):
        Graft.between(student, teacher, Pair.parse("linear -> layer2"))


def test_a_student_whose_way_depends_on_its_channels_is_refused_in_one_line():
    teacher, student = networks()
    data = from_tensors((torch.rand(24, 1, 8, 8), torch.arange(24) % 3))
    with pytest.raises(UserError, match="method 'simkd': the student cannot take over the teacher's classifier"):
        distill(teacher, student, data, method="simkd", maps="layer2 -> layer1", heads="linear -> linear", epochs=1)


def test_distill_grafts_in_place_and_the_student_learns_the_teachers_features(tmp_path):
    teacher, student = networks()
    data = from_tensors((torch.rand(24, 1, 8, 8), torch.arange(24) % 3), validation=6)
    result = distill(teacher, student, data, method="simkd", epochs=2, check=False, out=tmp_path / "run")
    assert result.student is student
    assert torch.equal(student.linear.weight, teacher.linear.weight)
    description = json.loads((tmp_path / "run/student.json").read_text())
    assert Graft(**description["graft"]) == graft_of(student)
    inputs = torch.rand(3, 1, 8, 8)
    assert torch.equal(load(tmp_path / "run")(inputs), student(inputs))
    other = networks()[1]
    again = distill(teacher, other, data, method="simkd", epochs=2, check=False, out=tmp_path / "run")
    assert torch.equal(again.student.state_dict()["conv1.weight"], student.state_dict()["conv1.weight"])
