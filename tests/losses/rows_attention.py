"""Losses on attention: attention transfer, class activation maps, and what stands beside them at the last layers."""

from functools import partial

import numpy as np
import torch

from tests.losses.rows_features import MAP, WIDE, pooled, unit
from tests.losses.table import BATCH, CLASSES, LOGITS, Row, labels, normal, softmax
from understudy.losses import attention_transfer, cat_kd, gradient_attention, ofa, simkd, srrl_features, srrl_logits

CAM = normal(CLASSES, 4, 4)
SMALL_CAM = normal(CLASSES, 2, 2)


def soft_labels(g: torch.Generator) -> torch.Tensor:
    return torch.rand(BATCH, CLASSES, generator=g, dtype=torch.float64)


def _attention(s: np.ndarray, t: np.ndarray, p: float, reduce: str, squared: bool) -> np.ndarray:
    values = np.zeros(BATCH)
    for n in range(BATCH):
        reducer = {"sum": np.sum, "max": np.max, "mean": np.mean}[reduce]
        own = unit(reducer(np.abs(s[n]) ** p, axis=0).ravel())
        other = unit(reducer(np.abs(t[n]) ** p, axis=0).ravel())
        values[n] = ((own - other) ** 2).mean() if squared else 0.5 * np.sqrt(((own - other) ** 2).sum())
    return values


def attention(name: str, **settings: object) -> Row:
    p, reduce = settings.get("p", 2.0), settings.get("reduce", "sum")
    squared = settings.get("distance") == "mean_squared"
    expected = partial(_attention, p=p, reduce=reduce, squared=squared)
    return Row(name, partial(attention_transfer, **settings), (MAP, MAP), expected)


def _cat(s: np.ndarray, t: np.ndarray, normalize: bool = True, size: int = 2) -> np.ndarray:
    own, other = (pooled(x, size).reshape(BATCH, CLASSES, -1) for x in (s, t))
    return ((unit(own) - unit(other)) ** 2 if normalize else (own - other) ** 2).mean((1, 2))


def _ofa(s: np.ndarray, t: np.ndarray, y: np.ndarray, gamma: float, temperature: float, paper: bool) -> np.ndarray:
    own, other = softmax(s, temperature), softmax(t, temperature)
    values = np.zeros(BATCH)
    for n in range(BATCH):
        for c in range(CLASSES):
            if c == y[n]:
                target = (1 + other[n, c]) ** gamma - (0 if paper else 1)
            else:
                target = other[n, c] if paper else other[n, c] ** gamma
            values[n] -= target * np.log(own[n, c])
    return values


ROWS = [
    attention("attention_transfer"),
    attention("attention_transfer of its code", distance="mean_squared"),
    attention("attention_transfer, p = 1", p=1.0),
    attention("attention_transfer, p = 4", p=4.0, distance="mean_squared"),
    attention("attention_transfer, max", reduce="max", p=1.0),
    attention("attention_transfer, mean", reduce="mean"),
    Row(
        "attention_transfer, other channels and sizes",
        attention_transfer,
        (MAP, WIDE),
        lambda s, t: _attention(pooled(s, 2), t, 2, "sum", False),
        equal=None,
    ),
    Row(
        "gradient_attention",
        gradient_attention,
        (MAP, MAP),
        lambda s, t: 0.5 * np.sqrt(((s - t) ** 2).sum((1, 2, 3))),
    ),
    Row(
        "gradient_attention, mean squared",
        partial(gradient_attention, distance="mean_squared"),
        (MAP, MAP),
        lambda s, t: ((s - t) ** 2).mean((1, 2, 3)),
    ),
    Row("cat_kd", cat_kd, (CAM, CAM), _cat),
    Row(
        "cat_kd, not normalised, other sizes",
        partial(cat_kd, normalize=False),
        (CAM, SMALL_CAM),
        partial(_cat, normalize=False),
        equal=None,
    ),
    Row("cat_kd, finer", partial(cat_kd, resolution=4), (CAM, CAM), partial(_cat, size=4)),
    Row(
        "srrl_features",
        srrl_features,
        (MAP, normal(3, 2, 2)),
        lambda s, t: ((s.mean((2, 3)) - t.mean((2, 3))) ** 2).mean(1),
        equal=None,
    ),
    Row("srrl_features, vectors", srrl_features, (normal(7), normal(7)), lambda s, t: ((s - t) ** 2).mean(1)),
    Row("srrl_logits", srrl_logits, (LOGITS, LOGITS), lambda s, t: ((s - t) ** 2).mean(1)),
    Row("simkd", simkd, (MAP, MAP), lambda s, t: ((s - t) ** 2).mean((1, 2, 3))),
    Row(
        "ofa",
        partial(ofa, exponent=1.5, temperature=2.0),
        (LOGITS, LOGITS, labels),
        partial(_ofa, gamma=1.5, temperature=2.0, paper=False),
        equal=None,
    ),
    Row(
        "ofa of its paper",
        partial(ofa, exponent=1.5, form="paper"),
        (LOGITS, LOGITS, labels),
        partial(_ofa, gamma=1.5, temperature=1.0, paper=True),
        equal=None,
    ),
    Row(
        "ofa, soft labels",
        ofa,
        (LOGITS, LOGITS, soft_labels),
        lambda s, t, y: _ofa(s, t, y.argmax(1), 1.0, 1.0, False),
        equal=None,
        smooth=False,  # a difference quotient by the labels would step over their largest class
    ),
]
