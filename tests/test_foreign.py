"""Structures of networks of other libraries, which scripts/zoo.py met, on tiny networks."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from tests.test_taps import IMAGES, ResNet, ViT
from understudy import Objective, distill, load, methods
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.measure.size import size
from understudy.taps.defaults import PROPOSALS
from understudy.taps.stages import classifier, last_map
from understudy.taps.tracing import trace

LABELS = torch.tensor([0, 1])


class PooledTokens(ViT):
    """Tokens are pooled by a module, as in the Swin of transformers: its value is (N, width, 1)."""

    def __init__(self) -> None:
        super().__init__(8, 3)
        self.pooler = nn.AdaptiveAvgPool1d(1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.pooler(self.norm(tokens).transpose(1, 2)).flatten(1))


class TokenBeside(ResNet):
    """A class token is given to a module by itself, as in timm's CaiT: a view of a parameter."""

    def __init__(self) -> None:
        super().__init__(4)
        self.token = nn.Parameter(torch.zeros(1, 16))
        self.last = nn.Bilinear(16, 16, 16)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.head(self.last(maps.mean((2, 3)), self.token.expand(len(x), -1)))


class TokensAtTheEnd(ViT):
    """Its last norm is given the class tokens alone, as in timm's PiT."""

    def __init__(self) -> None:
        super().__init__(8, 4)
        self.second = nn.Parameter(torch.zeros(1, 1, 8))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(x), -1, -1), self.second.expand(len(x), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens[:, :2]).mean(1))


class FastAttention(ViT):
    """Attention by PyTorch's fast kernel, of which it has no second derivative."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            heads = block.norm(tokens)[:, None]
            tokens = tokens + nn.functional.scaled_dot_product_attention(heads, heads, heads)[:, 0]
            tokens = tokens + block.mlp(tokens)
        return self.head(self.norm(tokens).mean(1))


class HardResNet(ResNet):
    """``hardsigmoid`` scales its middle maps, of which PyTorch has no second derivative, as in MobileNetV3."""

    def __init__(self) -> None:
        super().__init__(2)
        self.layer2.add_module("gate", nn.Hardsigmoid())


class NormLinear(nn.Sequential):
    """A classifier with a norm inside, as in timm's LeViT, SHViT and EfficientViT."""


class NormHead(ResNet):
    def __init__(self) -> None:
        super().__init__(4)
        self.head = NormLinear(OrderedDict(bn=nn.BatchNorm1d(16), l=nn.Linear(16, 10)))


class ConvolutionHead(ResNet):
    """A convolution of 1x1 classifies behind the pooling, as in timm's ResNetV2."""

    def __init__(self) -> None:
        super().__init__(4)
        self.head = nn.Conv2d(16, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.head(maps.mean((2, 3), keepdim=True)).flatten(1)


def test_multiplications_are_counted_where_a_module_is_given_a_parameter() -> None:
    assert size(TokenBeside(), IMAGES).multiplications > size(ResNet(2), IMAGES).multiplications > 0


class Versioned(nn.Sequential):
    """It takes no state without its version, as torchvision's MNASNet."""

    _version = 2

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(192, 10))

    def _load_from_state_dict(self, state, prefix, metadata, *rest) -> None:
        if metadata.get("version") is None:
            raise ValueError("version should be set")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


def test_versions_of_modules_are_kept(tmp_path) -> None:
    data = torch.rand(12, 3, 8, 8), torch.arange(12) % 10
    run = distill(ResNet(2), Versioned(), data, epochs=2, out=tmp_path, accept_weak=True, progress=False)
    assert torch.equal(load(tmp_path, trust=[__name__])[1].weight, run.student[1].weight)


@pytest.mark.parametrize(
    ("network", "maps", "head"),
    [
        (PooledTokens(), "norm:grid", "head"),
        (TokenBeside(), "layer3", "head"),
        (TokensAtTheEnd(), "blocks.3:grid", "head"),
        (NormHead(), "layer3", "head.l"),
        (ConvolutionHead(), "layer3", "head"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_the_last_map_and_the_classifier(network: nn.Module, maps: str, head: str) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert str(last_map(network, IMAGES)) == maps
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert classifier(trace(network, IMAGES)).path == head


@pytest.mark.parametrize(
    ("name", "teacher", "student"),
    [
        ("at-gradient", ViT(8, 4), ResNet(2)),
        ("at-gradient", ResNet(4), ViT(8, 4)),
        ("at-gradient", FastAttention(8, 4), FastAttention(4, 4)),
        ("at-gradient", ResNet(4), HardResNet()),
        ("srrl", ConvolutionHead(), ResNet(2)),
        ("simkd", ConvolutionHead(), ResNet(2)),
        ("simkd", ResNet(2), ConvolutionHead()),
        ("simkd", NormHead(), ResNet(2)),
        ("simkd", ResNet(2), NormHead()),
        ("cwd", ResNet(4), PooledTokens()),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_methods_work_with_the_taps_that_they_propose(name: str, teacher: nn.Module, student: nn.Module) -> None:
    method = methods.find(name)
    taps = {key: PROPOSALS[method.proposed_by.get(key, key)](teacher, student, IMAGES) for key in method.needed}
    if method.grafts is not None:
        method.grafts(student, teacher, method.complete(taps))
    (stage,) = method(TrainConfig(), **taps)
    objective = Objective(stage.objective, student=student, teacher=teacher, example=IMAGES)
    outcome = objective(IMAGES, LABELS)
    trained = [parameter for parameter in student.parameters() if parameter.requires_grad]
    for weighted in outcome.weighted.values():
        gradients = torch.autograd.grad(weighted, trained, allow_unused=True, retain_graph=True)
        assert sum(float(g.abs().sum()) for g in gradients if g is not None) > 0


class Distances(nn.Module):
    """An operation of which PyTorch has no second derivative."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(x.flatten(1), torch.ones(64, x[0].numel()), p=1.0)


def test_a_network_that_cannot_be_differentiated_twice_is_named() -> None:
    student = nn.Sequential(nn.Conv2d(3, 4, 3), Distances(), nn.Linear(64, 10))
    with pytest.raises(UserError, match="cannot differentiate that of the network's _cdist: take another method"):
        distill(
            ResNet(2),
            student,
            (IMAGES, torch.tensor([0, 9])),
            method="at-gradient",
            pair="layer2 -> 0",
            accept_weak=True,
        )


def test_one_logit_is_named_as_the_task_of_two_classes() -> None:
    student = nn.Sequential(nn.Flatten(), nn.Linear(192, 1))
    with pytest.raises(UserError, match='the data have 2 classes: for one logit give the data the task "binary"'):
        distill(None, student, (IMAGES, LABELS), method="alone")
