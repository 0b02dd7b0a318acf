"""Losses on hidden values."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from tests.losses.table import BATCH, CLASSES, Row, kl, labels, normal, softmax
from understudy import losses
from understudy.losses import (
    batch_distance,
    class_distance,
    class_spread,
    consistent_maps,
    dist_maps,
    factor_transfer,
    fsp,
    hierarchical_context,
    kdsvd,
    neurons,
    norm,
    nst,
    pad,
    paraphraser_reconstruction,
    scalekd,
    srd,
    sskd,
    vid,
    view_contrast,
)

VIEWS = normal(3, CLASSES)
MAP = normal(3, 4, 4)
WIDE = normal(5, 2, 2)
VECTOR = normal(7)
LARGE = normal(2, 6, 6)
KEPT = torch.tensor([0, 2, 5])
MASK = torch.tensor([True, False, True, True, False, False, True])


def raw_variance(g: torch.Generator) -> Tensor:
    return torch.randn(3, generator=g, dtype=torch.float64)


def pooled(values: np.ndarray, size: int) -> np.ndarray:
    """Averages over equal blocks: (N, C, H, H) to (N, C, size, size)."""
    side = values.shape[2] // size
    blocks = values.reshape(*values.shape[:2], size, side, size, side)
    return blocks.mean((3, 5))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.sqrt((rows**2).sum(-1, keepdims=True))


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _dist_maps(s: np.ndarray, t: np.ndarray, channels: float = 1.0, places: float = 1.0) -> np.ndarray:
    """``1 - r`` at each place; over the samples the shares of half the squared differences of unit vectors."""
    s, t = s.reshape(*s.shape[:2], -1), t.reshape(*t.shape[:2], -1)
    values = np.zeros(BATCH)
    for place in range(s.shape[2]):
        for n in range(BATCH):
            values[n] += channels * (1 - _pearson(s[n, :, place], t[n, :, place]))
        own, other = (x[:, :, place].sum(1) - x[:, :, place].sum(1).mean() for x in (s, t))
        shares = 0.5 * (own / np.linalg.norm(own) - other / np.linalg.norm(other)) ** 2
        assert np.isclose(shares.sum(), 1 - _pearson(own, other))
        values += places * BATCH * shares
    return values / s.shape[2]


def _vectors(x: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The authors' SVD of places by channels, its first vectors."""
    _, s, vt = np.linalg.svd(x.reshape(x.shape[0], -1).T, full_matrices=False)
    return s[:count], vt[:count].T


def _kdsvd(*maps: np.ndarray, k: int = 1) -> np.ndarray:
    values = np.zeros(BATCH)
    for n in range(BATCH):
        s_before, s_after, t_before, t_after = (x[n] for x in maps)
        own, other = [], []
        for student, teacher in ((s_before, t_before), (s_after, t_after)):
            sizes, v_t = _vectors(teacher, k)
            _, v_s = _vectors(student, k + 3)
            cosine = v_s.T @ v_t
            mask = np.where(np.abs(cosine) == np.abs(cosine).max(0), np.sign(cosine), 0)
            sizes = sizes / np.linalg.norm(sizes)
            own.append(v_s @ mask * sizes)
            other.append(v_t * sizes)
        s_rbf, t_rbf = (np.exp(-((v[1][:, None] - v[0][None]) ** 2) / 8) for v in (own, other))
        values[n] = ((s_rbf - t_rbf) ** 2).sum()
    return values


def _whole_distance(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    squared = ((s - t) ** 2).reshape(BATCH, -1).sum(1)
    return BATCH * squared / np.linalg.norm(s - t)


def _consistent(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    pooled_s, pooled_t = (np.maximum(x, 0).mean((2, 3)) for x in (s, t))
    return ((s - t) ** 2).mean((1, 2, 3)) + ((pooled_s - pooled_t) ** 2).mean(1)


def _cosines(size: int) -> np.ndarray:
    """The cosine transform of type II as a matrix, as the authors' code has it."""
    k, n = np.arange(size)[:, None], np.arange(size)[None]
    return 2 * np.cos(np.pi * k * (2 * n + 1) / (2 * size))


def _norm(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The authors' lines: maxima of the teacher's places, its map repeated, the mean times the number of copies."""
    pool = t.shape[2] // s.shape[2]
    t = t.reshape(BATCH, t.shape[1], s.shape[2], pool, s.shape[3], pool).max((3, 5))
    copies = s.shape[1] // t.shape[1]
    return ((s - np.tile(t, (1, copies, 1, 1))) ** 2).mean((1, 2, 3)) * copies


def _scalekd(s: np.ndarray, t: np.ndarray, *, centred: bool) -> np.ndarray:
    def places(x: np.ndarray) -> np.ndarray:
        if centred:
            forward = _cosines(x.shape[2])
            coefficients = forward @ x @ forward.T
            coefficients[:, :, 0, 0] = 0
            x = np.linalg.inv(forward) @ coefficients @ np.linalg.inv(forward).T
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    return ((places(s) - places(t)) ** 2).sum((1, 2, 3))


def _sskd(s: np.ndarray, t: np.ndarray, y: np.ndarray, tau: float = 4.0, keep: float = 1.0) -> np.ndarray:
    y = y if y.ndim == 1 else y.argmax(1)
    values, mistakes = np.zeros(BATCH), []
    kept = np.ones(s.shape[:2], bool)
    for n in range(BATCH):
        for v in range(s.shape[1]):
            p = softmax(t[n, v], tau)
            rank = int((p > p[y[n]]).sum())
            if rank:
                mistakes.append((rank - p[y[n]], n, v))
    for _, n, v in sorted(mistakes)[int(np.floor(len(mistakes) * keep)) :]:
        kept[n, v] = False
    for n, v in zip(*np.nonzero(kept), strict=True):
        values[n] += BATCH / kept.sum() * tau**2 * kl(softmax(t[n, v], tau), softmax(s[n, v], tau))
    return values


def _view_contrast(changed: np.ndarray, plain: np.ndarray) -> np.ndarray:
    c = unit(changed) @ unit(plain).T
    return np.array([-np.mean([np.log(softmax(c[n, v])[n]) for v in range(c.shape[1])]) for n in range(BATCH)])


def _pad(s: np.ndarray, t: np.ndarray, v: np.ndarray) -> np.ndarray:
    return ((t - s) ** 2 / (np.exp(v) + 1e-6) + v).mean(1)


def _srd(s: np.ndarray, t: np.ndarray, exponent: float = 4.0) -> np.ndarray:
    return np.full(BATCH, np.log((np.abs(s - t) ** exponent).sum() + 1e-5))


def _kernel(name: str, x: np.ndarray, y: np.ndarray, variance: float, offset: float) -> float:
    if name == "gaussian":
        return float(np.exp(-((x - y) ** 2).sum() / (2 * variance)))
    return float((x * y).sum() if name == "linear" else ((x * y).sum() + offset) ** 2)


def _mmd(
    s: np.ndarray, t: np.ndarray, name: str, variance: float | None = None, teacher_term: bool = True, offset: float = 0
) -> np.ndarray:
    values = np.zeros(BATCH)
    if t.shape[2] < s.shape[2]:
        s = pooled(s, t.shape[2])
    for n in range(BATCH):
        own, other = unit(s[n].reshape(len(s[n]), -1)), unit(t[n].reshape(len(t[n]), -1))
        sigma2 = variance or np.mean([((x - y) ** 2).sum() for x in own for y in other])
        for first, second, sign in ((own, own, 1), (other, own, -2), (other, other, int(teacher_term))):
            values[n] += sign * np.mean([_kernel(name, x, y, sigma2, offset) for x in first for y in second])
    return values


def _fsp(s1: np.ndarray, s2: np.ndarray, t1: np.ndarray, t2: np.ndarray, mean: bool = False) -> np.ndarray:
    values = np.zeros(BATCH)
    for n in range(BATCH):
        for i in range(s1.shape[1]):
            for j in range(s2.shape[1]):
                values[n] += (np.mean(t1[n, i] * t2[n, j]) - np.mean(s1[n, i] * s2[n, j])) ** 2
    return values / (s1.shape[1] * s2.shape[1]) if mean else values


def _spread(f: np.ndarray, own: np.ndarray, others: np.ndarray, bound: float) -> np.ndarray:
    return ((f - own) ** 2).sum(1) - np.minimum(((f - others) ** 2).sum(1), bound)


def _factors(s: np.ndarray, t: np.ndarray, power: int) -> np.ndarray:
    own, other = unit(s.reshape(BATCH, -1)), unit(t.reshape(BATCH, -1))
    return (np.abs(own - other) ** power).mean(1)


def _likelihood(mean: np.ndarray, t: np.ndarray, raw: np.ndarray) -> np.ndarray:
    variance = (np.log1p(np.exp(raw)) + 1e-5)[None, :, None, None]
    return (0.5 * ((t - mean) ** 2 / variance + np.log(variance))).mean((1, 2, 3))


def _pyramid(s: np.ndarray, t: np.ndarray, levels: tuple[int, ...]) -> np.ndarray:
    value, total = ((s - t) ** 2).mean((1, 2, 3)), 1.0
    for number, level in enumerate(levels, 1):
        weight = 0.5**number
        total += weight
        value = value + weight * ((pooled(s, level) - pooled(t, level)) ** 2).mean((1, 2, 3))
    return value / total


ROWS = [
    Row("dist_maps", dist_maps, (MAP, MAP), _dist_maps, alone=False),
    Row(
        "dist_maps, weighted",
        partial(dist_maps, channels=0.5, places=2.0),
        (WIDE, WIDE),
        partial(_dist_maps, channels=0.5, places=2.0),
        alone=False,
    ),
    Row("consistent_maps", consistent_maps, (MAP, MAP), lambda s, t: ((s - t) ** 2).mean((1, 2, 3))),
    Row("consistent_maps, last", partial(consistent_maps, last=True), (MAP, MAP), _consistent),
    Row("scalekd", scalekd, (MAP, MAP), partial(_scalekd, centred=False)),
    Row("scalekd, centred", partial(scalekd, centred=True), (MAP, MAP), partial(_scalekd, centred=True)),
    Row("norm", norm, (normal(10, 2, 2), normal(5, 4, 4)), _norm, equal=None),
    Row("norm, one copy", norm, (MAP, MAP), _norm),
    Row("batch_distance", batch_distance, (VECTOR, VECTOR), _whole_distance, alone=False),
    Row("kdsvd", kdsvd, (LARGE, MAP, LARGE, MAP), _kdsvd, student=(0, 1), teacher=(2, 3)),
    Row(
        "kdsvd, two vectors, fewer places than channels",
        partial(kdsvd, vectors=2),
        (WIDE, MAP, WIDE, MAP),
        partial(_kdsvd, k=2),
        student=(0, 1),
        teacher=(2, 3),
    ),
    Row("pad", pad, (VECTOR, VECTOR, VECTOR), _pad, equal=None),
    Row(
        "view_contrast",
        view_contrast,
        (normal(3, 4), normal(4)),
        _view_contrast,
        student=(0, 1),
        teacher=(),
        equal=None,
        alone=False,
    ),
    Row("sskd", sskd, (VIEWS, VIEWS, labels), _sskd, alone=False),
    Row(
        "sskd, half of the mistakes, T 0.5",
        partial(sskd, temperature=0.5, keep=0.5),
        (VIEWS, VIEWS, labels),
        partial(_sskd, tau=0.5, keep=0.5),
        alone=False,
        tolerance=1.0,
    ),
    Row("srd", srd, (VECTOR, VECTOR), _srd, equal=float(np.log(1e-5)), alone=False),
    Row(
        "srd, exponent 2",
        partial(srd, exponent=2.0),
        (VECTOR, VECTOR),
        partial(_srd, exponent=2.0),
        equal=None,
        alone=False,
    ),
    Row("hint", losses.hint, (MAP, MAP), lambda s, t: 0.5 * ((t - s) ** 2).sum((1, 2, 3))),
    Row("feature_mse", losses.feature_mse, (MAP, MAP), lambda s, t: ((t - s) ** 2).mean((1, 2, 3))),
    Row("nst", nst, (MAP, MAP), lambda s, t: _mmd(s, t, "polynomial")),
    Row("nst, linear", partial(nst, kernel="linear"), (MAP, MAP), lambda s, t: _mmd(s, t, "linear")),
    Row(
        "nst, gaussian",  # sigma is measured and taken as constant, so a difference quotient sees another gradient
        partial(nst, kernel="gaussian"),
        (MAP, MAP),
        lambda s, t: _mmd(s, t, "gaussian"),
        smooth=False,
    ),
    Row(
        "nst, gaussian of a given variance",
        partial(nst, kernel="gaussian", variance=0.7),
        (MAP, MAP),
        lambda s, t: _mmd(s, t, "gaussian", variance=0.7),
    ),
    Row("nst, other channels and sizes", nst, (MAP, WIDE), lambda s, t: _mmd(s, t, "polynomial"), equal=None),
    Row(
        "nst, without the teacher's term",
        partial(nst, teacher_term=False, offset=0.5),
        (MAP, MAP),
        lambda s, t: _mmd(s, t, "polynomial", teacher_term=False, offset=0.5),
        equal=None,
    ),
    Row(
        "fsp",
        partial(fsp, reduce="sum"),
        (MAP, normal(5, 4, 4), MAP, normal(5, 4, 4)),
        _fsp,
        student=(0, 1),
        teacher=(2, 3),
    ),
    Row(
        "fsp, mean, shrinking",
        partial(fsp, reduce="mean"),
        (MAP, WIDE, MAP, WIDE),
        lambda s1, s2, t1, t2: _fsp(pooled(s1, 2), s2, pooled(t1, 2), t2, mean=True),
        student=(0, 1),
        teacher=(2, 3),
    ),
    Row("neurons", neurons, (VECTOR, VECTOR), lambda s, t: 0.5 * ((s - t) ** 2).sum(1)),
    Row(
        "neurons, selected",
        partial(neurons, selected=KEPT),
        (normal(3), VECTOR),
        lambda s, t: 0.5 * ((s - t[:, [0, 2, 5]]) ** 2).sum(1),
        equal=None,
    ),
    Row(
        "neurons, masked",
        partial(neurons, selected=MASK),
        (VECTOR, VECTOR),
        lambda s, t: 0.5 * (((s - t) ** 2)[:, [0, 2, 3, 6]]).sum(1),
    ),
    Row("class_distance", class_distance, (VECTOR, VECTOR), lambda s, t: ((s - t) ** 2).sum(1)),
    Row(
        "class_spread",
        partial(class_spread, bound=12.0),
        (VECTOR, VECTOR, VECTOR),
        partial(_spread, bound=12.0),
        teacher=(),
        equal=None,
    ),
    Row("factor_transfer", factor_transfer, (MAP, MAP), lambda s, t: _factors(s, t, 1)),
    Row("factor_transfer, l2", partial(factor_transfer, distance="l2"), (MAP, MAP), lambda s, t: _factors(s, t, 2)),
    Row(
        "paraphraser_reconstruction",
        paraphraser_reconstruction,
        (MAP, MAP),
        lambda s, t: ((s - t) ** 2).mean((1, 2, 3)),
    ),
    Row(
        "paraphraser_reconstruction, l1",
        partial(paraphraser_reconstruction, distance="l1"),
        (MAP, MAP),
        lambda s, t: np.abs(s - t).mean((1, 2, 3)),
    ),
    Row("vid", vid, (MAP, MAP, raw_variance), _likelihood, student=(0, 2), equal=None),
    Row("hierarchical_context", hierarchical_context, (MAP, MAP), lambda s, t: _pyramid(s, t, (2, 1))),
    Row(
        "hierarchical_context, other levels",
        partial(hierarchical_context, levels=(6, 3, 2)),
        (LARGE, LARGE),
        lambda s, t: _pyramid(s, t, (3, 2)),
    ),
]
