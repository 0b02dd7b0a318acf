"""Optimizers of libraries by name: their settings, how Muon divides a student, and that they go on bit for bit."""

import sys
import types
from typing import get_args

import pytest
import torch
from torch import nn

from understudy import bounds
from understudy import recipe as recipes
from understudy.config.optimizers import SGD, Muon, TimmOptimizer, TorchOptimizer, optimizer_of
from understudy.config.train import TrainConfig
from understudy.errors import OptionalPackageError, UserError
from understudy.training.state import flatten, restore_optimizer, unflatten

NAMES = get_args(bounds.hints(TorchOptimizer)["name"])
NOTHING = nn.ModuleDict()


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3)
    )


def steps(student, optimizer, numbers):
    for number in numbers:
        torch.manual_seed(number)
        optimizer.zero_grad()
        nn.functional.cross_entropy(student(torch.rand(6, 3, 4, 4)), torch.arange(6) % 3).backward()
        optimizer.step()


@pytest.mark.parametrize("description", [Muon(), *(TorchOptimizer(name) for name in NAMES)], ids=lambda d: d.name)
def test_each_trains_and_goes_on_bit_for_bit(description):
    whole, cut = network(), network()
    optimizer = optimizer_of(description, whole, NOTHING, {})
    before = [whole[layer].weight.clone() for layer in (0, 1, 4, 6)]
    steps(whole, optimizer, range(4))
    assert not any(map(torch.equal, before, [whole[layer].weight for layer in (0, 1, 4, 6)]))
    first = optimizer_of(description, cut, NOTHING, {})
    steps(cut, first, range(2))
    tensors = {}
    tree = flatten(first.state_dict(), tensors)
    again = optimizer_of(description, cut, NOTHING, {})
    restore_optimizer(again, unflatten(tree, tensors))
    steps(cut, again, range(2, 4))
    assert all(map(torch.equal, whole.state_dict().values(), cut.state_dict().values()))


def test_muon_moves_matrices_of_hidden_layers_and_adamw_the_rest():
    student, owned = network(), nn.ModuleDict({"regressor": nn.Linear(4, 4)})
    optimizer = optimizer_of(Muon(lr=0.01), student, owned, {"4.*": 0.5})
    muon, adamw = optimizer.parts
    assert isinstance(muon, torch.optim.Muon)
    assert [p for group in muon.param_groups for p in group["params"]] == [student[4].weight]
    assert sum(len(group["params"]) for group in adamw.param_groups) == 9
    assert [group["lr"] for group in muon.param_groups] == [0.005]
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # as a schedule sets it
    before = [p.clone() for p in student.parameters()]
    steps(student, optimizer, range(1))
    assert all(map(torch.equal, before, student.parameters()))


def test_muon_without_a_matrix_is_refused():
    student = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(UserError, match=r"no matrix that it could move.*take 'timm:muon'"):
        optimizer_of(Muon(), student, NOTHING, {})
    embedding = nn.ModuleList([nn.Embedding(4, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 2)])
    embedding[1].weight = embedding[0].weight  # tied
    with pytest.raises(UserError, match="no matrix"):
        optimizer_of(Muon(), embedding, NOTHING, {})


def test_settings_that_an_optimizer_has_not_are_named():
    with pytest.raises(UserError, match=r"'torch:Adam' has no setting 'momentum'; it takes lr, weight_decay, betas"):
        optimizer_of(TorchOptimizer("torch:Adam", momentum=0.9), network(), NOTHING, {})
    with pytest.raises(UserError, match="optimizer 'torch:Adam': betas are 2 numbers, not 3"):
        optimizer_of(TorchOptimizer("torch:Adam", betas=(0.9, 0.9, 0.9)), network(), nn.ModuleDict(), {})
    with pytest.raises(UserError, match="optimizer 'torch:Adam': "):
        optimizer_of(TorchOptimizer("torch:Adam", betas=(0.9,)), network(), NOTHING, {})


TEXT = """
data = "demo"
[teacher]
network = "resnet8"
train = {}
[student]
network = "resnet8"
[methods.kd]
[train]
"""


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        ('{ name = "torch:Adamm" }', "torch:Adam"),
        ('{ name = "torch:LBFGS" }', "there is no 'torch:LBFGS'"),
        ('{ name = "torch:Adam", lr = -1 }', "train.optimizer.lr: Input should be greater than 0"),
        ('{ name = "timm:lion", betas = [0.9, 1.5] }', "train.optimizer.betas.1: Input should be less than 1"),
        ('{ name = "muon", momentum = 1 }', "train.optimizer.momentum: Input should be less than 1"),
        ('{ name = "muon", fused = true }', "train.optimizer.fused: unknown key"),
    ],
)
def test_mistakes_in_recipes(optimizer, words):
    with pytest.raises(UserError, match=words):
        recipes.parse(TEXT + f"optimizer = {optimizer}", "r.toml")


def test_recipes_and_python_name_the_same():
    recipe = recipes.parse(TEXT, "r.toml", ["train.optimizer.name=torch:NAdam", "train.optimizer.lr=0.01"])
    assert recipe.train.optimizer == TorchOptimizer("torch:NAdam", lr=0.01)
    assert recipes.parse(TEXT + 'optimizer = { name = "timm:lion" }', "r.toml").train.optimizer == TimmOptimizer()
    assert recipes.parse(TEXT, "r.toml").train.optimizer == SGD()
    with pytest.raises(UserError, match=r"config\.optimizer\.lr = -1"):
        bounds.check(TrainConfig(optimizer=Muon(lr=-1)), "config")


def test_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(OptionalPackageError, match=r"understudy\[timm\]"):
        optimizer_of(TimmOptimizer(), network(), NOTHING, {})
    timm, optim = types.ModuleType("timm"), types.ModuleType("timm.optim")
    optim.get_optimizer_class = {"lion": torch.optim.SGD}.__getitem__
    timm.optim = optim
    for module in (timm, optim):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    optimizer = optimizer_of(TimmOptimizer("timm:lion", lr=0.1, momentum=0.5), network(), NOTHING, {})
    assert optimizer.defaults["momentum"] == 0.5
