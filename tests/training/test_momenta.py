"""A momentum for the gradient of each term, against the rule of DOT's authors written out by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from understudy import Stage, TrainConfig, UserError
from understudy.config.momenta import TermwiseSGD, momenta_of
from understudy.config.optimizers import SGD, AdamW
from understudy.config.schedules import Constant
from understudy.config.settings import Settings
from understudy.data import from_tensors
from understudy.methods import find
from understudy.terms import CE, KD, Hint
from understudy.training.loop import Training

CONFIG = TrainConfig(epochs=2, batch=12, keep="last", optimizer=SGD(lr=0.05), schedule=Constant())


def by_hand(start, gradients, momenta, *, lr, decay, nesterov):
    """One vector; the gradients of a step are those of its terms, None where a term does not reach it."""
    x, buffers = start.copy(), [None] * len(momenta)
    for of_terms in gradients:
        reached = [i for i, g in enumerate(of_terms) if g is not None or buffers[i] is not None]
        moved = x.copy()
        for i in reached:
            g = np.zeros_like(x) if of_terms[i] is None else of_terms[i] + 0.0
            if i == reached[0]:
                g = g + decay * x
            momentum = momenta[i] if len(reached) > 1 else 0.9
            buffers[i] = g if buffers[i] is None else momentum * buffers[i] + g
            moved = moved - lr * (g + momentum * buffers[i] if nesterov else buffers[i])
        x = moved
    return x


@pytest.mark.parametrize("nesterov", [False, True])
def test_each_term_has_a_buffer_of_its_own(nesterov):
    random = np.random.default_rng(0)
    start, g = random.normal(size=4), random.normal(size=(5, 2, 4))
    cases = {
        "both terms": [list(step) for step in g],
        "the second alone": [[None, step[1]] for step in g],
        "the second rests for a step": [[step[0], None if n == 2 else step[1]] for n, step in enumerate(g)],
    }
    for gradients in cases.values():
        weight = nn.Parameter(torch.tensor(start))
        description = SGD(lr=0.1, nesterov=nesterov, weight_decay=0.01)
        optimizer = TermwiseSGD([{"params": [weight]}], description, (0.8, 0.97))
        for of_terms in gradients:
            optimizer.step_by([{} if x is None else {weight: torch.tensor(x)} for x in of_terms])
        expected = by_hand(start, gradients, (0.8, 0.97), lr=0.1, decay=0.01, nesterov=nesterov)
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-12)


def trained(stage, *, student=None, **settings):
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    student = student or nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    data = from_tensors((torch.randn(60, 6), torch.arange(60) % 3), validation=12)
    Training(student, [teacher], [stage], data, settings=Settings(device="cpu", threads=1, **settings)).run()
    return student.state_dict()


def test_with_equal_momenta_it_is_the_usual_training():
    objective = CE() + 0.5 * KD(2.0) + Hint("0 -> 0", reduce="mean")
    usual, apart = (trained(Stage("s", objective, CONFIG, momenta=m)) for m in (None, (0.0, 1e-9, 0.0)))
    for name, value in usual.items():
        torch.testing.assert_close(apart[name], value, rtol=1e-5, atol=1e-6)
    other = trained(Stage("s", objective, CONFIG, momenta=(0.05, -0.05, 0.0)))
    assert any(not torch.allclose(other[name], value, atol=1e-4) for name, value in usual.items())


def test_the_gap_is_between_labels_and_all_other_terms():
    gap = replace(CONFIG, optimizer=SGD(momentum=0.5, momentum_gap=0.25))
    assert momenta_of(Stage("s", CE() + KD() + KD(2.0), gap)) == {"ce": 0.25, "kd": 0.75, "kd2": 0.75}
    assert momenta_of(Stage("s", KD() + KD(2.0), gap)) is None
    assert momenta_of(Stage("s", CE(), gap)) is None
    (stage,) = find("dot")(CONFIG)
    assert momenta_of(stage) == pytest.approx({"ce": 0.825, "kd": 0.975})
    (stage,) = find("dot")(gap)
    assert momenta_of(stage) == {"ce": 0.25, "kd": 0.75}
    (stage,) = find("dot")(gap, gap=0.125)
    assert momenta_of(stage) == {"ce": 0.375, "kd": 0.625}
    (stage,) = find("deepkd")(CONFIG)
    assert momenta_of(stage) == pytest.approx({"ce": 0.975, "targetkd": 0.825, "otherskd": 0.975})


@pytest.mark.parametrize(
    ("stage", "settings", "reason"),
    [
        (Stage("s", CE() + KD(), CONFIG, momenta=(0.0, 0.1)), {}, "momentum of term 'kd' is 1,"),
        (Stage("s", CE() + KD(), CONFIG, momenta=(0.0,)), {}, "1 momenta are given for its 2 terms"),
        (Stage("s", CE() + KD(), replace(CONFIG, optimizer=AdamW()), momenta=(0.0, 0.1)), {}, "which is SGD's"),
        (Stage("s", CE() + KD(), CONFIG, momenta=(0.0, 0.05)), {"microbatch": 4}, "microbatch"),
        (
            *find("deepkd")(replace(CONFIG, optimizer=SGD(momentum_gap=0.1))),
            {},
            "momentum_gap = 0.1 would have no effect",
        ),
    ],
)
def test_momenta_that_cannot_be_are_refused(stage, settings, reason):
    with pytest.raises(UserError, match=reason):
        trained(stage, **settings)


@pytest.mark.parametrize("method", ["dot", "deepkd"])
def test_a_method_with_momenta_needs_sgd(method):
    with pytest.raises(UserError, match=f"method '{method}' sets the momentum of SGD"):
        find(method)(replace(CONFIG, optimizer=AdamW()))
