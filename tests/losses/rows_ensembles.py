"""Losses of several networks, of a network as its own teacher, and of no teacher."""

from functools import partial, wraps

import numpy as np
import torch
from torch import Tensor

from tests.losses.rows_logits import batch_first, soft_labels
from tests.losses.table import BATCH, CLASSES, LOGITS, Row, kl, labels, normal, softmax
from understudy.losses import (
    boundary_kd,
    byot,
    confident_maps,
    confident_teachers,
    cwtm,
    dgkd,
    dkpp,
    ensemble_kd,
    feature_mse,
    mutual_kl,
    virtual_teacher_kd,
    vote_cross_entropy,
)

SEVERAL_MAPS = normal(3, 2, 2, 2)  # three networks' maps
SEVERAL = normal(3, CLASSES)  # three networks' answers, the batch in front


def permutation(g: torch.Generator) -> Tensor:
    return torch.rand(BATCH, CLASSES - 1, generator=g).argsort(-1)


def by_sample(g: torch.Generator) -> Tensor:
    return 0.1 + torch.rand(BATCH, 3, generator=g, dtype=torch.float64)


def weighted_by_sample(student: Tensor, teachers: Tensor, weights: Tensor) -> Tensor:
    return ensemble_kd(student, teachers, weights=weights.T)


def _cross(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return -(p * np.log(q)).sum(-1)


def _mixed(teachers: np.ndarray, tau: float, weights: np.ndarray) -> np.ndarray:
    """The teachers' mean softened probabilities; weights (N, 3)."""
    target = np.zeros((BATCH, CLASSES))
    for n in range(BATCH):
        for k in range(3):
            target[n] += weights[n, k] / weights[n].sum() * softmax(teachers[n, k], tau)
    return target


def _alike(*weights: float) -> np.ndarray:
    return np.tile(weights, (BATCH, 1))


def _voted(s: np.ndarray, teachers: np.ndarray) -> np.ndarray:
    values = []
    for z, answers in zip(s, teachers, strict=True):
        votes = [sum(answer.argmax() == c for answer in answers) for c in range(CLASSES)]
        best = [c for c in range(CLASSES) if votes[c] == max(votes)]
        winner = max(best, key=lambda c: softmax(answers).mean(0)[c])
        values.append(-np.log(softmax(z)[winner]))
    return np.array(values)


def _confident(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> np.ndarray:
    sure = softmax(t).max(1)
    return BATCH * sure / sure.sum() * -np.log(softmax(s)[np.arange(BATCH), y])


def _shuffled(t: np.ndarray, order: np.ndarray, tau: float) -> np.ndarray:
    target = softmax(t, tau)
    for p, moves in zip(target, order, strict=True):
        others = [c for c in range(CLASSES) if c != p.argmax()]
        p[others] = p[others][moves]
    return target


def _guided(
    s: np.ndarray, guides: np.ndarray, y: np.ndarray, *, w: float, tau: float, counted: int, kept: tuple[int, ...]
) -> np.ndarray:
    labels_part = -np.log(softmax(s)[np.arange(BATCH), y])
    soft = sum(tau**2 * kl(softmax(guides[:, k], tau), softmax(s, tau)) for k in kept)
    return counted * (1 - w) * labels_part + w * soft


def _by_hand(y: np.ndarray, a: float) -> np.ndarray:
    onehot = np.eye(CLASSES)[y] if y.ndim == 1 else y
    return onehot * a + (1 - onehot) * (1 - a) / (CLASSES - 1)


def _by_certainty(s: np.ndarray, t: np.ndarray, y: np.ndarray, tau: float = 4.0) -> np.ndarray:
    values = np.zeros(BATCH)
    for n in range(BATCH):
        unsure = np.array([-np.log(softmax(t[n, k])[y[n]]) for k in range(3)])
        share = (1 - np.exp(unsure) / np.exp(unsure).sum()) / 2
        values[n] = sum(w * tau**2 * kl(softmax(t[n, k], tau), softmax(s[n], tau)) for k, w in enumerate(share)) / 3
    return values


def _of_maps(s: np.ndarray, t: np.ndarray, z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The authors' lines: weights from the cross-entropies of z (N, 3, C), mean squared distances, divided by K."""
    values = np.zeros(BATCH)
    for n in range(BATCH):
        loss_t = np.array([-np.log(softmax(z[n, k])[y[n]]) for k in range(3)])
        weight = (1 - np.exp(loss_t) / np.exp(loss_t).sum()) / (3 - 1)
        values[n] = sum(weight[k] * ((s[n, k] - t[n, k]) ** 2).mean() for k in range(3)) / 3
    return values


@wraps(confident_maps)
def _confident_maps(s: Tensor, t: Tensor, z: Tensor, y: Tensor) -> Tensor:
    distances = feature_mse(s.flatten(0, 1), t.flatten(0, 1)).view(t.shape[:2])
    return confident_maps(distances.T, z.transpose(0, 1), y)


def _exit(h: np.ndarray, s: np.ndarray, y: np.ndarray, a: float = 0.3, tau: float = 3.0) -> np.ndarray:
    hard = -np.log(softmax(h)[np.arange(BATCH), y])
    return (1 - a) * hard + a * _cross(softmax(s, tau), softmax(h, tau))


ROWS = [
    Row("confident_maps", _confident_maps, (SEVERAL_MAPS, SEVERAL_MAPS, SEVERAL, labels), _of_maps),
    Row("byot", byot, (LOGITS, LOGITS, labels), _exit, equal=None),
    Row(
        "byot, another temperature",
        partial(byot, soft_share=0.6, temperature=2.0),
        (LOGITS, LOGITS, labels),
        partial(_exit, a=0.6, tau=2.0),
        equal=None,
    ),
    Row("confident_teachers", batch_first(confident_teachers), (LOGITS, SEVERAL, labels), _by_certainty, equal=None),
    Row(
        "confident_teachers, T 2",
        batch_first(partial(confident_teachers, temperature=2.0)),
        (LOGITS, SEVERAL, labels),
        partial(_by_certainty, tau=2.0),
        equal=None,
    ),
    Row(
        "confident_teachers, one",
        lambda s, t, y: confident_teachers(s, t.unsqueeze(0), y),
        (LOGITS, LOGITS, labels),
        lambda s, t, y: 16 * kl(softmax(t, 4), softmax(s, 4)),
    ),
    Row(
        "ensemble_kd",
        batch_first(ensemble_kd),
        (LOGITS, SEVERAL),
        lambda s, t: 16 * kl(_mixed(t, 4, _alike(1, 1, 1)), softmax(s, 4)),
        equal=None,
    ),
    Row(
        "ensemble_kd, weighted, as cross-entropy, without T^2",
        batch_first(partial(ensemble_kd, weights=(1.0, 2.0, 0.0), form="ce", squared=False, temperature=2.0)),
        (LOGITS, SEVERAL),
        lambda s, t: _cross(_mixed(t, 2, _alike(1, 2, 0)), softmax(s, 2)),
        equal=None,
    ),
    Row(
        "ensemble_kd, weighted by sample",
        batch_first(weighted_by_sample),
        (LOGITS, SEVERAL, by_sample),
        lambda s, t, w: 16 * kl(_mixed(t, 4, w), softmax(s, 4)),
        equal=None,
    ),
    Row(
        "ensemble_kd of mean logits",
        batch_first(partial(ensemble_kd, average="logits", weights=(1.0, 1.0, 2.0))),
        (LOGITS, SEVERAL),
        lambda s, t: 16 * kl(softmax((t[:, 0] + t[:, 1] + 2 * t[:, 2]) / 4, 4), softmax(s, 4)),
        equal=None,
    ),
    Row(
        "ensemble_kd of one teacher",
        lambda s, t: ensemble_kd(s, t.unsqueeze(0)),
        (LOGITS, LOGITS),
        lambda s, t: 16 * kl(softmax(t, 4), softmax(s, 4)),
    ),
    Row("vote_cross_entropy", batch_first(vote_cross_entropy), (LOGITS, SEVERAL), _voted, equal=None),
    Row(
        "mutual_kl",
        batch_first(mutual_kl),
        (LOGITS, SEVERAL),
        lambda s, t: np.mean([kl(softmax(t[:, k]), softmax(s)) for k in range(3)], axis=0),
        equal=None,
    ),
    Row(
        "mutual_kl, summed, softened",
        batch_first(partial(mutual_kl, reduce="sum", temperature=2.0)),
        (LOGITS, SEVERAL),
        lambda s, t: sum(4 * kl(softmax(t[:, k], 2), softmax(s, 2)) for k in range(3)),
        equal=None,
    ),
    Row(
        "mutual_kl of two",
        lambda s, t: mutual_kl(s, t.unsqueeze(0)),
        (LOGITS, LOGITS),
        lambda s, t: kl(softmax(t), softmax(s)),
    ),
    Row(
        "dgkd",
        batch_first(partial(dgkd, weight=0.7)),
        (LOGITS, SEVERAL, labels),
        partial(_guided, w=0.7, tau=5, counted=3, kept=(0, 1, 2)),
        equal=None,
    ),
    Row(
        "dgkd as in its code, one guide left out",
        batch_first(partial(dgkd, weight=0.4, temperature=2.0, form="code", kept=torch.tensor([True, False, True]))),
        (LOGITS, SEVERAL, labels),
        partial(_guided, w=0.4, tau=2, counted=1, kept=(0, 2)),
        equal=None,
    ),
    Row(
        "dgkd of one guide, without labels",
        lambda s, t, y: dgkd(s, t.unsqueeze(0), y, weight=1.0),
        (LOGITS, LOGITS, labels),
        lambda s, t, y: 25 * kl(softmax(t, 5), softmax(s, 5)),
    ),
    Row(
        "boundary_kd",
        boundary_kd,
        (LOGITS, LOGITS),
        lambda s, t: _cross(softmax(t, 3), softmax(s, 3)),
        equal=None,
    ),
    Row(
        "boundary_kd as KL",
        partial(boundary_kd, form="kl", temperature=2.0),
        (LOGITS, LOGITS),
        lambda s, t: kl(softmax(t, 2), softmax(s, 2)),
    ),
    Row("cwtm", cwtm, (LOGITS, LOGITS, labels), _confident, equal=None, alone=False),
    Row(
        "dkpp",
        dkpp,
        (LOGITS, LOGITS, permutation),
        lambda s, t, order: kl(_shuffled(t, order, 1), softmax(s)),
        equal=None,
    ),
    Row(
        "dkpp, softened, as cross-entropy",
        partial(dkpp, temperature=3.0, form="ce"),
        (LOGITS, LOGITS, permutation),
        lambda s, t, order: 9 * _cross(_shuffled(t, order, 3), softmax(s, 3)),
        equal=None,
    ),
    Row(
        "virtual_teacher_kd",
        virtual_teacher_kd,
        (LOGITS, labels),
        lambda s, y: kl(softmax(_by_hand(y, 0.99), 20), softmax(s)),
        teacher=(),
        equal=None,
    ),
    Row(
        "virtual_teacher_kd of mixed labels, softened student",
        partial(virtual_teacher_kd, correct=0.9, student_temperature=20.0),
        (LOGITS, soft_labels),
        lambda s, y: kl(softmax(_by_hand(y, 0.9), 20), softmax(s, 20)),
        teacher=(),
        equal=None,
    ),
    Row(
        "virtual_teacher_kd, unsoftened",
        partial(virtual_teacher_kd, correct=0.9, temperature=None),
        (LOGITS, labels),
        lambda s, y: kl(_by_hand(y, 0.9), softmax(s)),
        teacher=(),
        equal=None,
    ),
    Row(
        "virtual_teacher_kd, uniform",
        partial(virtual_teacher_kd, correct=1 / CLASSES, temperature=None),
        (LOGITS, labels),
        lambda s, y: kl(np.full((BATCH, CLASSES), 1 / CLASSES), softmax(s)),
        teacher=(),
        equal=None,
    ),
]
