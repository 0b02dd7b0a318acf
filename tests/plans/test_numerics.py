"""Golden values of tiny trainings: what they compute changes only together with the version of the numerics.

If this fails because a formula, a default or the order of random numbers changed on purpose, raise ``NUMERICS`` in
understudy/plans/key.py, since stored trainings are not what they would be today, and renew the values here.
"""

import pytest

from understudy.config.settings import Settings
from understudy.config.train import TrainConfig
from understudy.methods import find
from understudy.plans.key import NUMERICS
from understudy.training.loop import Training

SETTINGS = {"fitnets": {"pair": "conv -> conv1", "hint_epochs": 1}, "at": {"pairs": ["conv -> conv1"]}}
GOLDEN: dict[str, list[float]] = {
    "alone": [1.2151914834976196, 1.2231515645980835, 0.9983707070350647],
    "kd": [9.377330780029297, 9.402804374694824, 8.54568862915039],
    "dkd": [1.2151914834976196, 13.024747848510742, 11.740989685058594],
    "dist": [75.57392883300781, 76.12030029296875, 93.77505493164062],
    "fitnets": [1.6132398843765259, 4.724570274353027, 3.393531560897827],
    "at": [5.881903171539307, 5.88986349105835, 4.081752777099609],
}


def losses(small, method):
    """The mean loss of each of three epochs of one step."""
    teacher, student = small.networks()
    stages = find(method)(TrainConfig(epochs=3, batch=72), **SETTINGS.get(method, {}))
    training = Training(student, [teacher], stages, small.data(), settings=Settings(device="cpu", threads=1))
    training.run()
    return [epoch.loss for epoch in training.log.epochs]


def test_the_version_is_that_of_the_values():
    assert NUMERICS == 1


@pytest.mark.parametrize("method", GOLDEN)
def test_losses_are_as_they_were(small, method):
    assert losses(small, method) == pytest.approx(GOLDEN[method], rel=1e-6)
