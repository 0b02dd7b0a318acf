"""Proposals are those that Optuna makes after the same trials, whatever was asked before."""

import random

import optuna
import pytest

from understudy import recipe
from understudy.randomness import derived_seed
from understudy.tasks import Figure
from understudy.tuning.trials import Trials

RECIPE = """
seeds = [0]
[data]
name = "mnist"
[teacher]
network = "resnet14"
train = { epochs = 1 }
[student]
network = "resnet8"
[methods.alone]
[methods.kd]
temperature = 4.0
weight = 0.9
[tune]
random = 4
"""
SPACES = ["methods.kd.temperature=1..20 log", "methods.kd.weight={0.5, 0.9, 1.5}", "train.batch=8..64 step 8"]


@pytest.mark.parametrize("spaces", [SPACES, SPACES[:1], [*SPACES, "methods.kd.label_weight=0.1..0.3"]])
@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_proposal_is_that_of_a_fresh_study_with_the_same_trials(tmp_path, spaces, better):
    draw, searched = random.Random(0), recipe.parse_searched(RECIPE, "recipe.toml", [], spaces)
    trials = Trials(tmp_path / "trials.db", searched, Figure("accuracy", "accuracy", better))
    for number in range(14):
        mirror = optuna.create_study(direction="maximize" if better == "higher" else "minimize")
        mirror.add_trials(trials._frozen())
        seed = derived_seed(searched.tune.sampler_seed, "trial", number, 0) % 2**32
        mirror.sampler = optuna.samplers.TPESampler(n_startup_trials=4, seed=seed)
        params = mirror.ask(trials._spaces).params
        trial = trials.begin()
        assert trial.number == number
        assert len(trials) == number + 1
        assert trial.values == {key: space.tidy(params[key]) for key, space in sorted(searched.spaces.items())}
        state = draw.choice(("complete", "complete", "stopped", "failed", "running"))
        if state != "running":
            trials.end(
                trial, state, (draw.random(),) if state == "complete" else (), "why" if state == "failed" else ""
            )
    unfinished = [trial.number for trial in trials.unfinished()]
    assert unfinished == [trial.number for trial in trials.all() if trial.state == "running"]
    trials.close()
