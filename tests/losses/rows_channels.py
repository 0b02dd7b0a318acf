"""Losses on channels and on pre-activations."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from tests.losses.rows_features import MAP, unit
from tests.losses.table import BATCH, Row, kl, normal, softmax
from understudy.losses import activation_boundaries, cwd, encoder_features, ickd, mgd, ofd


def margin(g: torch.Generator) -> Tensor:
    return -torch.rand(3, generator=g, dtype=torch.float64)


def _channel_wise(s: np.ndarray, t: np.ndarray, temperature: float) -> np.ndarray:
    own, other = s.reshape(BATCH, 3, -1), t.reshape(BATCH, 3, -1)
    return temperature**2 * kl(softmax(other, temperature), softmax(own, temperature)).mean(1)


def _correlations(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    values = np.zeros(BATCH)
    for n in range(BATCH):
        own, other = s[n].reshape(3, -1), t[n].reshape(3, -1)
        values[n] = ((unit(other @ other.T) - unit(own @ own.T)) ** 2).sum() / 3
    return values


def _boundaries(s: np.ndarray, t: np.ndarray, m: float) -> np.ndarray:
    off = (s + m) ** 2 * ((s > -m) & (t <= 0))
    on = (s - m) ** 2 * ((s <= m) & (t > 0))
    return (off + on).sum((1, 2, 3))


def _overhaul(s: np.ndarray, t: np.ndarray, m: np.ndarray) -> np.ndarray:
    values = np.zeros(BATCH)
    for n, c, h, w in np.ndindex(*s.shape):
        target = t[n, c, h, w] if t[n, c, h, w] > m[c] else m[c]
        if not s[n, c, h, w] <= target <= 0:
            values[n] += (s[n, c, h, w] - target) ** 2
    return values


def _cosines(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    length = np.sqrt((s**2).sum(1) * (t**2).sum(1))
    return (1 - (s * t).sum(1) / length).reshape(BATCH, -1).mean(1)


def _standardised(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    return ((s - (t - t.mean(1, keepdims=True)) / t.std(1, keepdims=True)) ** 2).mean((1, 2, 3))


ROWS = [
    Row("encoder_features", encoder_features, (MAP, MAP), _cosines),
    Row("encoder_features, mse", partial(encoder_features, form="mse"), (MAP, MAP), _standardised, equal=None),
    Row("cwd", cwd, (MAP, MAP), partial(_channel_wise, temperature=4.0)),
    Row("cwd, cold", partial(cwd, temperature=1.0), (MAP, MAP), partial(_channel_wise, temperature=1.0)),
    Row("ickd", ickd, (MAP, MAP), _correlations),
    Row("ickd, other sizes", ickd, (MAP, normal(3, 2, 2)), _correlations, equal=None),
    Row("mgd", mgd, (MAP, MAP), lambda s, t: ((s - t) ** 2).sum((1, 2, 3))),
    Row("activation_boundaries", activation_boundaries, (MAP, MAP), partial(_boundaries, m=1.0), equal=None),
    Row(
        "activation_boundaries, other margin",
        partial(activation_boundaries, margin=0.3),
        (MAP, MAP),
        partial(_boundaries, m=0.3),
        equal=None,
    ),
    Row("ofd", ofd, (MAP, MAP, margin), _overhaul),
]
