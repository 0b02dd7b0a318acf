"""Where networks of many kinds are read: last maps, stages of blocks, values before activations, forms."""

import pytest
import torch
from torch import Tensor, nn

from tests.test_taps import IMAGES, ResNet, ViT
from understudy import Objective, TrainConfig, UserError, methods
from understudy.models import build
from understudy.taps import Pair, Tap, TappedNetwork, forms
from understudy.taps.defaults import PROPOSALS
from understudy.taps.proposals import corresponding
from understudy.taps.stages import classifier, gives_the_answer, last_map, parts, stages
from understudy.taps.tracing import trace
from understudy.terms import AT, CATKD, CE, CWD, FSP, NST, OFD, SimKD


class Pooled(nn.Module):
    """As torchvision's ResNet: the pooling is a module, and its ReLU, in place, is used more than once."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.body = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width))
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.drop(self.avgpool(self.relu(self.body(self.relu(self.stem(x))))).flatten(1)))


class Functional(nn.Module):
    """As torchvision's DenseNet: the last ReLU is a function, in place."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width))
        self.fc = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu_(self.features(x)).mean((2, 3)))


class ChannelsLast(nn.Module):
    """As a Swin: maps with their channels last, norm before the mean."""

    def __init__(self, width: int = 6):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 2, 2)
        self.first = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
        self.down = nn.Conv2d(width, 2 * width, 2, 2)
        self.second = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, 2 * width))
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(self.patches(x).permute(0, 2, 3, 1))
        return self.head(self.second(self.down(first.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)).mean((1, 2)))


class Squeezed(nn.Module):
    """As a SqueezeNet: the classifier is a convolution before the pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.classifier = nn.Sequential(nn.Dropout(), nn.Conv2d(6, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).flatten(1)


def wrn() -> nn.Module:
    return build("wrn-10-1")


@pytest.mark.parametrize(
    ("network", "tap", "answers"),
    [
        (lambda: build("resnet8"), "layer3", True),
        (wrn, "relu", True),
        (lambda: build("plain4"), "conv4", False),  # flattened, not averaged
        (Functional, "features:relu", True),
        (ChannelsLast, "second:grid", True),
        (lambda: ViT(4, 4), "norm:grid", False),  # a class token
        (Squeezed, "features", False),
    ],
    ids=["resnet", "wrn", "plain", "functional", "channels last", "vit", "squeezed"],
)
def test_the_last_map_is_the_one_that_is_pooled(network, tap, answers):
    torch.manual_seed(0)
    images, made = torch.randn(2, 3, 32, 32), network().eval()
    found = last_map(made, images)
    assert str(found) == tap
    assert gives_the_answer(made, found, images) == answers
    assert TappedNetwork(made, [found])(images)[found].shape[2:].numel() > 1


def test_nothing_after_the_pooling_is_a_stage_and_no_dropout_is():
    torch.manual_seed(0)
    traces = trace(Pooled(), IMAGES)
    assert all(t.grid != (1, 1) for t in stages(traces))
    assert not {"avgpool", "drop"} & {t.path for t in stages(traces)}
    assert classifier(traces).path == "fc"
    assert classifier(trace(Squeezed(), IMAGES)).path == "classifier.1"


def test_blocks_of_one_size_have_stages_that_go_with_those_of_a_pyramid():
    vit, resnet = trace(ViT(4, 8), IMAGES), trace(ResNet(2), IMAGES)
    assert [str(t.map_tap) for t in parts(vit)] == [
        f"{name}:grid" for name in ("blocks.1", "blocks.3", "blocks.5", "norm")
    ]
    for teacher, student in ((vit, resnet), (resnet, vit)):
        pairs = corresponding(teacher, student)
        assert len(pairs) == 3
        assert pairs[-1] == (parts(teacher)[-1], parts(student)[-1])
        for side in (0, 1):
            assert [p[side].ended for p in pairs] == sorted(p[side].ended for p in pairs)


def test_values_before_activations_are_found():
    images = torch.randn(2, 3, 16, 16)
    resnet, wide = build("resnet8"), wrn()
    before = PROPOSALS["before activations"](resnet, wide, images)
    assert before == (
        "layer1.0.relu2:input -> block2.0.relu1:input",
        "layer2.0.relu2:input -> block3.0.relu1:input",
        "layer3.0.relu2:input -> relu:input",
    )
    of_teacher = PROPOSALS["before the teacher's activations"](resnet, wide, images)
    assert [Pair.parse(pair).student.path for pair in of_teacher] == ["block1", "block2", "relu"]


def test_the_input_of_a_module_that_overwrites_it_is_copied():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 3))
    value = TappedNetwork(network, ["1:input"])(IMAGES)["1:input"]
    assert torch.equal(value, network[0](IMAGES))
    value.sum().backward()
    assert network[0].weight.grad is not None


def test_forms_read_tokens_and_channels_last_as_maps():
    tokens = torch.randn(2, 17, 3)
    grid = forms.read(tokens, "grid")
    assert torch.equal(grid[:, :, 1, 2], tokens[:, 1 + 4 + 2])
    assert torch.equal(forms.read(tokens[:, 1:], "grid2x8")[:, :, 1, 0], tokens[:, 1 + 8])
    assert torch.equal(forms.read(torch.randn(2, 3).neg_(), "relu") < 0, torch.zeros(2, 3, dtype=torch.bool))
    assert str(Tap.parse("norm:input:grid")) == "norm:input:grid"
    assert str(Tap.parse("norm:output:grid4x8")) == "norm:grid4x8"
    for wrong in ("norm:grids", "norm:grid:input", "norm:grid:relu"):
        with pytest.raises(UserError, match="after the colon"):
            Tap.parse(wrong)
    for value, form in ((torch.randn(2, 12, 3), "grid"), (tokens, "grid2x4"), (torch.randn(2, 3), "grid")):
        with pytest.raises(UserError):
            forms.read(value, form)


@pytest.mark.parametrize(
    "term",
    [
        CWD("avgpool -> avgpool"),
        NST("avgpool -> avgpool"),
        AT("avgpool -> avgpool"),
        FSP(("fc -> fc", "avgpool -> avgpool")),
    ],
    ids=str,
)
def test_what_compares_places_refuses_a_single_one(term):
    with pytest.raises(UserError, match="a single place: tap a larger map"):
        Objective(term, student=Pooled(), teacher=Pooled(), example=IMAGES)


def test_a_classifier_that_is_given_something_else_is_named():
    networks = {"student": ViT(4, 4), "teacher": ViT(4, 4), "example": IMAGES}
    with pytest.raises(UserError, match="no linear layer of the teacher answers from the mean of its 'norm:grid'"):
        Objective(SimKD("norm:grid -> norm:grid", projected=True), **networks)
    objective = Objective(CE() + CATKD("norm:grid -> norm:grid", "head -> head"), **networks)
    assert ["class token" in remark for remark in objective.remarks["catkd"]] == [True, True]
    assert PROPOSALS["pooled"](ViT(4, 4), ResNet(2), IMAGES) == "head:input -> head:input"


class TokensAndToken(nn.Module):
    """A stage of timm's PiT: it is given a map and a class token, and answers with both."""

    def __init__(self, inputs, width):
        super().__init__()
        self.pool = nn.Conv2d(inputs, width, 2, 2)
        self.token = nn.Linear(inputs, width)
        self.blocks = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width))

    def forward(self, both):
        x, token = self.pool(both[0]), self.token(both[1])
        tokens = self.blocks(torch.cat([token[:, None], x.flatten(2).transpose(1, 2)], 1))
        return tokens[:, 1:].transpose(1, 2).reshape(x.shape), tokens[:, 0]


class PiT(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.Sequential(TokensAndToken(3, 8), TokensAndToken(8, 16))
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.stages((x, x.mean((2, 3))))[1])


def test_stages_that_answer_with_several_tensors_are_read_inside():
    assert [t.path for t in stages(trace(PiT(), IMAGES))] == ["stages.0.blocks", "stages.1.blocks"]
    assert str(last_map(PiT(), IMAGES)) == "stages.1.blocks:grid"


class Enlarged(nn.Module):
    """A segmenter whose answer is on the grid of the image, as torchvision's."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        scores = self.network(images)
        return {"out": nn.functional.interpolate(scores, images.shape[2:], mode="bilinear", align_corners=False)}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("around", [nn.Sequential, Enlarged])
def test_a_map_of_class_scores_is_no_hidden_map(around, stride):
    student, teacher = around(build("unet", width=4, depth=2, stride=stride)), build("unet", width=8, depth=2)
    name = "network" if around is Enlarged else "0"
    assert str(last_map(student, IMAGES)) == f"{name}.up.{2 - stride}"
    assert classifier(trace(student, IMAGES)).path == f"{name}.head"
    maps = PROPOSALS["maps"](teacher, student, IMAGES)
    assert maps == f"up.1 -> {name}.up.{2 - stride}"
    scores = Objective(CWD(f"head -> {name}.head"), student=student, teacher=teacher, example=IMAGES)
    assert not list(scores.owned.parameters())  # channel by channel: each map stands for one class in both networks


@pytest.mark.parametrize(("weight", "maps", "said"), [(50, "head", True), (3, "head", False), (50, "up.1", False)])
def test_cwd_with_the_weight_of_hidden_maps_says_so_on_class_scores(weight, maps, said):
    networks = {"student": build("unet", width=4, depth=2), "teacher": build("unet", width=8, depth=2)}
    objective = Objective(CE() + weight * CWD(f"{maps} -> {maps}"), **networks, example=IMAGES)
    assert ["weight is 3" in remark for remark in objective.remarks.get("cwd", ())] == [True] * said


class Distilled(nn.Module):
    """A network of two heads, called as a library calls them."""

    def __init__(self, labels, token):
        super().__init__()
        self.body = nn.Flatten()
        self.add_module(labels, nn.Linear(192, 4))
        self.add_module(token, nn.Linear(192, 4))
        self.heads = labels, token

    def forward(self, x):
        return sum(getattr(self, head)(self.body(x)) for head in self.heads) / 2


@pytest.mark.parametrize("heads", [("head", "head_dist"), ("cls_classifier", "distillation_classifier")])
def test_deit_without_its_token_says_so(heads):
    labels, token = heads
    networks = {"student": nn.Sequential(Distilled(*heads)), "teacher": build("resnet8", classes=4), "example": IMAGES}
    (stage,) = methods.find("deit")(TrainConfig())
    ((remark,),) = Objective(stage.objective, **networks).remarks.values()
    assert f"set token = '0.{token}' and labels = '0.{labels}'" in remark
    (stage,) = methods.find("deit")(TrainConfig(), token=f"0.{token}", labels=f"0.{labels}")
    assert not Objective(stage.objective, **networks).remarks
    (stage,) = methods.find("deit")(TrainConfig())
    assert not Objective(stage.objective, **{**networks, "student": build("resnet8", classes=4)}).remarks


def test_taps_after_a_relu_are_named_where_the_paper_reads_before():
    networks = {"student": build("resnet8"), "teacher": build("resnet8"), "example": torch.randn(2, 3, 16, 16)}
    after, before = OFD(["layer3 -> layer3"]), OFD(["layer3.0.relu2:input -> layer3.0.relu2:input"])
    (teachers, students) = Objective(after, **networks).remarks["ofd"]
    assert "of the teacher it reads 'layer3' after the ReLU" in teachers
    assert "of the student" in students
    objective = Objective(before, **networks)
    assert not objective.remarks
    norm = networks["teacher"].layer3[0].bn2
    assert not objective.owned["ofd"][0].measured  # the margin is that of the norm of the last convolution
    assert objective.owned["ofd"][0].margin.shape == norm.weight.shape
