"""FitNets' networks against every count of its tables that the layer lists reproduce, and the ones they do not.

Parameters are weights without biases, and multiplications are those of one image, both as the authors count.
"""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from understudy.errors import UserError
from understudy.models import PAIRS, build
from understudy.models.families.fitnets import DEPTH_NETS, FITNETS
from understudy.taps import Pair, TappedNetwork


def on_meta(name: str, **settings) -> nn.Module:
    with torch.device("meta"):
        return build(name, **settings)


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.ndim > 1)


def multiplications(network: nn.Module, channels: int, size: int) -> int:
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, channels, size, size, device="meta"))
    return counter.get_total_flops() // 2


CIFAR = [  # name, fc pieces, weights, multiplications in millions; with 2 pieces they are those that the paper prints
    ("maxout-cifar", 2, 9_044_360, 725.1),
    ("maxout-cifar", 5, 16_244_360, 732.3),
    ("maxout-svhn", 2, 4_928_800, 297.9),
    ("maxout-svhn", 5, 10_458_400, 303.5),
    ("fitnet1", 2, 249_576, 30.2),
    ("fitnet1", 5, 345_576, 30.2),
    ("fitnet2", 2, 861_928, 107.8),
    ("fitnet2", 5, 1_053_928, 108.0),
    ("fitnet4", 2, 2_544_712, 381.7),
    ("fitnet4", 5, 2_736_712, 381.9),
]


@pytest.mark.parametrize(("name", "fc_pieces", "expected_weights", "expected_millions"), CIFAR)
def test_counts(name, fc_pieces, expected_weights, expected_millions):
    network = on_meta(name, fc_pieces=fc_pieces)
    assert weights(network) == expected_weights
    assert round(multiplications(network, 3, 32) / 1e6, 1) == expected_millions


@pytest.mark.parametrize(
    ("fc_pieces", "expected_weights", "expected_millions"), [(2, 1_503_304, 323.9), (5, 1_695_304, 324.1)]
)
def test_fitnet3_is_not_what_the_paper_prints(fc_pieces, expected_weights, expected_millions):
    """Table 5 prints 1.6M parameters and 392M multiplications; table 7's layers give these with either reading."""
    network = on_meta("fitnet3", fc_pieces=fc_pieces)
    assert weights(network) == expected_weights
    assert round(multiplications(network, 3, 32) / 1e6, 1) == expected_millions


@pytest.mark.parametrize(
    ("name", "pieces", "expected_weights", "expected_millions"),
    [
        ("maxout-mnist", 2, 360_816, 28.7),
        ("maxout-mnist", 4, 418_416, 30.7),
        ("fitnet-mnist", 2, 29_944, 5.3),
        ("fitnet-mnist", 4, 35_992, 5.6),
    ],
)
def test_counts_on_mnist(name, pieces, expected_weights, expected_millions):
    network = on_meta(name, pieces=pieces)
    assert weights(network) == expected_weights
    assert round(multiplications(network, 1, 28) / 1e6, 1) == expected_millions


DEPTH = {
    "fitnet-30m-5": 27.2,
    "fitnet-30m-7": 29.3,
    "fitnet-30m-9": 29.9,
    "fitnet-30m-11": 30.2,
    "fitnet-107m-5": 101.6,
    "fitnet-107m-7": 104.5,
    "fitnet-107m-9": 106.3,
    "fitnet-107m-11": 107.8,
}


@pytest.mark.parametrize("name", DEPTH)
def test_depth_nets(name):
    network = on_meta(name, fc_pieces=2)
    assert len(list(network.children())) == int(name.rsplit("-", 1)[1])
    assert round(multiplications(network, 3, 32) / 1e6, 1) == DEPTH[name]


def test_depth_nets_of_11_layers_are_fitnets_1_and_2():
    assert DEPTH_NETS["30m", 11] == FITNETS[1]
    assert DEPTH_NETS["107m", 11] == FITNETS[2]


def test_aflw():
    """The paper claims 15 and 2.5 times fewer multiplications; no padding that it may have meant gives both."""
    teacher, first, second = (on_meta(name) for name in ("aflw-teacher", "aflw-fitnet1", "aflw-fitnet2"))
    assert weights(teacher) == 6_821_248
    cost = multiplications(teacher, 3, 16)
    assert round(cost / 1e6) == 36
    assert round(cost / multiplications(first, 3, 16), 1) == 13.1
    assert round(cost / multiplications(second, 3, 16), 1) == 3.3
    assert teacher(torch.empty(2, 3, 16, 16, device="meta")).shape == (2, 1)


def test_layers_as_printed():
    layers = {which: len(list(on_meta(f"fitnet{which}").children())) for which in FITNETS}
    assert layers == {1: 11, 2: 11, 3: 13, 4: 19}


MAPS = {
    ("maxout-cifar", "conv1"): (96, 16, 16),
    ("maxout-cifar", "conv2"): (192, 7, 7),
    ("maxout-cifar", "conv3"): (192, 5, 5),
    ("maxout-svhn", "conv1"): (64, 18, 18),
    ("maxout-svhn", "conv2"): (128, 10, 10),
    ("maxout-svhn", "conv3"): (128, 6, 6),
    ("maxout-mnist", "conv1"): (48, 10, 10),
    ("maxout-mnist", "conv2"): (48, 4, 4),
    ("maxout-mnist", "conv3"): (24, 3, 3),
    ("fitnet1", "conv6"): (32, 8, 8),
    ("fitnet1", "conv7"): (48, 8, 8),
    ("fitnet2", "conv6"): (80, 8, 8),
    ("fitnet3", "conv8"): (80, 8, 8),
    ("fitnet4", "conv11"): (80, 8, 8),
    ("fitnet4", "conv17"): (128, 1, 1),
    ("fitnet-mnist", "conv2"): (16, 10, 10),
    ("fitnet-mnist", "conv3"): (16, 12, 12),
    ("fitnet-mnist", "conv4"): (16, 4, 4),
    ("fitnet-mnist", "conv5"): (12, 8, 8),
    ("fitnet-mnist", "conv6"): (12, 3, 3),
}


@pytest.mark.parametrize(("name", "tap"), MAPS)
def test_maps(name, tap):
    network = TappedNetwork(on_meta(name), [tap])
    images = (1, 1, 28, 28) if "mnist" in name else (1, 3, 32, 32)
    assert network(torch.empty(images, device="meta"))[tap].shape == (1, *MAPS[name, tap])


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_taps_and_the_students_map_is_at_least_as_large(name):
    family, images = "maxout-cifar", (1, 3, 32, 32)
    if "mnist" in name:
        family, images = "maxout-mnist", (1, 1, 28, 28)
    if "aflw" in name:
        family, images = "aflw-teacher", (1, 3, 16, 16)
    x = torch.empty(images, device="meta")
    for pair in map(Pair.parse, PAIRS[name]):
        hint = TappedNetwork(on_meta(family), [pair.teacher])(x)[pair.teacher]
        guided = TappedNetwork(on_meta(name), [pair.student])(x)[pair.student]
        assert guided.shape[-1] >= hint.shape[-1]


@pytest.mark.parametrize("name", ["fitnet5", "fitnet-30m-6", "fitnet-31m-5", "aflw-fitnet3"])
def test_networks_that_the_paper_does_not_have(name):
    with pytest.raises(UserError, match=r"fitnet|30m"):
        build(name)


def test_another_size_and_number_of_classes():
    network = build("fitnet1", classes=100, channels=1, size=28, norm=True)
    assert network(torch.randn(2, 1, 28, 28)).shape == (2, 100)
