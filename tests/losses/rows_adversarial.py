"""Adversarial losses."""

from functools import partial

import numpy as np

from tests.losses.table import CLASSES, LOGITS, Row, labels, normal, softmax
from understudy.losses import (
    can_discriminator,
    can_student,
    gan_discriminator,
    gan_student,
    joint_discriminator,
    joint_student,
    logits_l1,
    lsgan_discriminator,
    lsgan_student,
    wgan_critic,
    wgan_student,
)

OUTPUTS = normal(CLASSES + 2)
DOUBLE = normal(2 * CLASSES)
TWO = normal(2)
SCORE = normal()
COLUMN = normal(1)


def _label(outputs: np.ndarray, y: np.ndarray) -> np.ndarray:
    target = np.eye(CLASSES)[y] if y.ndim == 1 else y
    return (target * np.log(softmax(outputs[:, :CLASSES]))).sum(1)


def _source(outputs: np.ndarray, which: int) -> np.ndarray:
    real, fake = np.exp(outputs[:, CLASSES]), np.exp(outputs[:, CLASSES + 1])
    return np.log((real, fake)[which] / (real + fake))


def _can_discriminator(s: np.ndarray, t: np.ndarray, y: np.ndarray) -> np.ndarray:
    adversarial = _source(t, 0) + _source(s, 1)
    supervised = _label(t, y) + _label(s, y)
    return -0.5 * (adversarial + supervised)


def _can_student(s: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 0.5 * (_source(s, 1) - _label(s, y))


def _wgan_critic(s: np.ndarray, t: np.ndarray, g: np.ndarray, weight: float = 10.0) -> np.ndarray:
    length = np.sqrt((g.reshape(len(g), -1) ** 2).sum(1))
    return s.reshape(-1) - t.reshape(-1) + weight * (length - 1) ** 2


def _gan_source(outputs: np.ndarray, which: int) -> np.ndarray:
    return np.log(softmax(outputs)[:, which])


def _joint_label(outputs: np.ndarray, y: np.ndarray, which: int) -> np.ndarray:
    chances = softmax(outputs).reshape(len(outputs), 2, -1)[:, which]
    target = np.eye(CLASSES)[y] if y.ndim == 1 else y
    return (target * np.log(chances)).sum(1)


# A discriminator learns from both answers, and has no teacher.
discriminator = partial(Row, student=(0, 1), teacher=(), equal=None)
against_it = partial(Row, teacher=(), equal=None)

ROWS = [
    discriminator("can, discriminator", can_discriminator, (OUTPUTS, OUTPUTS, labels), _can_discriminator),
    discriminator(
        "can, discriminator, soft labels",
        can_discriminator,
        (OUTPUTS, OUTPUTS, lambda g: LOGITS(g).softmax(1)),
        _can_discriminator,
    ),
    against_it("can, student", can_student, (OUTPUTS, labels), _can_student),
    against_it(
        "can, student, not saturating",
        partial(can_student, saturating=False),
        (OUTPUTS, labels),
        lambda s, y: 0.5 * (-_source(s, 0) - _label(s, y)),
    ),
    discriminator(
        "joint, discriminator",
        joint_discriminator,
        (DOUBLE, DOUBLE, labels),
        lambda s, t, y: -0.5 * (_joint_label(t, y, 0) + _joint_label(s, y, 1)),
    ),
    discriminator(
        "joint, discriminator, soft labels",
        joint_discriminator,
        (DOUBLE, DOUBLE, lambda g: LOGITS(g).softmax(1)),
        lambda s, t, y: -0.5 * (_joint_label(t, y, 0) + _joint_label(s, y, 1)),
    ),
    against_it(
        "joint, student",
        joint_student,
        (DOUBLE, labels),
        lambda s, y: 0.5 * (_joint_label(s, y, 1) - _joint_label(s, y, 0)),
    ),
    against_it(
        "joint, student, not saturating",
        partial(joint_student, saturating=False),
        (DOUBLE, labels),
        lambda s, y: -0.5 * _joint_label(s, y, 0),
    ),
    discriminator(
        "gan, discriminator",
        gan_discriminator,
        (TWO, TWO),
        lambda s, t: -0.5 * (_gan_source(t, 0) + _gan_source(s, 1)),
    ),
    against_it("gan, student", gan_student, (TWO,), lambda s: 0.5 * _gan_source(s, 1)),
    against_it(
        "gan, student, not saturating",
        partial(gan_student, saturating=False),
        (TWO,),
        lambda s: -0.5 * _gan_source(s, 0),
    ),
    Row("l1 of logits", logits_l1, (LOGITS, LOGITS), lambda s, t: np.abs(s - t).sum(1), smooth=False),
    Row(
        "l1 of logits, mean",
        partial(logits_l1, reduction="mean"),
        (LOGITS, LOGITS),
        lambda s, t: np.abs(s - t).mean(1),
        smooth=False,
    ),
    discriminator("wgan, critic", wgan_critic, (SCORE, COLUMN, LOGITS), _wgan_critic, student=(0, 1, 2)),
    discriminator(
        "wgan, critic, other penalty",
        partial(wgan_critic, penalty=1.0),
        (COLUMN, SCORE, normal(2, 3)),
        partial(_wgan_critic, weight=1.0),
        student=(0, 1, 2),
    ),
    against_it("wgan, student", wgan_student, (COLUMN,), lambda s: -s[:, 0]),
    discriminator("lsgan, discriminator", lsgan_discriminator, (SCORE, SCORE), lambda s, t: ((t - 1) ** 2 + s**2) / 2),
    against_it("lsgan, student", lsgan_student, (COLUMN,), lambda s: (s[:, 0] - 1) ** 2 / 2),
]
