"""Weights without tuning: terms whose gradients are brought to one size."""

import pytest
import torch

import understudy
from tests.terms.table import CLASSES, networks
from understudy import Objective, Settings, Stage, TrainConfig, auto, balanced, linear
from understudy.data import from_tensors
from understudy.errors import UserError
from understudy.methods.notation import parse
from understudy.objective.balance import EVERY
from understudy.terms import AT, CE, KD, Hint
from understudy.training.loop import Training
from understudy.training.stage_state import gradient_shares

HINT = Hint("maps2 -> maps2", reduce="relative")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(16, 1, 8, 8, generator=generator), torch.arange(16) % CLASSES


def objective_of(terms, batch):
    teacher, student = networks(alike=False)
    return Objective(terms, student=student, teacher=teacher, example=batch[0])


def test_every_term_gets_the_first_ones_size_times_its_number(batch):
    objective = objective_of(2 * CE() + auto() * KD(4.0) + auto(0.5) * HINT, batch)
    shares = gradient_shares(objective.student, objective(*batch))
    assert shares == pytest.approx({"ce": 0.4, "kd": 0.4, "hint": 0.2}, abs=1e-4)


@pytest.mark.parametrize("scale", [1e-4, 3.0, 1e5])
def test_the_scale_of_a_loss_does_not_matter(batch, scale):
    class Scaled(KD):
        def loss(self, reading, owned):
            return scale * super().loss(reading, owned)

    plain, scaled = (objective_of(CE() + auto() * term, batch)(*batch) for term in (KD(4.0), Scaled(4.0)))
    torch.testing.assert_close(scaled.loss, plain.loss, rtol=1e-4, atol=0)


def test_terms_with_plain_weights_and_schedules_keep_them(batch):
    objective = objective_of(CE() + 3 * KD(4.0) + auto() * AT("maps1 -> maps1") * linear(1, 0, epochs=2), batch)
    outcome = objective(*batch, epoch=1.0)
    torch.testing.assert_close(outcome.weighted["kd"].detach(), 3 * outcome.terms["kd"])
    weights = objective.weights(1.0)
    torch.testing.assert_close(outcome.weighted["at"].detach(), weights["at"] * outcome.terms["at"])
    assert objective.weights(0.0)["at"] == pytest.approx(2 * weights["at"])


def test_it_looks_now_and_then_and_only_while_it_trains(batch):
    objective = objective_of(CE() + auto() * KD(4.0), batch)
    for _ in range(EVERY + 1):
        objective(*batch)
    assert objective.balance.looks == 2
    before = objective.balance.sizes.clone()
    with torch.no_grad():
        objective(*batch)
    objective.eval()
    objective(*batch)
    assert (objective.balance.looks, objective.balance.steps) == (2, EVERY + 1)
    assert torch.equal(objective.balance.sizes, before)


def test_a_term_without_a_gradient_is_left_as_it_is(batch):
    silent = objective_of(CE() + auto(7) * KD(4.0), batch)
    silent.student.requires_grad_(False)
    assert silent.weights(0.0) == {"ce": 1, "kd": 7}
    outcome = silent(*batch)
    torch.testing.assert_close(outcome.loss, outcome.terms["ce"] + 7 * outcome.terms["kd"])
    assert silent.weights(0.0) == {"ce": 1, "kd": 7}


def test_it_is_written_in_recipes_as_in_python():
    terms = CE() + auto() * KD(4.0) + auto(0.5) * HINT
    assert parse("CE() + auto() * KD(temperature=4) + auto(0.5) * " + str(HINT)) == terms
    assert parse(str(terms)) == terms
    assert balanced(CE() + KD(4.0) + 0.5 * HINT) == terms
    assert balanced(CE() + 0.9 * KD(4.0) + 1000 * HINT, published=True) == CE() + auto() * KD(4.0) + auto() * HINT
    with pytest.raises(UserError, match="has no setting"):
        parse("auto(share=2) * KD()")


def test_a_balanced_training_that_was_stopped_goes_on_bit_for_bit(tmp_path):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(160, 1, 8, 8, generator=generator)
    data = from_tensors((inputs, torch.arange(160) % CLASSES), validation=0)

    def weights(folder, *, stop_at=None):
        teacher, student = networks(alike=False)
        stage = Stage("all", CE() + auto() * HINT, TrainConfig(epochs=3, batch=16))
        training = Training(
            student, [teacher], [stage], data, settings=Settings(device="cpu"), checkpoint_folder=folder, every=0
        )
        step = training._step

        def counted(*arguments, **settings):
            if training.place.steps == stop_at:
                raise InterruptedError
            step(*arguments, **settings)

        training._step = counted
        training.run()
        return student.state_dict()

    whole = weights(tmp_path / "whole")
    with pytest.raises(InterruptedError):
        weights(tmp_path / "broken", stop_at=EVERY + 3)
    resumed = weights(tmp_path / "broken")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_method_by_name_can_be_balanced(batch):
    teacher, student = networks(alike=False)
    data = (batch[0], batch[1])
    found = understudy.distill(
        teacher, student, data, method="at", pairs=["maps1 -> maps1"], epochs=1, balance=True, check=False,
        config=TrainConfig(batch=8),
    )  # fmt: skip
    assert found.stages[0].epochs == 1
    assert "auto()" in str(Stage("s", CE() + 1000 * AT("maps1 -> maps1"), TrainConfig()).balanced().objective)
