"""Taps, and what a trace of a network tells and proposes."""

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.taps import Pair, Tap, TappedNetwork, call, find
from understudy.taps.proposals import default_pair, propose
from understudy.taps.stages import parts, stages
from understudy.taps.tracing import trace

IMAGES = torch.randn(2, 3, 8, 8)


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv2(self.relu(self.conv1(x))) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, width: int, blocks: int = 2):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        widths = [width, width, 2 * width, 4 * width]
        for i in (1, 2, 3):
            first = Residual(widths[i - 1], widths[i], 1 if i == 1 else 2)
            rest = [Residual(widths[i], widths[i], 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{i}", nn.Sequential(first, *rest))
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer3(self.layer2(self.layer1(self.stem(x)))).mean((2, 3)))


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(*[self.norm(x)] * 3)[0]
        return x + self.mlp(x)


class ViT(nn.Module):
    def __init__(self, width: int, depth: int):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 2, 2)
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(x), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens)[:, 0])


def vgg(width: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for inputs, outputs in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
        parts += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        parts += [nn.MaxPool2d(2)]
    return nn.Sequential(nn.Sequential(*parts), nn.Flatten(), nn.Linear(4 * width, 10))


class Odd(nn.Module):
    """Everything that cannot be tapped."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.twice = nn.ReLU()
        self.idle = nn.Linear(4, 4)
        self.pair = nn.LSTM(4, 4, batch_first=True)
        self.named = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = self.twice(part(x))
        return self.pair(self.named(input=x[:, None]))[0][:, 0]


def hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def test_taps_and_pairs_are_read_from_text() -> None:
    assert Tap.parse(" layer2.1 ") == Tap("layer2.1")
    assert str(Tap.parse("layer2.1:input")) == "layer2.1:input"
    assert str(Pair.parse("conv2->conv11:input")) == "conv2 -> conv11:input"
    with pytest.raises(UserError, match="'input' or 'output'"):
        Tap.parse("layer2:inputs")
    with pytest.raises(UserError, match=r"teacher\.tap -> student\.tap"):
        Pair.parse("conv2")


def test_both_sides_of_a_module() -> None:
    network = vgg(2).eval()
    answer = TappedNetwork(network, ["0.3", "0.4:input", "0.4"])(IMAGES)
    assert torch.equal(answer["0.3"], answer["0.4:input"])
    assert torch.equal(answer["0.4"], network[0][4](answer["0.3"]))
    assert torch.equal(answer.logits, network(IMAGES))
    assert len(answer) == 3


def test_a_wrong_path_is_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"the student has no module 'layer2.conv1'; did you mean .*'layer2.0.conv1'"):
        find(ResNet(2), Tap("layer2.conv1"), called="the student")
    with pytest.raises(UserError, match="has no module ''"):
        TappedNetwork(ResNet(2), [""])


@pytest.mark.parametrize(
    ("tap", "words"),
    [
        ("parts", "never fired.*ModuleList"),
        ("idle", "never fired"),
        ("twice", "fired 2 times"),
        ("pair", "holds tuple, not a tensor"),
    ],
)
def test_what_cannot_be_tapped(tap: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        TappedNetwork(Odd(), [tap])(torch.randn(2, 4))


def test_an_input_given_by_name_is_an_input() -> None:
    assert TappedNetwork(Odd(), ["named:input"])(torch.randn(2, 4))["named:input"].shape == (2, 1, 4)


def test_a_value_overwritten_in_place_is_no_silent_mistake() -> None:
    with pytest.raises(UserError, match=r"'0\.1' is overwritten in place"):
        TappedNetwork(vgg(2), ["0.1"])(IMAGES)
    with torch.inference_mode():  # there PyTorch does not count writes
        TappedNetwork(vgg(2), ["0.2"])(IMAGES)


def test_the_network_stays_as_it_was() -> None:
    network = ResNet(2)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    tapped = TappedNetwork(network, ["layer1", "layer2.0:input"])
    tapped(IMAGES)
    assert hooks(network) == 0
    assert list(before) == list(network.state_dict())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    twin = copy.deepcopy(network)
    assert hooks(twin) == 0
    with pytest.raises(RuntimeError):
        tapped(torch.randn(2, 4, 8, 8))
    assert hooks(network) == 0


def test_a_cut_network_computes_nothing_deeper() -> None:
    network = ResNet(2)
    calls: list[str] = []
    for name, module in network.named_children():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    answer = TappedNetwork(network, ["layer1", "stem"], cut=True)(IMAGES)
    assert answer.output is None
    assert answer["layer1"].shape == (2, 2, 8, 8)
    assert calls[0] == "stem"
    assert set(calls) <= {"stem", "layer1"}


def test_two_objects_on_one_network_do_not_disturb_each_other() -> None:
    network = ResNet(2)
    one, two = TappedNetwork(network, ["layer1"]), TappedNetwork(network, ["layer1", "layer2"], cut=True)
    for _ in range(2):
        assert list(one(IMAGES)) == [Tap("layer1")]
        assert torch.equal(one(IMAGES)["layer1"], two(IMAGES)["layer1"])


def test_taps_survive_compilation() -> None:
    network = ResNet(2, blocks=1)
    compiled = torch.compile(network, backend="aot_eager")
    compiled(IMAGES)  # compiled before any tap is there
    eager = TappedNetwork(network, ["layer1", "layer3:input"])(IMAGES)
    tapped = TappedNetwork(compiled, ["layer1", "layer3:input"])
    answer = tapped(IMAGES)
    torch.testing.assert_close(answer.output, eager.output)
    for tap in tapped.taps:
        torch.testing.assert_close(answer[tap], eager[tap])
    answer["layer1"].sum().backward()
    assert network.stem.weight.grad is not None
    assert network.stem.weight.grad.abs().sum() > 0
    assert hooks(network) == 0
    assert tapped(torch.randn(3, 3, 8, 8))["layer1"].shape[0] == 3


@pytest.mark.parametrize("way", ["around", "in place"])
def test_a_compiled_network_is_cut_too_and_compiled_once(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[list[str]] = []

    def backend(graph, _example):
        graphs.append([node.name for node in graph.graph.nodes])
        return graph

    network = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Sigmoid())
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    if way == "in place":
        network.compile(backend=backend)
    tapped = TappedNetwork(network if way == "in place" else torch.compile(network), ["1"], cut=True)
    for _ in range(3):
        answer = tapped(torch.randn(2, 4))
    assert answer.output is None
    assert len(graphs) == 1
    assert not any("sigmoid" in name or "input_4" in name for name in graphs[0])


def test_a_trace_tells_what_can_be_tapped() -> None:
    network = Odd().train()
    network.idle.eval()
    traces = {t.path: t for t in trace(network, torch.randn(2, 4))}
    assert traces["parts"].problem == "never called"
    assert traces["idle"].fired == 0
    assert traces["twice"].problem == "called 2 times"
    assert traces["pair"].problem == "answers with tuple"
    assert traces["parts.1"].tappable
    assert traces["parts.1"].type == "Linear"
    assert hooks(network) == 0
    assert network.training
    assert not network.idle.training


def test_a_trace_measures_shape_resolution_and_depth() -> None:
    network = vgg(2).train()
    traces = trace(network, IMAGES)
    by_path = {t.path: t for t in traces}
    assert by_path["0.4"].shape == (4, 4, 4)
    assert by_path["0.4"].resolution == (4, 4)
    assert by_path["0.1"].problem == "overwritten in place"
    assert by_path["2"].resolution is None
    depths = [t.depth for t in traces]
    assert depths == sorted(depths)
    first, second, third, last = 64 * 3 * 2 * 9, 16 * 2 * 4 * 9, 4 * 4 * 8 * 9, 8 * 10
    assert by_path["0.4"].depth == pytest.approx((first + second) / (first + second + third + last))
    assert depths[-1] == 1
    assert network[0][1].num_batches_tracked == 0


def test_stages_are_the_last_taps_of_every_resolution() -> None:
    assert [t.path for t in stages(trace(ResNet(2), IMAGES))] == ["layer1", "layer2", "layer3"]
    assert [t.path for t in stages(trace(vgg(2), IMAGES))] == ["0.2", "0.6", "0.10"]  # "0" has a single place
    wrapped = nn.Sequential(ResNet(2))
    assert [t.path for t in stages(trace(wrapped, IMAGES))] == ["0.layer1", "0.layer2", "0.layer3"]
    assert [t.path for t in stages(trace(ViT(4, 3), IMAGES))] == ["norm"]
    assert [t.path for t in parts(trace(ViT(4, 8), IMAGES))] == ["blocks.1", "blocks.3", "blocks.5", "norm"]


@pytest.mark.parametrize(
    ("teacher", "student", "pair"),
    [
        (ResNet(4, 3), ResNet(2, 1), "layer2 -> layer2"),
        (vgg(4), vgg(2), "0.6 -> 0.6"),
        (ViT(8, 6), ViT(4, 3), "blocks.3 -> blocks.1"),
    ],
    ids=["resnet", "vgg", "vit"],
)
def test_the_default_pair_is_the_middle_one(teacher: nn.Module, student: nn.Module, pair: str) -> None:
    assert str(default_pair(teacher, student, IMAGES)) == pair


def test_the_depth_of_a_trace_counts_attention_and_recurrent_layers() -> None:
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    tokens = 5
    scores = 2 * tokens * tokens * 8  # each token with each, and the sum of the values
    layers = {
        nn.Sequential(attention): tokens * (4 * 8 * 8 + 2 * 8 * 16) + scores,
        First(nn.LSTM(8, 8, batch_first=True)): tokens * 2 * 8 * 4 * 8,
    }
    for layer, wanted in layers.items():
        traces = trace(nn.Sequential(layer, nn.Linear(8, 8)), torch.rand(2, tokens, 8))
        depth = {t.path: t.depth for t in traces}["0"]
        assert depth == pytest.approx(wanted / (wanted + tokens * 8 * 8)), layer


class First(nn.Module):
    """The first of the values of a layer."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.layer(x)[0]
        return value


@pytest.mark.parametrize(("teacher", "student"), [(ResNet(4), ViT(4, 3)), (ViT(8, 4), ResNet(2))])
def test_maps_and_tokens_are_paired_by_depth(teacher: nn.Module, student: nn.Module) -> None:
    first = propose(trace(teacher, IMAGES), trace(student, IMAGES))[0]
    assert abs(first.teacher.depth - first.student.depth) < 0.2
    assert "ToGrid" in first.regressor or "GridTo" in first.regressor
    assert first.reason.startswith("the middle of both")


def test_proposals_say_why_and_which_regressor() -> None:
    proposals = propose(trace(ResNet(4), IMAGES), trace(ResNet(2), IMAGES))
    assert str(proposals[0].pair) == "layer2 -> layer2"
    assert "equal resolution" in proposals[0].reason
    assert "4x4 at" in proposals[0].reason
    assert proposals[0].regressor == "Conv2d(4, 8, kernel_size=(1, 1), stride=(1, 1))"


def test_networks_of_vectors_have_pairs_too() -> None:
    def mlp(width: int) -> nn.Module:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 10)
        )

    assert propose(trace(mlp(16), IMAGES), trace(mlp(8), IMAGES))


class FirstDtype(nn.Module):
    """A layer behind a step that notes what it is given."""

    def __init__(self, dtype):
        super().__init__()
        self.layer, self.given = nn.Linear(4, 2, dtype=dtype), None

    def forward(self, x):
        self.given = x.dtype
        return self.layer(x)


@pytest.mark.parametrize("ask", [call, lambda network, x: TappedNetwork(network, ["layer"])(x)])
@pytest.mark.parametrize(
    ("dtype", "autocast", "given"),
    [
        (torch.bfloat16, False, torch.bfloat16),
        (torch.bfloat16, True, torch.float32),  # a teacher in low precision: its inputs are normalised in float32
        (torch.float64, False, torch.float64),
        (torch.float64, True, torch.float64),
        (torch.float32, True, torch.float32),
    ],
)
def test_inputs_are_in_the_precision_of_the_weights_unless_autocast_converts_them(ask, dtype, autocast, given):
    network = FirstDtype(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ask(network, torch.rand(3, 4))
    assert network.given == given
