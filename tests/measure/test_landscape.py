"""The loss around a network: right where it is known, blind to the scale of filters, and without a trace."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from understudy.errors import UserError
from understudy.measure import landscape
from understudy.measure.landscape import direction


class Bowl(nn.Module):
    """Answers with its own weights, so that the loss below is half their squared length: a bowl around 0."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)))
        self.bias = nn.Parameter(torch.ones(5))

    def forward(self, x):
        return self.weight.flatten().expand(len(x), -1)


def half_square(answer, labels):
    return answer.square().sum(1).mean() / 2


def small_network(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, eps=1e-12), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
        )
        for _ in range(5):
            network(torch.randn(16, 3, 8, 8))  # its norms learn some statistics
    return network


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(20, 3, 8, 8, generator=generator), torch.randint(0, 3, (20,), generator=generator)


def test_a_bowl_is_measured_as_it_is():
    bowl = Bowl()
    found = landscape(bowl, torch.zeros(7, 1), torch.zeros(7), grid=5, radius=2.0, loss=half_square, batch=3)
    one, other = (direction(bowl, 0, number)["weight"] for number in (1, 2))
    assert found.axis == (-2.0, -1.0, 0.0, 1.0, 2.0)
    for i, a in enumerate(found.axis):
        for j, b in enumerate(found.axis):
            expected = (bowl.weight + a * one + b * other).square().sum().item() / 2
            assert found.losses[i][j] == pytest.approx(expected, rel=1e-5)
    length = bowl.weight.square().sum().item()
    assert found.centre == found.losses[2][2] == pytest.approx(length / 2, rel=1e-6)
    assert found.sharpness == pytest.approx(0.5**2 * length / 2, rel=1e-5)  # the mean of a^2 d1^2 / 2 + b^2 d2^2 / 2


def test_every_filter_moves_by_its_own_norm_and_what_has_one_dimension_not_at_all():
    network = small_network()
    towards = direction(network, 3, 1)
    assert list(towards) == ["0.weight", "4.weight"]
    for name, step in towards.items():
        own = network.get_parameter(name)
        assert torch.allclose(step.flatten(1).norm(dim=1), own.flatten(1).norm(dim=1), rtol=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0.05, 50), min_size=4, max_size=4))
def test_a_filters_scale_before_a_batch_norm_does_not_matter(scales):
    generator = torch.Generator().manual_seed(2)
    inputs, labels = torch.randn(10, 3, 8, 8, generator=generator), torch.arange(10) % 3
    network, other = small_network(), small_network()
    scale = torch.tensor(scales)
    with torch.no_grad():
        other[0].weight *= scale[:, None, None, None]
        other[1].running_mean *= scale
        other[1].running_var *= scale**2
    first, second = (landscape(net, inputs, labels, grid=3) for net in (network, other))
    assert torch.allclose(torch.tensor(second.losses), torch.tensor(first.losses), rtol=1e-3, atol=1e-4)
    assert second.sharpness == pytest.approx(first.sharpness, rel=1e-3, abs=1e-4)


def test_the_network_is_as_it_was(samples):
    network = small_network()
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    landscape(network, *samples, grid=3)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert [module.training for module in network] == [True, False, True, True, True]
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


def test_the_same_seed_gives_the_same_surface_and_networks_of_a_shape_share_their_directions(samples):
    network = small_network()
    first = landscape(network, *samples, grid=3, seed=4)
    torch.manual_seed(99)
    assert landscape(network, *samples, grid=3, seed=4) == first
    assert landscape(network, *samples, grid=3, seed=5).losses != first.losses
    assert first.centre == pytest.approx(F.cross_entropy(network.eval()(samples[0]), samples[1]).item(), rel=1e-5)
    one, other = (direction(small_network(seed), 4, 1)["0.weight"].flatten(1) for seed in (0, 1))
    assert torch.allclose(F.normalize(one), F.normalize(other), atol=1e-6)
    assert not torch.allclose(one, other)


def test_progress_is_told_and_mistakes_are_a_line(samples):
    told = []
    landscape(small_network(), *samples, grid=3, progress=lambda done, of: told.append((done, of)))
    assert told == [(done, 25) for done in range(1, 26)]
    with pytest.raises(UserError, match="odd number"):
        landscape(small_network(), *samples, grid=4)
    with pytest.raises(UserError, match="needs samples"):
        landscape(small_network(), samples[0][:0], samples[1][:0], grid=3)
    with pytest.raises(UserError, match="no weights of two dimensions"):
        landscape(nn.BatchNorm2d(3), *samples, grid=3)
