"""Detectors and U-Nets on a backbone of timm: built by name, begun with a classifier's weights, rebuilt from files."""

import json

import pytest
import torch
from safetensors.torch import save_file

import understudy
from tests.libraries import timm as timm
from tests.tasks.test_tasks import PLAIN, made
from understudy.errors import UserError
from understudy.models import build
from understudy.models.library_weights import library_network
from understudy.models.weights import begin_with
from understudy.plans import key
from understudy.recipe.build import Builder
from understudy.recipe.read import parse
from understudy.recipe.schema import NetworkTable, TeacherTable
from understudy.training.preflight import check_network

pytestmark = pytest.mark.usefixtures("timm")

SETTINGS = {"backbone": "timm:maps", "finest": 4, "levels": 2, "neck": 6, "tower": 1}
RECIPE = """
[data]
name = "pennfudan"
targets = "boxes"
[student]
network = "fcos"
settings = { backbone = "timm:maps", finest = 4, KEEP }
[methods.alone]
"""


def detector(**settings):
    return build("fcos", classes=2, channels=3, **SETTINGS, **settings)


def test_a_backbone_gives_the_maps_of_the_grids():
    network = detector()
    answer = network(torch.rand(2, 3, 16, 16))
    assert answer.shape == (2, 16 + 4, 10)
    assert answer[0, :, 2].unique().tolist() == [4.0, 8.0]
    assert len(network.backbone.blocks) == 3  # of two maps of stride 8 the last one
    assert len(build("fcos", classes=2, channels=3, backbone="timm:maps", finest=4).backbone.blocks) == 1


@pytest.mark.parametrize(("stride", "size"), [(1, (20, 12)), (2, (10, 6)), (4, (5, 3)), (8, (3, 2))])
def test_a_unet_goes_back_from_the_maps_of_a_backbone(stride, size):
    network = build("unet", classes=2, backbone="timm:maps", depth=3, width=2, stride=stride)
    assert network(torch.rand(1, 3, 20, 12)).shape == (1, 2, *size)
    assert not hasattr(network, "down")
    widths = [block[0].in_channels for block in network.up]
    assert widths == [4 + 4, 4 + 8, 3 + 4][: len(widths)]  # a map of timm's, or the image, and the one before


@pytest.mark.parametrize(("stride", "size"), [(1, (20, 13)), (2, (10, 7)), (4, (5, 4)), (8, (3, 2))])
def test_a_unet_on_a_backbone_whose_finest_map_is_coarse(monkeypatch, stride, size):
    def coarse(name, channels=3, **settings):
        network = make(name, **settings)
        network.conv_stem.stride = 4, 4
        network.feature_info = [{**stage, "reduction": 2 * stage["reduction"]} for stage in network.feature_info]
        return network

    import timm

    make = timm.create_model
    monkeypatch.setattr(timm, "create_model", coarse)
    network = build("unet", classes=2, backbone="timm:maps", depth=4, width=2, stride=stride)
    assert network(torch.rand(1, 3, 20, 13)).shape == (1, 2, *size)
    widths = [block[0].in_channels for block in network.up]
    assert widths == [4 + 4, 4 + 16, 8, 3 + 4][: len(widths)]  # at stride 2 there is no map
    network(torch.rand(2, 3, 20, 13)).sum().backward()
    assert network.backbone.conv_stem.weight.grad.abs().sum() > 0


SEGMENTER = {"backbone": "timm:maps", "depth": 3, "width": 2, "stride": 2}
NETWORKS = [("fcos", SETTINGS), ("unet", SEGMENTER)]


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(("family", "settings"), NETWORKS)
def test_statistics_of_the_backbone_are_kept_on_demand(family, settings, keep):
    network = build(family, classes=2, channels=3, **settings, keep_statistics=keep).train()
    before = {name: value.clone() for name, value in network.state_dict().items() if "running" in name}
    network(torch.rand(2, 3, 16, 16)).sum().backward()
    after = network.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    kept = {name for name in before if name.startswith("backbone.")}
    assert moved == (before.keys() - kept if keep else before.keys())
    assert network.backbone.bn1.weight.grad.abs().sum() > 0
    assert network.eval().train().backbone.bn1.training is not keep


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backbone": "timm:maps"}, "has maps of strides 2, 4, 8, and none of 16, 32: change depth"),
        ({"backbone": "timm:maps", "depth": 2, "stride": 8}, "after 2 halvings the coarsest grid has stride 4"),
        ({"depth": 2, "stride": 8}, "stride 8: after 2 halvings the coarsest grid has stride 4"),
        ({"keep_statistics": True}, "keep_statistics is of a backbone: name one"),
    ],
)
def test_what_a_unet_cannot_be(settings, words):
    with pytest.raises(UserError, match=words):
        build("unet", **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backbone": "torchvision:resnet18"}, "a backbone is a network of timm, 'timm:NAME', not 'torchvision:resnet"),
        ({"backbone": "timm:mapps"}, r"timm has no network 'mapps'; did you mean 'maps'\?"),
        ({"backbone": "timm:tiny"}, "'timm:tiny': timm reads no maps of it"),
        ({"backbone": "timm:maps"}, "has maps of strides 2, 4, 8, and none of 16: change finest and levels"),
        ({"backbone": "timm:maps", "width": 8}, "width and depth are of this library's backbone"),
        ({"keep_statistics": True}, "keep_statistics is of a backbone: name one"),
    ],
)
def test_what_a_backbone_cannot_be(settings, words):
    with pytest.raises(UserError, match=words):
        build("fcos", **settings)


def test_it_begins_with_the_weights_of_a_classifier(tmp_path):
    classifier, network = library_network("timm:maps", True, {}).state_dict(), detector()
    head = begin_with(network, classifier, "maps.pt", outputs=2)
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, classifier[name])
    assert str(head) == ("2 left out (classifier.weight, classifier.bias); not among the weights: lateral, neck, heads")
    narrow = build("timm:maps", width=3).state_dict()
    with pytest.raises(UserError, match=r"three.pt does not fit the backbone Maps: .* differ in shape \(conv_stem"):
        begin_with(detector(), narrow, "three.pt", outputs=2)
    del classifier["blocks.2.bias"]
    with pytest.raises(UserError, match="names are missing"):
        begin_with(detector(), classifier, "less.pt", outputs=2)
    with pytest.raises(UserError, match=r"does not fit FCOS: .*lateral\.0"):
        begin_with(detector(), build("fcos", classes=2, **{**SETTINGS, "neck": 5}).state_dict(), "neck.pt", outputs=2)
    assert begin_with(network, detector().state_dict(), "whole.pt", outputs=2) is None


def test_fresh_statistics_are_not_kept():
    data = made("detection")
    errors = []
    for state in (None, library_network("timm:maps", True, {}).state_dict()):
        network = detector(keep_statistics=True)
        if state is not None:
            begin_with(network, state, "maps", outputs=2)
        errors.append(
            [found.text for found in check_network("student", network, data, PLAIN) if found.level == "error"]
        )
    assert "fresh weights, which have no statistics to keep" in errors[0][0]
    assert not errors[1]
    assert not list(check_network("teacher", detector(keep_statistics=True), data, PLAIN, teaches=True))[1:]


def test_a_recipes_backbone_has_its_librarys_weights_and_normalisation():
    data = made("detection")
    builder = Builder(data, data, None, ())
    table = NetworkTable(network="fcos", settings=SETTINGS, pretrained=True)
    network = builder.network(table, 0, "student")
    assert network.describe() == {"front": "normalized", "mean": [0.4, 0.5, 0.6], "std": [0.25] * 3}  # of any size
    trained = library_network("timm:maps", True, {})
    assert torch.equal(network.module.backbone.conv_stem.weight, trained.conv_stem.weight)
    assert builder.about(table, trained=True)[0].startswith("begins with the weights maps.a; 2 left out")
    assert key.network(table, builder)["code"] == "missing"  # the version of timm, which this stand-in lacks
    with pytest.raises(
        UserError, match=r"are the weights of the backbone of fcos.* alone: say how the rest is trained"
    ):
        builder.given(TeacherTable(network="fcos", settings=SETTINGS, pretrained=True))


@pytest.mark.parametrize(
    ("keep", "begins", "words"),
    [
        ("keep_statistics = true", "", "fresh weights have no statistics to keep"),
        ("keep_statistics = true", "pretrained = true", None),
        ("levels = 1", "", None),
        ("width = 3", "pretrained = true", None),  # only building tells
    ],
)
def test_a_recipe_says_where_statistics_come_from(keep, begins, words):
    text = RECIPE.replace("KEEP", keep).replace("[methods", f"{begins}\n[methods")
    if words is None:
        assert parse(text, "r.toml").student.library_network == "timm:maps"
    else:
        with pytest.raises(UserError, match=words):
            parse(text, "r.toml")


@pytest.mark.parametrize(
    ("task", "family", "settings", "method"),
    [("detection", "fcos", SETTINGS, "localisation"), ("segmentation", "unet", SEGMENTER, "kd")],
)
def test_a_network_on_a_backbone_is_distilled_and_rebuilt_from_its_file(tmp_path, task, family, settings, method):
    data = made(task)
    torch.manual_seed(0)
    outputs = data.task.outputs
    teacher, student = (build(family, classes=outputs, **settings, keep_statistics=keep) for keep in (None, True))
    begin_with(student, library_network("timm:maps", True, {}).state_dict(), "maps", outputs=outputs)
    run = understudy.distill(
        teacher, student, data, method=method, epochs=1, accept_weak=True, out=tmp_path / "run",
        callback=understudy.Callback(),
    )  # fmt: skip
    described = json.loads((run.folder / "student.json").read_text())["network"]
    assert described["name"] == family
    assert described["settings"]["backbone"] == "timm:maps"
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(understudy.load(run.folder)(images), run.student.eval()(images))


def test_weights_under_the_names_of_the_classifier_are_found_in_a_file(tmp_path):
    data = made("detection")
    builder = Builder(data, data, None, ())
    state = library_network("timm:maps", "a", {}).state_dict()
    save_file(state, tmp_path / "maps.safetensors")
    table = NetworkTable(network="fcos", settings=SETTINGS, weights=str(tmp_path / "maps.safetensors"))
    network = builder.network(table, 0, "student")
    assert torch.equal(network.backbone.blocks[2].weight, state["blocks.2.weight"])
