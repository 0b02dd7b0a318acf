"""Microbatches: the gradients of a batch in parts add up to those of the whole."""

import pytest
import torch
from torch import nn

from understudy import TrainConfig, UserError
from understudy.config.optimizers import SGD
from understudy.config.settings import Settings
from understudy.data import from_tensors
from understudy.methods import find
from understudy.training.loop import Training

CONFIG = TrainConfig(epochs=2, batch=12, optimizer=SGD(lr=0.05))


def trained(method: str = "kd", norm: bool = False, **settings: object) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    teacher = nn.Linear(6, 3)
    layers = [nn.Linear(6, 8), *([nn.BatchNorm1d(8)] if norm else []), nn.Tanh(), nn.Linear(8, 3)]
    student = nn.Sequential(*layers)
    data = from_tensors((torch.randn(60, 6), torch.arange(60) % 3), validation=12)
    stages = find(method)(CONFIG)
    Training(student, [teacher], stages, data, settings=Settings(device="cpu", **settings)).run()
    return student.state_dict()


@pytest.mark.parametrize("microbatch", [1, 5, 12, 100])
def test_the_gradients_of_a_batch_add_up(microbatch: int):
    whole = trained()
    for name, value in trained(microbatch=microbatch).items():
        torch.testing.assert_close(value, whole[name], rtol=1e-5, atol=1e-6)


def test_statistics_of_a_microbatch_are_asked_for():
    with pytest.raises(UserError, match="batch_norm"):
        trained(norm=True, microbatch=4)
    trained(norm=True, microbatch=4, batch_norm="process")


@pytest.mark.parametrize(
    ("method", "settings", "reason"),
    [("dist", {}, "looks at the whole batch"), ("kd", {"teacher_batches": 2}, "exclude each other")],
)
def test_what_needs_the_whole_batch_is_refused(method: str, settings: dict[str, int], reason: str):
    with pytest.raises(UserError, match=reason):
        trained(method, microbatch=4, **settings)
