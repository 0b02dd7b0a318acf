"""CKA against NumPy, its properties, and the taps that a map is made of."""

import numpy as np
import pytest
import torch
from torch import nn

from understudy import measure
from understudy.models import build
from understudy.taps import Tap
from understudy.taps.tracing import trace


def hsic(first, second):
    """The unbiased estimator from its definition."""
    n = len(first)
    k, m = first @ first.T, second @ second.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)
    total = (
        np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
    )
    return total / (n * (n - 3))


def test_cka_is_the_ratio_of_sums_over_minibatches():
    generator = np.random.default_rng(0)
    batches = [(generator.normal(size=(8, 5)), generator.normal(size=(8, 2, 3))) for _ in range(3)]
    batches = [(x, y + x[:, :2, None]) for x, y in batches]
    found = measure.CKA()
    for x, y in batches:
        found.add([torch.from_numpy(x)], [torch.from_numpy(y), torch.from_numpy(x)])
    flat = [(x, y.reshape(8, -1)) for x, y in batches]
    cross = sum(hsic(x, y) for x, y in flat)
    scale = np.sqrt(sum(hsic(x, x) for x, _ in flat) * sum(hsic(y, y) for _, y in flat))
    assert found.values()[0].tolist() == pytest.approx([cross / scale, 1.0], rel=1e-4)


def test_cka_does_not_see_rotation_scale_or_shift_and_finds_nothing_in_noise():
    torch.manual_seed(0)
    found = measure.CKA()
    rotation = torch.linalg.qr(torch.randn(6, 6)).Q
    for _ in range(40):
        x = torch.randn(16, 6)
        found.add([x], [7 * x @ rotation + 3, torch.randn(16, 6), torch.zeros(16, 6)])
    same, noise, constant = found.values()[0].tolist()
    assert same == pytest.approx(1, abs=1e-4)
    assert abs(noise) < 0.05  # biased CKA of 16 samples would say 0.27
    assert constant == 0


def test_a_network_is_like_itself_on_the_diagonal():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).train()
    batches = [torch.randn(16, 4), torch.randn(16, 4), torch.randn(2, 4)]  # the last is too small to tell anything
    found = measure.similarity(network, network, batches, teacher_taps=["0", "2"], student_taps=["0", "1", "2"])
    assert (found.teacher, found.student, found.samples) == (("0", "2"), ("0", "1", "2"), 32)
    assert (found.values[0][0], found.values[1][2]) == (1, 1)
    assert found.values[0][2] < 1
    assert network.training


@pytest.mark.parametrize("most", [1, 3, 5, 8])
@pytest.mark.parametrize("name", ["resnet20", "fitnet1", "wrn-16-2"])
def test_taps_to_compare_are_few_in_order_and_can_be_read(name, most):
    network = build(name, classes=4, channels=3, size=16 if name == "resnet20" else 32)
    example = torch.rand(4, 3, 16 if name == "resnet20" else 32, 16 if name == "resnet20" else 32)
    traces = trace(network, example)
    last = [t.path for t in traces if t.tappable][-1]
    taps = measure.taps_to_compare(traces, most=most, also=[Tap(last)])
    assert 0 < len(taps) <= most
    assert Tap(last) in taps
    order = [t.path for t in traces]
    assert [order.index(tap.path) for tap in taps] == sorted(order.index(tap.path) for tap in taps)
    found = measure.similarity(network, network, [example], teacher_taps=taps, student_taps=taps)
    assert [found.values[i][i] for i in range(len(taps))] == pytest.approx([1.0] * len(taps), abs=1e-3)
