"""Losses on logits that stand beside the KL of soft targets."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from tests.losses.table import BATCH, CLASSES, LOGITS, Row, kl, labels, normal, softmax
from understudy.losses import (
    crld,
    direction,
    ldrld,
    others_kd,
    rld,
    sdd,
    soft_divergence,
    target_kd,
    token_kd,
    transformed_teacher,
    weighted_soft_labels,
)

CELLS = normal(5, CLASSES)


def soft_labels(g: torch.Generator) -> Tensor:
    return torch.randn(BATCH, CLASSES, generator=g, dtype=torch.float64).mul(2).softmax(-1)


def _divergence(
    s: np.ndarray, t: np.ndarray, form: str, a: float | None, temperature: float, top: int | None
) -> np.ndarray:
    if top is not None:
        order = np.argsort(-t, axis=1)[:, :top]
        s, t = np.take_along_axis(s, order, 1), np.take_along_axis(t, order, 1)
    p, q = softmax(t, temperature), softmax(s, temperature)
    a = (0.5 if form == "js" else 0.1) if a is None else a
    values = {
        "forward": lambda: kl(p, q),
        "reverse": lambda: kl(q, p),
        "js": lambda: (1 - a) * kl(p, (1 - a) * p + a * q) + a * kl(q, (1 - a) * p + a * q),
        "skew": lambda: kl(p, a * p + (1 - a) * q),
        "skew-reverse": lambda: kl(q, (1 - a) * p + a * q),
        "tv": lambda: 0.5 * np.abs(p - q).sum(1),
    }[form]()
    return temperature**2 * values


def of(form: str, *, skew: float | None = None, temperature: float = 4.0, top: int | None = None) -> Row:
    settings = {"form": form, "skew": skew, "temperature": temperature, "top": top}
    return Row(
        f"soft_divergence, {form}, {skew}, {temperature}, {top}",
        partial(soft_divergence, **settings),
        (LOGITS, LOGITS),
        partial(_divergence, form=form, a=skew, temperature=temperature, top=top),
        smooth=form != "tv",
    )


def _transformed(s: np.ndarray, t: np.ndarray, gamma: float, weighted: bool) -> np.ndarray:
    powers = softmax(t) ** gamma
    value = kl(powers / powers.sum(1, keepdims=True), softmax(s))
    return powers.sum(1) * value if weighted else value


def _weighted(s: np.ndarray, t: np.ndarray, y: np.ndarray, temperature: float) -> np.ndarray:
    target = np.eye(CLASSES)[y] if y.ndim == 1 else y
    hard_s, hard_t = (-(target * np.log(softmax(x))).sum(1) for x in (s, t))
    soft = -(softmax(t, temperature) * np.log(softmax(s, temperature))).sum(1)
    return (1 - np.exp(-hard_s / (hard_t + 1e-7))) * temperature**2 * soft


def _rld(
    s: np.ndarray, t: np.ndarray, y: np.ndarray, alpha: float = 1.0, beta: float = 8.0, sure: float = 1.0
) -> np.ndarray:
    y = y if y.ndim == 1 else y.argmax(1)
    values = np.zeros(BATCH)
    for n in range(BATCH):
        a, b = softmax(t[n], sure).max(), softmax(s[n], sure)[y[n]]
        values[n] = alpha * sure**2 * kl(np.array([a, 1 - a]), np.array([b, 1 - b]))
        below = t[n] < t[n, y[n]]
        if below.any():
            values[n] += beta * 16 * kl(softmax(t[n][below], 4.0), softmax(s[n][below], 4.0))
    return values


def _token(d: np.ndarray, t: np.ndarray) -> np.ndarray:
    return -np.log(softmax(d)[np.arange(BATCH), t.argmax(1)])


def _crld(
    sw: np.ndarray,
    ss: np.ndarray,
    tw: np.ndarray,
    ts: np.ndarray,
    within: float = 2.0,
    across: float = 0.5,
    weak: float = 0.9,
    strong: float = 0.2,
) -> np.ndarray:
    def soft(t: np.ndarray, s: np.ndarray) -> float:
        return float(16 * kl(softmax(t, 4.0), softmax(s, 4.0)))

    values = np.zeros(BATCH)
    for n in range(BATCH):
        if softmax(tw[n]).max() >= weak:
            values[n] += within * (soft(tw[n], sw[n]) + soft(ts[n], ss[n]))
        if softmax(ts[n]).max() >= strong:
            values[n] += across * (soft(tw[n], ss[n]) + soft(ts[n], sw[n]))
    return values


def _ldrld(
    s: np.ndarray, t: np.ndarray, alpha: float = 10.5, beta: float = 7.0, top: int = 3, tau: float = 4.0
) -> np.ndarray:
    values = np.zeros(BATCH)
    for n in range(BATCH):
        order = np.argsort(-s[n], kind="stable")

        def among(classes: np.ndarray, n: int = n) -> float:
            return float(tau**2 * kl(softmax(t[n][classes], tau), softmax(s[n][classes], tau)))

        dense = [
            2 * np.exp(-0.05 * (i + j)) / (1.5 + j - i) * among(order[[i - 1, j - 1]])
            for i in range(1, top + 1)
            for j in range(i + 1, top + 1)
        ]
        dense.append(among(order[:top]))
        values[n] = alpha * np.mean(dense) + beta * among(order[top:])
    return values


def _direction(s: np.ndarray, t: np.ndarray, ridge: float = 0.1, divided: float = 1.0) -> np.ndarray:
    grams = [x / np.sqrt((x**2).sum(1, keepdims=True)) for x in (s, t)]
    d = (grams[0] @ grams[0].T - grams[1] @ grams[1].T) / divided
    inverse = np.linalg.inv(np.cov(d.T) + ridge * np.eye(BATCH))
    return np.array([np.sqrt(row @ inverse @ row + 1e-12) for row in d])


def _sdd(s: np.ndarray, t: np.ndarray, y: np.ndarray, form: str = "kd") -> np.ndarray:
    y = y if y.ndim == 1 else y.argmax(1)
    values = np.zeros(BATCH)
    for n in range(BATCH):
        parts = []
        for k in range(s.shape[1]):
            differs = (t[n, k].argmax() == y[n]) != (t[n, 0].argmax() == y[n])
            a, b = softmax(t[n, k], 4.0), softmax(s[n, k], 4.0)
            value = kl(a, b)
            if form == "dkd":
                p, q = a[y[n]], b[y[n]]
                rest = [np.delete(x, y[n]) / (1 - x[y[n]]) for x in (a, b)]
                value = kl(np.array([p, 1 - p]), np.array([q, 1 - q])) + 8 * kl(*rest)
            parts.append(16 * value * (2 if differs else 1))
        values[n] = np.mean(parts)
    return values


def _target(s: np.ndarray, t: np.ndarray, y: np.ndarray, temperature: float = 4.0) -> np.ndarray:
    y = y if y.ndim == 1 else y.argmax(1)
    values = np.zeros(BATCH)
    for n in range(BATCH):
        a, b = softmax(t[n], temperature)[y[n]], softmax(s[n], temperature)[y[n]]
        values[n] = temperature**2 * kl(np.array([a, 1 - a]), np.array([b, 1 - b]))
    return values


def _others(
    s: np.ndarray, t: np.ndarray, y: np.ndarray, temperature: float = 4.0, top: int | None = None, factor: bool = True
) -> np.ndarray:
    y = y if y.ndim == 1 else y.argmax(1)
    values = np.zeros(BATCH)
    for n in range(BATCH):
        others = [c for c in np.argsort(-t[n]) if c != y[n]][:top]
        value = temperature**2 * kl(softmax(t[n][others], temperature), softmax(s[n][others], temperature))
        values[n] = value * (1 - softmax(t[n], temperature)[y[n]] if factor else 1)
    return values


ROWS = [
    *(of(form) for form in ("forward", "reverse", "js", "skew", "skew-reverse", "tv")),
    of("js", skew=0.9, temperature=1.0),
    of("skew", skew=0.9, temperature=2.0),
    of("skew-reverse", skew=0.5),
    of("reverse", top=3),
    of("forward", top=CLASSES, temperature=2.0),
    Row("wttm", transformed_teacher, (LOGITS, LOGITS), partial(_transformed, gamma=0.25, weighted=True), equal=None),
    Row(
        "ttm",
        partial(transformed_teacher, weighted=False, gamma=0.5),
        (LOGITS, LOGITS),
        partial(_transformed, gamma=0.5, weighted=False),
        equal=None,
    ),
    Row(
        "wsl",
        weighted_soft_labels,
        (LOGITS, LOGITS, labels),
        partial(_weighted, temperature=2.0),
        equal=None,
        smooth=False,
    ),
    Row(
        "wsl, soft labels, other temperature",
        partial(weighted_soft_labels, temperature=4.0),
        (LOGITS, LOGITS, soft_labels),
        partial(_weighted, temperature=4.0),
        equal=None,
        smooth=False,
    ),
    Row("token_kd", token_kd, (LOGITS, LOGITS), _token, equal=None),
    Row(
        "token_kd, soft",
        partial(token_kd, form="soft", temperature=2.0),
        (LOGITS, LOGITS),
        lambda d, t: 4 * kl(softmax(t, 2.0), softmax(d, 2.0)),
    ),
    Row("crld", crld, (LOGITS,) * 4, _crld, student=(0, 1), teacher=(2, 3), equal=None),
    Row(
        "crld, other thresholds",
        partial(crld, within=1.0, across=1.5, sure_weak=0.3, sure_strong=0.6),
        (LOGITS,) * 4,
        partial(_crld, within=1.0, across=1.5, weak=0.3, strong=0.6),
        student=(0, 1),
        teacher=(2, 3),
        equal=None,
    ),
    Row("ldrld", partial(ldrld, top=3), (LOGITS, LOGITS), _ldrld, smooth=False),
    Row(
        "ldrld, top 2, T 2",
        partial(ldrld, top=2, temperature=2.0, alpha=1.0, beta=0.5),
        (LOGITS, LOGITS),
        partial(_ldrld, top=2, tau=2.0, alpha=1.0, beta=0.5),
        smooth=False,
    ),
    Row("direction", direction, (LOGITS, LOGITS), _direction, equal=1e-6, alone=False),
    Row(
        "direction, ridge 1",
        partial(direction, ridge=1.0),
        (LOGITS, LOGITS),
        partial(_direction, ridge=1.0),
        equal=1e-6,
        alone=False,
    ),
    Row(
        "direction, cosines divided by the classes",  # as in the authors' code
        partial(direction, ridge=0.1 * CLASSES**2),
        (LOGITS, LOGITS),
        partial(_direction, divided=CLASSES),
        equal=1e-6,
        alone=False,
    ),
    Row("sdd", sdd, (CELLS, CELLS, labels), _sdd),
    Row("sdd, dkd, soft labels", partial(sdd, form="dkd"), (CELLS, CELLS, soft_labels), partial(_sdd, form="dkd")),
    Row("target_kd", target_kd, (LOGITS, LOGITS, labels), _target),
    Row(
        "target_kd, T 2, soft labels",
        partial(target_kd, temperature=2.0),
        (LOGITS, LOGITS, soft_labels),
        partial(_target, temperature=2.0),
    ),
    Row("others_kd", others_kd, (LOGITS, LOGITS, labels), _others),
    Row(
        "others_kd, top 2, as DKD",
        partial(others_kd, top=2, by_teacher=False, temperature=2.0),
        (LOGITS, LOGITS, labels),
        partial(_others, top=2, factor=False, temperature=2.0),
    ),
    Row("rld", rld, (LOGITS, LOGITS, labels), _rld, equal=None, smooth=False),
    Row(
        "rld, other weights, soft labels",
        partial(rld, alpha=0.5, beta=2.0, sure_temperature=3.0),
        (LOGITS, LOGITS, soft_labels),
        partial(_rld, alpha=0.5, beta=2.0, sure=3.0),
        equal=None,
        smooth=False,
    ),
]
