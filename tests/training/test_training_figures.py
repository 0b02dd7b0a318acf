"""The task's first figure on training batches, from answers that the steps have anyway."""

import pytest
import torch
from torch import nn

from understudy import TrainConfig, optimizers
from understudy.config.stage import Stage
from understudy.data.augmentation import Augmentation
from understudy.tasks import Classification, SoftLabels, Text
from understudy.tasks.classification import share_right
from understudy.terms import CE, Hint
from understudy.training.evaluate import figures
from understudy.training.loop import FIGURES, Training, _between_figures


class Plain(nn.Module):
    """A student that is the same in training and evaluation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.out = nn.Linear(6, 3)

    def forward(self, x):
        return self.out(self.conv(x).mean((2, 3)))


def trained(small, terms, *, batch=12, **config):
    still = optimizers.SGD(lr=1e-9, weight_decay=0.0)
    stage = Stage("labels", terms, TrainConfig(epochs=2, batch=batch, optimizer=still, **config))
    torch.manual_seed(1)
    training = Training(Plain(), [small.Teacher()], [stage], small.data())
    training.run()
    return training


@pytest.mark.parametrize("batch", [12, 1], ids=["every step", "some steps"])
def test_the_log_has_the_accuracy_of_training_batches(small, batch):
    training = trained(small, CE(), batch=batch)
    whole = figures(training.student, training.data.train, training.data.task, training.settings)["accuracy"]
    for epoch in training.log.epochs:
        assert list(epoch.train) == ["accuracy"]
        assert epoch.train["accuracy"] == pytest.approx(whole)  # 72 steps of one sample are all measured, too
        assert "train" in epoch.content()


def test_of_many_steps_some_are_measured_and_each_counts_alike():
    for steps in (1, 49, 50, 99, 100, 391, 10_000):
        every = _between_figures(steps)
        measured = len(range(0, steps, every))
        assert min(steps, FIGURES) <= measured < 2 * FIGURES
        assert measured == -(-steps // every)


def test_a_stage_without_answers_has_none(small):
    assert [epoch.train for epoch in trained(small, Hint("conv -> conv")).log.epochs] == [{}, {}]


def test_of_mixed_samples_it_is_the_share_of_the_chosen_class(small):
    targets = torch.tensor([[0.7, 0.3], [0.25, 0.75]])
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert share_right({"logits": logits}, targets).item() == pytest.approx((0.7 + 0.25) / 2)
    logged = trained(small, CE(), augmentation=Augmentation(mixup=0.4)).log.epochs
    assert all(0 < epoch.train["accuracy"] < 1 for epoch in logged)


def test_a_figure_that_is_no_mean_over_samples_is_not_measured():
    assert Classification.of(torch.tensor([0, 1])).of_batch is share_right
    assert Text(("a", "b"), metrics=("matthews",)).of_batch is None
    soft = SoftLabels(("a", "b")).of_batch
    assert soft({"logits": torch.eye(2)}, torch.tensor([[0.6, 0.4], [0.9, 0.1]])).item() == 0.5
