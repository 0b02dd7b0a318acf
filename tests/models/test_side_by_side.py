"""Networks side by side: outputs, gradients and statistics are those of the networks one by one."""

import copy

import pytest
import torch
from torch import nn

from understudy.errors import UserError
from understudy.losses import cross_entropy, kd
from understudy.models import SideBySide, build


def networks(count: int = 3) -> list[nn.Module]:
    made = []
    for seed in range(count):
        torch.manual_seed(seed)
        made.append(build("resnet8", widths=[4, 4, 4], classes=5))
    return made


def test_a_sweep_side_by_side_trains_what_each_would_be_alone():
    torch.manual_seed(9)
    alone, images, labels = networks(), torch.rand(8, 3, 8, 8), torch.arange(8) % 5
    together, teacher = SideBySide(copy.deepcopy(alone)), torch.randn(8, 5)
    temperatures = (1.0, 2.0, 4.0)
    optimizer = torch.optim.SGD(together.parameters(), 0.05, momentum=0.9)
    others = [torch.optim.SGD(network.parameters(), 0.05, momentum=0.9) for network in alone]
    for _ in range(3):
        optimizer.zero_grad()
        pairs = zip(together(images), temperatures, strict=True)
        losses = [cross_entropy(z, labels) + kd(z, teacher, temperature=t) for z, t in pairs]
        torch.stack(losses).mean(1).sum().backward()
        optimizer.step()
        for network, own, temperature in zip(alone, others, temperatures, strict=True):
            own.zero_grad()
            logits = network(images)
            (cross_entropy(logits, labels) + kd(logits, teacher, temperature=temperature)).mean().backward()
            own.step()
    for network, same in zip(together.networks, alone, strict=True):
        for name, value in same.state_dict().items():
            torch.testing.assert_close(network.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_each_may_have_inputs_and_a_dropout_of_its_own_and_follows_the_mode():
    made = [nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(6)) for _ in range(2)]
    together, images = SideBySide(made), torch.randn(2, 4, 6)
    first, second = together(torch.ones(4, 6))
    assert not torch.equal(first, second)
    assert made[0][1].num_batches_tracked == 1
    together.eval()
    outputs = together(images, each=True)
    for network, output, x in zip(made, outputs, images, strict=True):
        torch.testing.assert_close(output, network(x))
    assert made[0][1].num_batches_tracked == 1
    assert {name.split(".")[0] for name, _ in together.named_parameters()} == {"networks"}


def test_networks_that_are_not_alike_are_refused_by_name():
    with pytest.raises(UserError, match=r"number 2 differs from the first in weight"):
        SideBySide([nn.Linear(2, 2), nn.Linear(3, 2)])
    for name, other in {
        "1": nn.Tanh(),
        "1.negative_slope": nn.LeakyReLU(0.2),
        "1.inplace": nn.LeakyReLU(inplace=True),
    }.items():
        with pytest.raises(UserError, match=f"number 2 differs from the first in {name}$"):
            SideBySide([nn.Sequential(nn.Linear(2, 2), layer) for layer in (nn.LeakyReLU(), other)])
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    with pytest.raises(UserError, match="number 3 is number 2 again"):
        SideBySide([one, other, other])
    other.eval()
    with pytest.raises(UserError, match="all in training mode or all in evaluation mode"):
        SideBySide([one, other])(torch.rand(2, 2))
    with pytest.raises(UserError, match="none is given"):
        SideBySide([])


def test_layers_that_share_a_tensor_share_it_side_by_side():
    made = [nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(2)]
    for network in made:
        network[1].weight = network[0].weight
    together, x = SideBySide(made), torch.rand(4, 3)
    for network, output in zip(made, together(x), strict=True):
        torch.testing.assert_close(output, network(x))
        (of_pair,) = torch.autograd.grad(output.sum(), network[0].weight, retain_graph=True)
        (alone,) = torch.autograd.grad(network(x).sum(), network[0].weight)
        torch.testing.assert_close(of_pair, alone)
