"""Optimizers, schedules, bounds, averages and patience against values computed here by hand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from understudy.config.optimizers import SGD, AdamW, MaxNorm, RMSProp, parameter_groups
from understudy.config.schedules import Constant, Cosine, Linear, OneCycle, Step
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods import find
from understudy.models import Normalized
from understudy.terms import Hint
from understudy.training.averaging import Average
from understudy.training.loop import Training


def test_patterns_are_of_the_users_own_names_behind_a_front_too():
    network = Normalized(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), [0.5], [0.5])
    scaled = parameter_groups(network, nn.ModuleDict(), 1.0, {"0.*": 0.5})
    assert sorted((group["lr"], len(group["params"])) for group in scaled) == [(0.5, 2), (1.0, 2)]
    assert len(MaxNorm(network, {"1.*": 0.9}).bounded) == 1


def test_rmsprop_is_the_formula_of_the_paper_with_its_bounded_root():
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=6), random.normal(size=(5, 6)) * [1, 1, 1e-7, 1e-7, 0, 1]
    parameter = nn.Parameter(torch.tensor(start))
    optimizer = RMSProp(lr=0.01, decay=0.9, floor=1e-5, weight_decay=0.1).build([{"params": [parameter]}])
    x, square = start.copy(), np.zeros(6)
    for gradient in gradients:
        g = gradient + 0.1 * x
        square = 0.9 * square + 0.1 * g**2
        x = x - 0.01 * g / np.maximum(np.sqrt(square), 1e-5)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(parameter.detach().numpy(), x, rtol=1e-12)


def test_the_floor_of_rmsprop_bounds_the_step_of_a_vanishing_gradient():
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = RMSProp(lr=1.0, floor=1e-3).build([{"params": [parameter]}])
    parameter.grad = torch.full((1,), 1e-6, dtype=torch.float64)
    optimizer.step()
    assert parameter.item() == pytest.approx(-1e-3)


@pytest.mark.parametrize(("description", "kind"), [(SGD(momentum=0.0), torch.optim.SGD), (AdamW(), torch.optim.AdamW)])
def test_a_description_builds_pytorchs_own_optimizer(description, kind):
    optimizer = description.build([{"params": [nn.Parameter(torch.zeros(2))]}])
    assert type(optimizer) is kind
    assert optimizer.defaults["lr"] == description.lr
    assert optimizer.defaults["weight_decay"] == description.weight_decay


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_pytorchs_plain_one_also_for_a_layer_that_some_steps_skip(momentum):
    start, description = [torch.rand(3), torch.rand(3)], SGD(momentum=momentum)
    ours, theirs = ([nn.Parameter(x.clone()) for x in start] for _ in range(2))
    plain = torch.optim.SGD(theirs, 0.1, momentum, weight_decay=5e-4, nesterov=momentum > 0, foreach=False)
    optimizer = description.build([{"params": ours}])
    for gradients in ([1.0, None], [2.0, 3.0], [None, 1.0], [0.5, 0.5]):
        for parameters in (ours, theirs):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = None if gradient is None else torch.full((3,), gradient)
        optimizer.step()
        plain.step()
    assert all(torch.allclose(a, b, rtol=1e-6) for a, b in zip(ours, theirs, strict=True))


RATES = [
    (Cosine(warmup=2, floor=0.1), 10, {0: 0, 1: 0.5, 2: 1, 6: 0.55, 4: 0.1 + 0.9 * (2 + math.sqrt(2)) / 4, 10: 0.1}),
    (Cosine(warmup=4), 2, {0: 0, 0.5: 0.5, 1: 1, 1.5: 0.5, 2: 0}),  # never more than half the time warming up
    (OneCycle(peak=0.25, start=0.2, end=0.0), 8, {0: 0.2, 1: 0.6, 2: 1, 5: 0.5, 8: 0}),
    (Step(at=(0.5, 8), by=0.1), 10, {0: 1, 4.99: 1, 5: 0.1, 7.9: 0.1, 8: 0.01, 10: 0.01}),
    (Step(at=(5,), by=0.5, warmup=2), 10, {0: 0, 1: 0.5, 2: 1, 5: 0.5}),
    (Linear(end=0.2), 10, {0: 1, 5: 0.6, 10: 0.2}),
    (Constant(), 10, {0: 1, 10: 1}),
    (Constant(warmup=4), 10, {0: 0, 1: 0.25, 4: 1, 9: 1}),
]


@pytest.mark.parametrize(("rate", "epochs", "expected"), RATES, ids=lambda x: str(x) if not isinstance(x, dict) else "")
def test_a_rate_goes_through_the_points_that_its_definition_gives(rate, epochs, expected):
    assert {e: rate.factor(e, epochs) for e in expected} == pytest.approx(expected)


def test_parameters_get_the_rate_of_the_first_pattern_that_they_match(small):
    _, student = small.networks()
    groups = parameter_groups(student, nn.Linear(2, 2), 0.1, {"conv1*": 0.5, "conv*": 0.05, "head.bias": 0.0})
    schedules = {id(p): group["base_lr"] for group in groups for p in group["params"]}
    assert {
        n: schedules[id(p)] for n, p in student.named_parameters() if n.startswith(("conv", "head"))
    } == pytest.approx(
        {"conv1.weight": 0.05, "conv2.weight": 0.005, "conv2.bias": 0.005, "head.weight": 0.1, "head.bias": 0.0}
    )
    assert sum(len(group["params"]) for group in groups) == len(list(student.parameters())) + 2
    with pytest.raises(UserError, match=r"lr_scale.*'conv3\*'"):
        parameter_groups(student, nn.Linear(2, 2), 0.1, {"conv3*": 0.5})


def test_the_kernels_of_a_regressor_are_kept_below_their_bound(small):
    still = TrainConfig(epochs=1, batch=12, optimizer=SGD(lr=1e-9, weight_decay=0.0))
    lengths = {}
    for bound in (None, 0.2):
        teacher, student = small.networks()
        training = Training(
            student, [teacher], [Stage("hint", Hint("conv -> conv1", max_norm=bound), still)], small.data()
        )
        training.run()
        (regressor,) = training.stage_state.objective.owned.values()
        lengths[bound] = regressor.weight.detach().flatten(1).norm(dim=1)
        assert len(training.stage_state.bounds.bounded) == (bound is not None)
    assert lengths[None].max() > 0.2
    torch.testing.assert_close(lengths[0.2], lengths[None].clamp_max(0.2), atol=1e-5, rtol=1e-5)


def test_kernels_are_scaled_back_to_their_bound_and_shorter_ones_left_alone():
    network = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Linear(4, 2))
    with torch.no_grad():
        for row, length in zip(network[0].weight, (0.5, 1.0, 3.0), strict=True):
            row.mul_(length / row.norm())
    before = network[0].weight.detach().clone()
    others = [p.clone() for p in (network[0].bias, network[1].weight)]
    MaxNorm(network, {"0.*": 0.9}).apply()
    lengths = network[0].weight.detach().flatten(1).norm(dim=1)
    assert lengths.tolist() == pytest.approx([0.5, 0.9, 0.9])
    assert torch.equal(network[0].weight[0], before[0])
    assert torch.allclose(network[0].weight[2] / 0.9, before[2] / 3)
    assert all(map(torch.equal, others, (network[0].bias, network[1].weight)))
    with pytest.raises(UserError, match="max_norm"):
        MaxNorm(network, {"nothing*": 1.0})


def test_the_average_is_young_at_first_then_exponential_and_counts_are_copied():
    network = nn.BatchNorm1d(1)
    average, expected = Average(network, 0.8), 1.0
    for step in range(30):
        with torch.no_grad():
            network.weight.fill_(float(step))
            network.num_batches_tracked.fill_(step)
        average.update()
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert average.network.weight.item() == pytest.approx(expected, rel=1e-5)
    assert average.network.num_batches_tracked.item() == 29
    assert not any(p.requires_grad for p in average.network.parameters())


def test_a_tensor_that_layers_share_is_averaged_once():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    average = Average(network, 0.9)
    before = average.network[0].weight.clone()
    with torch.no_grad():
        network[0].weight += 1
    average.update()
    assert torch.equal(average.network[1].weight, before.lerp(network[0].weight, 1 - 1 / 10))


@pytest.fixture
def scripted(small, monkeypatch):
    """A training whose validation accuracies are given, epoch by epoch."""

    def train(values, **config):
        given = iter(values)
        monkeypatch.setattr(
            "understudy.training.loop.figures", lambda *_: {"accuracy": next(given, 0.0), "loss": 1.0}, raising=True
        )
        config = TrainConfig(epochs=len(values), batch=36, optimizer=SGD(lr=0.01), schedule=Constant(), **config)
        training = Training(small.networks()[1], [], find("alone")(config), small.data())
        weights = []
        training.callback.epoch_ends = lambda record: weights.append(training.stage_state.weights())
        (end,) = training.run().stages
        return training, end, weights

    return train


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in other)


def test_patience_stops_after_so_many_epochs_without_a_better_value_and_the_best_epoch_is_kept(scripted):
    training, end, weights = scripted([0.1, 0.5, 0.5, 0.4, 0.45, 0.9], patience=3)
    assert end.epochs == 5
    assert (end.kept, end.best_epoch) == ("best", 2)  # an equal value later on is no better one
    assert end.validation["accuracy"] == 0.5
    assert equal(training.student.state_dict(), weights[1])
    assert equal(training.last, weights[4])


def test_keep_last_keeps_the_last_epoch_whatever_validation_says(scripted):
    training, end, weights = scripted([0.9, 0.1], keep="last")
    assert (end.epochs, end.kept) == (2, "last")
    assert equal(training.student.state_dict(), weights[-1])


def test_with_an_average_it_is_the_average_that_is_measured_and_kept(small):
    config = TrainConfig(epochs=2, batch=36, optimizer=SGD(lr=0.1), schedule=Constant(), ema=0.9, keep="last")
    teacher, student = small.networks()
    training = Training(student, [teacher], find("fitnets")(config, pair="conv -> conv1"), small.data())
    raw = []
    training.callback.epoch_ends = lambda record: raw.append({k: v.clone() for k, v in student.state_dict().items()})
    training.run()
    average = training.stage_state.average.network.state_dict()
    assert equal(student.state_dict(), average)
    assert not equal(raw[-1], average)
