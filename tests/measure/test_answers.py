"""Measures of answers, against NumPy written from the definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from understudy import measure


def answers(samples=200, classes=7, seed=0):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(samples, classes)) * 2
    teacher = logits + generator.normal(size=(samples, classes))
    labels = (teacher + generator.normal(size=(samples, classes))).argmax(1)
    return logits, teacher, labels


def softmax(logits, temperature=1.0):
    powers = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
    return powers / powers.sum(1, keepdims=True)


def tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


@pytest.mark.parametrize("top", [1, 2, 5, 7, 9])
def test_accuracy_is_the_share_of_labels_among_the_first_choices(top):
    logits, _, labels = answers()
    first = np.argsort(-logits, 1)[:, :top]
    expected = np.mean([label in row for label, row in zip(labels, first, strict=True)])
    assert measure.accuracy(*tensors(logits, labels), top=top) == pytest.approx(expected)


def test_loss_and_the_accuracy_of_each_class():
    logits, _, labels = answers()
    labels[labels == 3] = 2  # a class without any samples
    expected = -np.log(softmax(logits)[np.arange(len(labels)), labels]).mean()
    assert measure.loss(*tensors(logits, labels)) == pytest.approx(expected)
    found = measure.class_accuracies(*tensors(logits, labels))
    right = logits.argmax(1) == labels
    assert found == [right[labels == c].mean() if c != 3 else None for c in range(7)]


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_calibration_is_the_mean_gap_over_bins(bins):
    logits, _, labels = answers()
    confidence, right = softmax(logits).max(1), logits.argmax(1) == labels
    error, kept = 0.0, 0
    for low in range(bins):
        inside = (confidence > low / bins) & (confidence <= (low + 1) / bins)
        if inside.any():
            kept += 1
            error += inside.sum() * abs(confidence[inside].mean() - right[inside].mean())
    found = measure.calibration(*tensors(logits, labels), bins=bins)
    assert found.error == pytest.approx(error / len(labels))
    assert (len(found.bins), sum(bin.count for bin in found.bins)) == (kept, len(labels))


def test_a_network_that_is_as_sure_as_it_is_right_has_no_calibration_error():
    logits = torch.tensor([[3.0, 1.0]]).log().repeat(4, 1)
    assert measure.calibration(logits, torch.tensor([0, 0, 0, 1])).error == pytest.approx(0, abs=1e-6)
    certain = torch.tensor([[900.0, -900.0]])
    assert measure.calibration(certain, torch.tensor([1])).error == pytest.approx(1)


def test_agreement_is_equal_choices_and_divergence():
    logits, teacher, _ = answers()
    ours, theirs = softmax(logits), softmax(teacher)
    same = logits.argmax(1) == teacher.argmax(1)
    found = measure.agreement(*tensors(logits, teacher), bins=4)
    assert found.top1 == pytest.approx(same.mean())
    assert found.kl == pytest.approx((theirs * np.log(theirs / ours)).sum(1).mean())
    confidence = theirs.max(1)
    for bin in found.by_confidence:
        low = math.ceil(bin.confidence * 4) - 1
        inside = (confidence > low / 4) & (confidence <= (low + 1) / 4)
        assert (bin.count, bin.share) == (inside.sum(), pytest.approx(same[inside].mean()))
    itself = measure.agreement(*tensors(logits, logits))
    assert (itself.top1, itself.kl) == (1.0, pytest.approx(0, abs=1e-12))


def test_errors_name_the_samples():
    logits, teacher, labels = answers()
    ids = np.arange(1000, 1000 + len(labels))[::-1].copy()
    found = measure.errors(*tensors(logits, teacher, labels, ids))
    ours, theirs = logits.argmax(1) == labels, teacher.argmax(1) == labels
    assert found.student == tuple(ids[~ours & theirs])
    assert found.teacher == tuple(ids[ours & ~theirs])
    assert found.both == (~ours & ~theirs).sum()
    assert found.student
    assert found.teacher


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_entropy_is_that_of_softened_answers(temperature):
    logits, _, _ = answers()
    shares = softmax(logits, temperature)
    expected = -(shares * np.log(shares)).sum(1).mean()
    assert measure.entropy(torch.from_numpy(logits), temperature=temperature) == pytest.approx(expected)


@given(scale=st.floats(0.01, 1e4), temperature=st.sampled_from([1.0, 4.0]))
def test_softness_has_a_hint_where_answers_are_labels_or_flat_and_its_advice_helps(scale, temperature):
    logits = scale * torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    found = measure.softness(logits, temperature)
    assert 0 <= found.entropy <= found.most + 1e-9
    share = found.softened / found.most
    assert (found.hint is None) == (0.02 <= share <= 0.95)
    if found.hint and "raise it to" in found.hint:
        advised = float(found.hint.split("raise it to ")[1].split(" ")[0])
        assert measure.softness(logits, advised).hint is None
    elif found.hint:
        assert ("lower it" in found.hint) == (share > 0.95)
