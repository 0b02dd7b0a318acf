"""Each term's share of the gradient, as it stands in the log."""

import pytest
import torch

from tests.terms.table import CLASSES, networks
from understudy import Settings, Stage, TrainConfig
from understudy.data import from_tensors
from understudy.terms import CE, KD, Hint
from understudy.training import loop
from understudy.training import stage_state as apparatus_module
from understudy.training.loop import Training
from understudy.training.stage_state import StageState, gradient_shares


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    return from_tensors((torch.randn(48, 1, 8, 8, generator=generator), torch.arange(48) % CLASSES), validation=0)


def test_shares_are_those_of_the_terms_own_gradients(data):
    teacher, student = networks(alike=False)
    stage = Stage("all", CE() + 3 * KD(2.0), TrainConfig(epochs=1, batch=16))
    stage_state = StageState(stage, student.eval(), [teacher], data, Settings(device="cpu"))
    batch = next(data.train.in_order(16, torch.device("cpu")))
    loss, _ = stage_state.losses(batch, 0.0, shares=True)

    def norm(terms):
        alone = StageState(Stage("one", terms, stage.config), student, [teacher], data, Settings(device="cpu"))
        gradients = torch.autograd.grad(alone.losses(batch, 0.0)[0], list(student.parameters()))
        return torch.cat([g.flatten() for g in gradients]).norm().item()

    ce, kd = norm(CE()), norm(3 * KD(2.0))
    assert stage_state.shares == pytest.approx({"ce": ce / (ce + kd), "kd": kd / (ce + kd)}, abs=1e-5)
    stage_state.step(loss)  # the graph is still there


def test_the_log_has_them_for_every_epoch_of_several_terms(data):
    teacher, student = networks(alike=False)
    config = TrainConfig(epochs=2, batch=16)
    stages = [Stage("hint", Hint("maps2 -> maps2", reduce="relative"), config), Stage("both", CE() + KD(), config)]
    training = Training(student, [teacher], stages, data, settings=Settings(device="cpu"))
    training.run()
    shares = [epoch.gradient_shares for epoch in training.log.epochs]
    assert shares[:2] == [{}, {}]
    assert [sorted(share) for share in shares[2:]] == [["ce", "kd"]] * 2
    assert all(sum(share.values()) == pytest.approx(1, abs=1e-5) for share in shares[2:])


def test_they_are_looked_at_first_last_and_every_so_many_steps(data, monkeypatch):
    looked = []

    def look(student, outcome, ranks=None):
        looked.append(training.place.epoch)
        return gradient_shares(student, outcome)

    monkeypatch.setattr(apparatus_module, "gradient_shares", look)
    teacher, student = networks(alike=False)
    stage = Stage("both", CE() + KD(), TrainConfig(epochs=7, batch=16))
    steps = data.train.steps(16)
    monkeypatch.setattr(loop, "SHARES_EVERY", 2 * steps)
    training = Training(student, [teacher], [stage], data, settings=Settings(device="cpu"))
    training.run()
    assert looked == [0, 1, 3, 5, 6]
