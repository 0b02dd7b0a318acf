"""Distributions over the classes as targets: loss, figures, mixing, checks, and which methods take them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import understudy
from understudy import Augmentation, Objective, TrainConfig, methods
from understudy.data import from_datasets, from_tensors
from understudy.errors import UserError
from understudy.tasks import Classification, SoftLabels
from understudy.terms import CE, KD

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(24, 3, 8, 8, generator=GENERATOR)
ROWS = torch.rand(24, 4, generator=GENERATOR).pow(3)
ROWS /= ROWS.sum(1, keepdim=True)
LOGITS = torch.randn(24, 4, generator=GENERATOR)
TASK = SoftLabels(("a", "b", "c", "d"))


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


def test_one_hot_rows_are_a_classification() -> None:
    numbers = ROWS.argmax(1)
    one_hot, answer, plain = F.one_hot(numbers, 4).float(), {"logits": LOGITS}, Classification(TASK.classes)
    for smoothing in (0.0, 0.2):
        ours, theirs = (
            task.loss(answer, targets, smoothing=smoothing) for task, targets in ((TASK, one_hot), (plain, numbers))
        )
        torch.testing.assert_close(ours, theirs)
    meters = TASK.meter(), plain.meter()
    for meter, targets in zip(meters, (one_hot, numbers), strict=True):
        meter.update(answer, targets)
    assert meters[0].compute() == pytest.approx(meters[1].compute())
    assert TASK.details([answer], one_hot, [answer]) == plain.details([answer], numbers, [answer])
    ids = torch.arange(24)
    other = {"logits": LOGITS.flip(0)}
    assert TASK.errors(answer, other, one_hot, ids) == plain.errors(answer, other, numbers, ids)
    assert list(TASK.differing(answer, other, one_hot)) == list(plain.differing(answer, other, numbers))
    assert torch.equal(TASK.converted(numbers), one_hot)


def test_loss_accuracy_and_calibration_of_distributions() -> None:
    expected = -(ROWS * LOGITS.log_softmax(1)).sum(1)
    torch.testing.assert_close(TASK.loss({"logits": LOGITS}, ROWS), expected)
    spread = 0.9 * ROWS + 0.1 / 4
    torch.testing.assert_close(
        TASK.loss({"logits": LOGITS}, ROWS, smoothing=0.1), -(spread * LOGITS.log_softmax(1)).sum(1)
    )
    meter = TASK.meter()
    meter.update({"logits": ROWS.log()}, ROWS)
    figures = meter.compute()
    assert figures["accuracy"] == 1
    assert figures["calibration_error"] == pytest.approx(0, abs=1e-6)  # as sure as the targets are
    assert figures["loss"] == pytest.approx(-(ROWS * ROWS.log()).sum(1).mean().item())


def test_mixed_distributions() -> None:
    share = torch.linspace(0, 1, 24)
    mixed = TASK.mixed(ROWS, ROWS.flip(0), share)
    torch.testing.assert_close(mixed, share[:, None] * ROWS + (1 - share[:, None]) * ROWS.flip(0))
    assert torch.equal(mixed[-1], ROWS[-1])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.2, 0.1, 0.1], "sample 3 are no distribution: their sum is 0.9 and the least value 0.1"),
        ([1.2, -0.2, 0.0, 0.0], "the least value -0.2"),
        ([float("nan"), 0.5, 0.25, 0.25], "their sum is nan"),
        ([2.0, 3.0, 1.0, 4.0], "take the softmax of logits, and the task 'multilabel' for independent labels"),
    ],
)
def test_rows_that_are_no_distributions_are_named(row: list[float], message: str) -> None:
    rows = ROWS.clone()
    rows[3] = torch.tensor(row)
    with pytest.raises(UserError, match=message):
        from_tensors((IMAGES, rows), task="soft-labels", classes=4)


def test_another_number_of_columns_is_named() -> None:
    with pytest.raises(UserError, match="give a row of 3 probabilities for each sample"):
        from_tensors((IMAGES, ROWS), task="soft-labels", classes=["a", "b", "c"])
    with pytest.raises(UserError, match="for a row of probabilities of each sample the task 'soft-labels'"):
        from_tensors((IMAGES, ROWS))


def test_rows_in_doubt_are_a_remark() -> None:
    (remark,) = TASK.remarks(torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.7, 0], [0, 0.9, 0, 0.1], [0, 0, 0, 1.0]]))
    assert remark.startswith("no class has half of the probability in 1 of 4 rows")


def test_methods_of_class_numbers_are_refused_in_one_line() -> None:
    refused = [
        name for name in methods.METHODS if (reason := methods.find(name).unfit(TASK)) and "class number" in reason
    ]
    assert set(refused) == {"crd", "crd-batch", "sdd", "sskd"}
    assert {"deit", "fitnets", "crld", "dkd", "kd"} <= set(methods.fitting(TASK))


@pytest.mark.parametrize("test", [ROWS, ROWS.argmax(1)], ids=["distributions", "class numbers"])
def test_a_training_with_mixed_samples_and_smoothed_labels(test: torch.Tensor) -> None:
    data = from_tensors((IMAGES, ROWS), (IMAGES, test), task="soft-labels", validation=4)
    config = TrainConfig(epochs=2, batch=10, augmentation=Augmentation(mixup=0.4, cutmix=1.0, flip=True))
    terms = CE(label_smoothing=0.1) + KD()
    run = understudy.distill(network(), network(), data, method=terms, config=config, accept_weak=True, progress=False)
    assert set(run.figures) >= {"accuracy", "calibration_error", "loss"}


def test_a_loop_of_ones_own_names_rows_that_are_no_distributions() -> None:
    networks = {"student": network(), "teacher": network(), "task": TASK}
    assert Objective(CE() + KD(), **networks)(IMAGES, ROWS).loss.isfinite()
    with pytest.raises(UserError, match="no distributions over the classes"):
        Objective(CE() + KD(), **networks)(IMAGES, 2 * ROWS)


def test_a_dataset_of_distributions() -> None:
    data = from_datasets([(image, row) for image, row in zip(IMAGES, ROWS, strict=True)], task="soft-labels")
    assert data.task.about == "distributions over 4 classes"
    assert torch.equal(data.train.source.targets, ROWS)
