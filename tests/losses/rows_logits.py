"""Losses on logits."""

from collections.abc import Callable
from functools import partial, wraps

import numpy as np
import torch
from torch import Tensor

from tests.losses.table import BATCH, CLASSES, LOGITS, Row, kl, labels, normal, softmax
from understudy import losses
from understudy.losses import (
    batch_correlation,
    class_correlation,
    confident_regression,
    curriculum_kd,
    dist,
    dkd,
    function_matching,
    kd,
    logit_regression,
    mlkd,
    nkd,
    noisy_logit_regression,
    output_distance,
    rocket_hint,
    standardised_kd,
    teacher_bounded,
)
from understudy.methods.ctkd import bounded_temperature, reverse_gradient
from understudy.methods.noisy_teacher import noisy_logits
from understudy.methods.standardised_kd import standardised
from understudy.precision import wide


def soft_labels(g: torch.Generator) -> Tensor:
    return torch.randn(BATCH, CLASSES, generator=g, dtype=torch.float64).mul(2).softmax(-1)


def mask(g: torch.Generator) -> Tensor:
    return torch.rand(BATCH, generator=g) < 0.5


def warm(*shape: int) -> Callable[[torch.Generator], Tensor]:
    """Temperatures between 1 and 5."""
    return lambda g: 1 + 4 * torch.rand(*shape, generator=g, dtype=torch.float64)


def batch_first(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The table's inputs have the batch in front; a loss of several networks' answers wants it second."""

    @wraps(loss)
    def turned(student: Tensor, several: Tensor, *others: Tensor) -> Tensor:
        return loss(student, several.transpose(0, 1), *others)

    turned.__name__ = getattr(loss, "func", loss).__name__
    return turned


def _smoothed(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    target = np.eye(CLASSES)[y] * 0.9 + 0.1 / CLASSES
    return -(target * np.log(softmax(logits))).sum(1)


def _cross(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return -(p * np.log(q)).sum(-1)


def _half_square(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    return 0.5 * ((s - t) ** 2).sum(1)


def _noisy(t: np.ndarray, noise: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    z = t.copy()
    for n in range(len(t)):
        if chosen[n]:
            z[n] = (1 + noise[n]) * t[n]
    return z


def _confident(s: np.ndarray, draws: np.ndarray, full: bool, constants: bool = False) -> np.ndarray:
    values = []
    for z, sample in zip(s, draws, strict=True):
        mean = sample.mean(0)
        covariance = sum(np.outer(d - mean, d - mean) for d in sample) / len(sample)
        if not full:
            covariance = np.diag(np.diag(covariance))
        covariance = covariance + 0.1 * np.eye(CLASSES)
        value = (z - mean) @ np.linalg.inv(covariance) @ (z - mean)
        values.append(0.5 * (value + (np.log(np.linalg.det(2 * np.pi * covariance)) if constants else 0)))
    return np.array(values)


def _decoupled(s: np.ndarray, t: np.ndarray, y: np.ndarray, alpha: float, beta: float, tau: float) -> np.ndarray:
    values = []
    for p, q, c in zip(softmax(s, tau), softmax(t, tau), y, strict=True):
        right = kl(np.array([q[c], 1 - q[c]]), np.array([p[c], 1 - p[c]]))
        p, q = np.delete(p, c), np.delete(q, c)
        values.append(tau**2 * (alpha * right + beta * kl(q / q.sum(), p / p.sum())))
    return np.array(values)


def _normalised(s: np.ndarray, t: np.ndarray, y: np.ndarray, gamma: float, tau: float) -> np.ndarray:
    values = []
    for zs, zt, c in zip(s, t, y, strict=True):
        right = -softmax(zt)[c] * np.log(softmax(zs)[c])
        others = _cross(softmax(np.delete(zt, c), tau), softmax(np.delete(zs, c), tau))
        values.append(right + gamma * tau**2 * others)
    return np.array(values)


def _z(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(1, keepdims=True)) / x.std(1, ddof=1, keepdims=True)


def _one_value(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """For a relation whose published loss is of the whole batch: that, for every sample."""

    def whole(*inputs: Tensor) -> Tensor:
        return loss(*inputs).mean().expand(BATCH)

    whole.__name__ = getattr(loss, "func", loss).__name__
    return whole


def _correlated(s: np.ndarray, t: np.ndarray, beta: float, gamma: float, tau: float) -> np.ndarray:
    p, q = softmax(s, tau), softmax(t, tau)
    inter = np.mean([1 - np.corrcoef(p[n], q[n])[0, 1] for n in range(BATCH)])
    intra = np.mean([1 - np.corrcoef(p[:, c], q[:, c])[0, 1] for c in range(CLASSES)])
    return np.full(BATCH, tau**2 * (beta * inter + gamma * intra))


def _shares(s: np.ndarray, t: np.ndarray, tau: float) -> np.ndarray:
    p, q = softmax(s, tau), softmax(t, tau)
    values = []
    for n in range(BATCH):
        inter = 1 - np.corrcoef(p[n], q[n])[0, 1]
        shares = []
        for c in range(CLASSES):
            a, b = p[:, c] - p[:, c].mean(), q[:, c] - q[:, c].mean()
            shares.append(0.5 * BATCH * (a[n] / np.sqrt((a**2).sum()) - b[n] / np.sqrt((b**2).sum())) ** 2)
        values.append(tau**2 * (inter + np.mean(shares)))
    return np.array(values)


def _of_batch(s: np.ndarray, t: np.ndarray, tau: float) -> np.ndarray:
    p, q = softmax(s, tau), softmax(t, tau)
    return np.array([sum((q[n] @ q[m] - p[n] @ p[m]) ** 2 for m in range(BATCH)) for n in range(BATCH)])


def _of_classes(s: np.ndarray, t: np.ndarray, tau: float) -> np.ndarray:
    p, q = softmax(s, tau), softmax(t, tau)
    pairs = [(q[:, i] @ q[:, j] - p[:, i] @ p[:, j]) ** 2 for i in range(CLASSES) for j in range(CLASSES)]
    return np.full(BATCH, sum(pairs) / CLASSES)


def _multi_level(s: np.ndarray, t: np.ndarray, taus: tuple[float, ...], weights: tuple[float, ...]) -> np.ndarray:
    instance, batch, classes = weights
    total = np.zeros(BATCH)
    for tau in taus:
        total += instance * tau**2 * kl(softmax(t, tau), softmax(s, tau))
        total += batch * _of_batch(s, t, tau) + classes * _of_classes(s, t, tau)
    return total


def _between(s: np.ndarray, t: np.ndarray, tau: np.ndarray) -> np.ndarray:
    tau = np.broadcast_to(tau.reshape(-1), BATCH)
    return np.array([tau[n] ** 2 * kl(softmax(t[n], tau[n]), softmax(s[n], tau[n])) for n in range(BATCH)])


def pulled(x: Tensor) -> Tensor:
    """Ten times the value of a reversal, and the gradient of ``sum y^2`` that reaches ``x`` through it."""
    x = wide(x)
    gradient = torch.func.grad(lambda z: reverse_gradient(z, strength=0.25).square().sum())(x)
    return (10 * reverse_gradient(x, strength=0.25) + gradient).sum(-1)


SOFT = [
    Row(
        "cross_entropy",
        losses.cross_entropy,
        (LOGITS, labels),
        lambda z, y: -np.log(softmax(z)[np.arange(len(y)), y]),
        teacher=(),
        equal=None,
    ),
    Row(
        "cross_entropy, smoothed",
        partial(losses.cross_entropy, label_smoothing=0.1),
        (LOGITS, labels),
        _smoothed,
        teacher=(),
        equal=None,
    ),
    Row(
        "kd",
        partial(losses.kd, temperature=3.0),
        (LOGITS, LOGITS),
        lambda s, t: 9 * kl(softmax(t, 3), softmax(s, 3)),
    ),
    Row(
        "kd of FitNets' code",
        partial(losses.kd, temperature=3.0, squared=False, student_temperature=1.0),
        (LOGITS, LOGITS),
        lambda s, t: kl(softmax(t, 3), softmax(s)),
        equal=None,
    ),
    Row(
        "kd as cross-entropy",
        partial(kd, temperature=3.0, form="ce"),
        (LOGITS, LOGITS),
        lambda s, t: 9 * _cross(softmax(t, 3), softmax(s, 3)),
        equal=None,
    ),
    Row("function_matching", function_matching, (LOGITS, LOGITS), lambda s, t: kl(softmax(t), softmax(s))),
    Row(
        "curriculum_kd, one temperature", curriculum_kd, (LOGITS, LOGITS, warm(1)), _between, student=(0, 2), equal=None
    ),
    Row("curriculum_kd", curriculum_kd, (LOGITS, LOGITS, warm(BATCH, 1)), _between, student=(0, 2), equal=None),
    Row(
        "curriculum_kd of bounded_temperature, without T^2",
        lambda s, t, raw: curriculum_kd(s, t, bounded_temperature(raw, span=3.0), squared=False, form="ce"),
        (LOGITS, LOGITS, normal()),
        lambda s, t, raw: np.array(
            [_cross(softmax(b, u), softmax(a, u)) for a, b, u in zip(s, t, 1 + 3 / (1 + np.exp(-raw)), strict=True)]
        ),
        student=(0, 2),
        equal=None,
    ),
    Row(
        "reverse_gradient",
        pulled,
        (LOGITS,),
        lambda x: (10 * x - 0.25 * 2 * x).sum(1),
        teacher=(),
        equal=None,
        smooth=False,  # the gradient is reversed: that is what it is for
    ),
]


def _huber(x, delta):
    return np.where(abs(x) <= delta, x**2 / 2, delta * (abs(x) - delta / 2))


def _bounded(s, t, y, margin):
    own, others = ((s - y) ** 2).mean(1), ((t - y) ** 2).mean(1)
    return np.where(own + margin > others, own, 0.0)


REGRESSION = [
    Row("output_distance", output_distance, (LOGITS, LOGITS), lambda s, t: ((s - t) ** 2).mean(1)),
    Row(
        "output_distance, huber, weighted",
        lambda s, t, chosen: output_distance(
            s, t, weights=chosen[:, None].expand_as(s).to(s.dtype), form="huber", delta=0.3
        ),
        (LOGITS, LOGITS, lambda g: torch.ones(BATCH, dtype=torch.bool)),
        lambda s, t, chosen: _huber(s - t, 0.3).mean(1),
        smooth=False,
    ),
    Row(
        "teacher_bounded",
        partial(teacher_bounded, margin=0.2),
        (LOGITS, LOGITS, LOGITS),
        partial(_bounded, margin=0.2),
        equal=None,
        smooth=False,
    ),
    Row("logit_regression", logit_regression, (LOGITS, LOGITS), _half_square),
    Row(
        "logit_regression, whole",
        partial(logit_regression, half=False),
        (LOGITS, LOGITS),
        lambda s, t: ((s - t) ** 2).sum(1),
    ),
    Row(
        "noisy_logit_regression",
        noisy_logit_regression,
        (LOGITS, LOGITS, LOGITS, mask),
        lambda s, t, noise, chosen: _half_square(s, _noisy(t, noise, chosen)),
        equal=None,
    ),
    Row(
        "kd of noisy_logits",
        lambda s, t, noise, chosen: kd(s, noisy_logits(t, noise, chosen), temperature=2.0),
        (LOGITS, LOGITS, LOGITS, mask),
        lambda s, t, noise, chosen: 4 * kl(softmax(_noisy(t, noise, chosen), 2), softmax(s, 2)),
        equal=None,
    ),
    Row(
        "confident_regression",
        batch_first(partial(confident_regression, ridge=0.1)),
        (LOGITS, normal(4, CLASSES)),
        partial(_confident, full=True),
        equal=None,
    ),
    Row(
        "confident_regression, diagonal",
        batch_first(partial(confident_regression, ridge=0.1, covariance="diagonal")),
        (LOGITS, normal(4, CLASSES)),
        partial(_confident, full=False),
        equal=None,
    ),
    Row(
        "confident_regression with its constants",
        batch_first(partial(confident_regression, ridge=0.1, constants=True)),
        (LOGITS, normal(4, CLASSES)),
        partial(_confident, full=True, constants=True),
        equal=None,
    ),
    Row(
        "confident_regression, diagonal with its constants",
        batch_first(partial(confident_regression, ridge=0.1, covariance="diagonal", constants=True)),
        (LOGITS, normal(4, CLASSES)),
        partial(_confident, full=False, constants=True),
        equal=None,
    ),
    Row("rocket_hint", rocket_hint, (LOGITS, LOGITS), lambda s, t: ((s - t) ** 2).sum(1)),
    Row(
        "rocket_hint, unblocked",
        partial(rocket_hint, block=False),
        (LOGITS, LOGITS),
        lambda s, t: ((s - t) ** 2).sum(1),
        student=(0, 1),
        teacher=(1, 0),
    ),
]

DECOUPLED = [
    Row("dkd", dkd, (LOGITS, LOGITS, labels), partial(_decoupled, alpha=1, beta=8, tau=4)),
    Row(
        "dkd, weighted",
        partial(dkd, alpha=0.5, beta=2.0, temperature=2.0),
        (LOGITS, LOGITS, labels),
        partial(_decoupled, alpha=0.5, beta=2, tau=2),
    ),
    Row(
        "dkd of mixed labels",
        dkd,
        (LOGITS, LOGITS, soft_labels),
        lambda s, t, y: _decoupled(s, t, y.argmax(1), alpha=1, beta=8, tau=4),
    ),
    Row("nkd", nkd, (LOGITS, LOGITS, labels), partial(_normalised, gamma=1.5, tau=1), equal=None),
    Row(
        "nkd of the CIFAR-100 recipe",
        partial(nkd, gamma=3.5, temperature=3.0),
        (LOGITS, LOGITS, labels),
        partial(_normalised, gamma=3.5, tau=3),
        equal=None,
    ),
    Row(
        "standardised_kd",
        standardised_kd,
        (LOGITS, LOGITS),
        lambda s, t: 4 * kl(softmax(_z(t), 2), softmax(_z(s), 2)),
    ),
    Row(
        "standardised_kd as cross-entropy, without T^2",
        partial(standardised_kd, temperature=3.0, squared=False, form="ce"),
        (LOGITS, LOGITS),
        lambda s, t: _cross(softmax(_z(t), 3), softmax(_z(s), 3)),
        equal=None,
    ),
    Row(
        "logit_regression of standardised",
        lambda s, t: logit_regression(standardised(s), standardised(t)),
        (LOGITS, LOGITS),
        lambda s, t: _half_square(_z(s), _z(t)),
    ),
]

CORRELATED = [
    Row(
        "dist",
        partial(dist, beta=1.0, gamma=1.0, temperature=1.0),
        (LOGITS, LOGITS),
        partial(_shares, tau=1),
        alone=False,
    ),
    Row(
        "dist, the paper's mean",
        _one_value(partial(dist, beta=2.0, gamma=3.0, temperature=4.0)),
        (LOGITS, LOGITS),
        partial(_correlated, beta=2, gamma=3, tau=4),
        alone=False,
    ),
    Row("batch_correlation", batch_correlation, (LOGITS, LOGITS), partial(_of_batch, tau=4), alone=False),
    Row("class_correlation", class_correlation, (LOGITS, LOGITS), partial(_of_classes, tau=4), alone=False),
    Row(
        "mlkd",
        mlkd,
        (LOGITS, LOGITS),
        partial(_multi_level, taus=(2, 3, 4, 5, 6), weights=(1, 1, 1)),
        alone=False,
    ),
    Row(
        "mlkd, weighted",
        partial(mlkd, temperatures=(1.0, 3.0), instance=0.5, batch=2.0, classes=3.0),
        (LOGITS, LOGITS),
        partial(_multi_level, taus=(1, 3), weights=(0.5, 2, 3)),
        alone=False,
    ),
]

ROWS = SOFT + REGRESSION + DECOUPLED + CORRELATED
