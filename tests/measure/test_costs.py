"""What networks weigh and hold, against counts by hand; latencies, whoever answers."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from understudy import measure
from understudy.measure.machine import command
from understudy.models import build


def test_size_counts_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 10))
    found = measure.size(network, torch.zeros(5, 3, 8, 8))
    assert found.parameters == 8 * 3 * 9 + 8 + 5120 + 10
    assert found.bytes == 4 * found.parameters
    assert found.multiplications == 8 * 64 * 27 + 5120
    assert found.activation_bytes == 4 * (3 * 64 + 2 * 8 * 64)  # the input, and both sides of the ReLU


def test_resnet20_multiplies_as_often_as_its_paper_says():
    """He et al. 2016 have no table of it; the 40.8 million are what others count for it, shortcuts without weights."""
    network = build("resnet20", classes=10, channels=3, size=32)
    found = measure.size(network, torch.zeros(1, 3, 32, 32))
    assert round(found.multiplications / 1e6, 1) == pytest.approx(40.8, abs=0.3)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["/usr/bin/understudy", "demo", "--out", "a b"], "understudy demo --out 'a b'"),
        (["/lib/understudy/__main__.py", "demo"], "understudy demo"),
        (["/home/anna/nets/__main__.py", "--fast"], "python -m nets --fast"),
        (["/home/anna/train.py", "7"], "python train.py 7"),
        (["scripts/train.py", "7"], "python scripts/train.py 7"),
        (["/lib/ipykernel_launcher.py", "-f", "/run/kernel.json"], ""),
        ([""], ""),
        (["-c", "x"], ""),
    ],
)
def test_a_command_is_what_a_person_would_type(monkeypatch, given, told):
    monkeypatch.setattr("sys.argv", given)
    assert command() == told


class Attention(nn.Module):
    def __init__(self, need_weights):
        super().__init__()
        self.layer, self.need_weights = nn.MultiheadAttention(16, 2, batch_first=True), need_weights

    def forward(self, x):
        return self.layer(x, x, x, need_weights=self.need_weights)[0]


class Scaled(nn.Module):
    def forward(self, x):
        return nn.functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])


class First(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


STEPS, WIDTH = 8, 16
PRODUCTS = 2 * STEPS * STEPS * WIDTH
PROJECTIONS = 4 * STEPS * WIDTH * WIDTH


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Attention(need_weights=False), PRODUCTS + PROJECTIONS),
        (lambda: Attention(need_weights=True), PRODUCTS + PROJECTIONS),
        (Scaled, PRODUCTS),
        (
            lambda: nn.TransformerEncoderLayer(WIDTH, 2, 64, batch_first=True),
            PRODUCTS + PROJECTIONS + 2 * STEPS * WIDTH * 64,
        ),
        (lambda: First(nn.LSTM(WIDTH, 12, batch_first=True)), STEPS * 4 * 12 * (WIDTH + 12)),
        (lambda: First(nn.LSTM(WIDTH, 12, 2, bidirectional=True)), 2 * STEPS * 4 * 12 * (WIDTH + 12 + 24 + 12)),
        (lambda: First(nn.GRU(WIDTH, 12, batch_first=True)), STEPS * 3 * 12 * (WIDTH + 12)),
    ],
    ids=["attention", "with weights", "scaled", "encoder", "lstm", "both ways", "gru"],
)
def test_attention_and_recurrence_are_counted_by_hand_too(make, expected):
    fast = torch.backends.mha.get_fastpath_enabled()
    network, sample = make(), torch.zeros(1, STEPS, WIDTH)
    assert measure.size(network, sample).multiplications == expected
    assert measure.size(network.to("meta"), sample.to("meta")).multiplications == expected
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_the_inner_values_of_an_encoder_layer_are_activations():
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 640, batch_first=True)
    assert measure.activation_bytes(layer, torch.zeros(1, STEPS, WIDTH)) > 4 * STEPS * 640


@pytest.mark.parametrize("inplace", [False, True])
def test_activations_that_are_written_over_are_counted_once(inplace):
    network = nn.Sequential(*[nn.ReLU(inplace=inplace) for _ in range(5)])
    sample = torch.zeros(1, 100)
    held = 400 if inplace else 1200  # the caller's input stays alive while one value becomes the next
    assert measure.activation_bytes(network, sample) == held


def test_what_stays_alive_adds_up():
    class Dense(nn.Module):
        def forward(self, x):
            kept = [x]
            for _ in range(3):
                kept.append(kept[-1] + 1)
            return torch.cat(kept, 1)

    assert measure.activation_bytes(Dense(), torch.zeros(1, 10)) == 4 * 10 * (4 + 4)


def test_latencies_are_of_the_batch_and_leave_the_mode():
    network = nn.Dropout().train()
    seen = []
    found = measure.latencies(
        {"module": network, "function": lambda x: seen.append(len(x))}, torch.zeros(3, 2), seconds=0.0
    )
    assert set(found) == {"module", "function"}
    assert len(seen) == 3 + 5
    assert set(seen) == {3}
    for latency in found.values():
        assert 0 < latency.p50 <= latency.p95
        assert (latency.batch, latency.threads) == (3, torch.get_num_threads())
    assert network.training
    assert dataclasses.asdict(found["module"]).keys() == {"p50", "p95", "batch", "threads", "others"}


def test_onnx_runtime_answers_as_pytorch_does(monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    opened, open_session = [], onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *given, **named: opened.append(open_session(*given, **named)) or opened[0],
    )
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    example = torch.rand(2, 3, 8, 8)
    answer = measure.onnx_runtime(network, example)
    assert network.training
    network.eval()
    for batch in (example, torch.rand(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)):
        np.testing.assert_allclose(answer(batch)[0], network(batch).detach().numpy(), atol=1e-5)
    assert measure.latencies({"onnx": answer, "torch": network}, example, seconds=0.0)["onnx"].batch == 2
    options = opened[0].get_session_options()  # its threads keep no core busy while others are timed
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
