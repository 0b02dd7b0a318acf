"""Losses on the relations between samples, and on their order."""

from functools import partial
from itertools import permutations
from math import exp, factorial

import numpy as np
from torch import Generator, Tensor

from tests.losses.table import BATCH, Row, kl, normal
from understudy.losses import (
    correlation_congruence,
    correlation_of_differences,
    darkrank,
    irg_edges,
    irg_transformation,
    n3,
    pkt,
    relative_dissimilarity,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)

RANGE = range(BATCH)
VECTOR = normal(4)


def squares(g: Generator) -> Tensor:
    return VECTOR(g) ** 2


def small(g: Generator) -> Tensor:
    """Their distances' cubes are scores that a softmax can weigh."""
    return 0.4 * VECTOR(g)


def _irg_edges(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    mine, theirs = (d / d.max() for d in (_distances(s) ** 2, _distances(t) ** 2))
    return ((mine - theirs) ** 2).mean(1)


def _irg_moved(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Of maps (N, 2, 4, 4) and (N, 4, 2, 2)."""
    coarse = before.reshape(BATCH, 2, 2, 2, 2, 2).mean((3, 5))
    fewer = (after[:, 0::2] + after[:, 1::2]) / 2
    distance = ((coarse - fewer) ** 2).reshape(BATCH, -1).sum(1)
    return distance / distance.max()


def _irg_transformation(s1: np.ndarray, s2: np.ndarray, t1: np.ndarray, t2: np.ndarray) -> np.ndarray:
    return (_irg_moved(s1, s2) - _irg_moved(t1, t2)) ** 2


def _huber(difference: np.ndarray) -> np.ndarray:
    size = np.abs(difference)
    return np.where(size < 1, 0.5 * size**2, size - 0.5)


def _distances(x: np.ndarray) -> np.ndarray:
    x = x.reshape(len(x), -1)
    return np.array([[np.sqrt(((a - b) ** 2).sum()) for b in x] for a in x])


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = np.sqrt((a**2).sum() * (b**2).sum())
    return 0.0 if lengths == 0 else float((a * b).sum() / lengths)


def _products(x: np.ndarray, same_length: bool = False) -> np.ndarray:
    x = x.reshape(len(x), -1)
    return np.array([[_cosine(a, b) if same_length else (a * b).sum() for b in x] for a in x])


def _rkd_distance(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    mine, theirs = _distances(s), _distances(t)
    pairs = BATCH * (BATCH - 1)
    return _huber(mine / (mine.sum() / pairs) - theirs / (theirs.sum() / pairs)).mean(1)


def _rkd_angle(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    def cosines(x: np.ndarray) -> np.ndarray:
        return np.array([[[_cosine(x[j] - x[i], x[k] - x[i]) for k in RANGE] for j in RANGE] for i in RANGE])

    return _huber(cosines(s) - cosines(t)).mean((1, 2))


def _similarity_preserving(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    mine, theirs = (g / np.sqrt((g**2).sum(1, keepdims=True)) for g in (_products(s), _products(t)))
    return ((mine - theirs) ** 2).sum(1) / BATCH


def _congruence(s: np.ndarray, t: np.ndarray, gamma: float = 0.4, order: int = 2) -> np.ndarray:
    def kernel(x: np.ndarray) -> np.ndarray:
        cosines = _products(x, same_length=True)
        return sum(exp(-2 * gamma) * (2 * gamma) ** p / factorial(p) * cosines**p for p in range(order + 1))

    return ((kernel(s) - kernel(t)) ** 2).sum(1) / BATCH


def _gaussian(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    """What the series comes to."""

    def kernel(x: np.ndarray) -> np.ndarray:
        x = x / np.sqrt((x**2).sum(1, keepdims=True))
        return np.exp(-0.4 * _distances(x) ** 2)

    return ((kernel(s) - kernel(t)) ** 2).sum(1) / BATCH


def _differences(s: np.ndarray, t: np.ndarray) -> np.ndarray:
    error = np.abs(s - t)
    return np.array([np.mean([(error[i] * error[j]).sum() for j in RANGE if j != i]) for i in RANGE])


def _pkt(s: np.ndarray, t: np.ndarray, itself: bool = True) -> np.ndarray:
    def neighbours(x: np.ndarray) -> np.ndarray:
        likeness = (_products(x, same_length=True) + 1) / 2
        if not itself:
            np.fill_diagonal(likeness, 0)
        return likeness / likeness.sum(1, keepdims=True)

    p, q = neighbours(t), neighbours(s)
    return (p * np.log((p + 1e-7) / (q + 1e-7))).sum(1) / BATCH


def _likelihood(scores: np.ndarray, order: tuple[int, ...]) -> float:
    powers = np.exp(scores[list(order)])
    return float(np.prod([powers[i] / powers[i:].sum() for i in range(len(order))]))


def _darkrank(s: np.ndarray, t: np.ndarray, hard: bool, alpha: float, beta: float, length: int) -> np.ndarray:
    mine, theirs = -alpha * _distances(s) ** beta, -alpha * _distances(t) ** beta
    values = []
    for query in range(BATCH):
        others = sorted((i for i in range(BATCH) if i != query), key=lambda i: -theirs[query, i])[:length]
        orders = [tuple(others)] if hard else list(permutations(others))
        p_s = np.array([_likelihood(mine[query], order) for order in orders])
        p_t = np.array([_likelihood(theirs[query], order) for order in orders])
        values.append(-np.log(p_s[0]) if hard else kl(p_t, p_s))
    return np.array(values)


def _triplets(s: np.ndarray, *teachers: np.ndarray, margin: float) -> np.ndarray:
    mine, theirs = _distances(s), [_distances(t) for t in teachers]
    values = np.zeros(BATCH)
    for i in RANGE:
        others = [j for j in RANGE if j != i]
        for number, j in enumerate(others):
            for k in others[number + 1 :]:
                votes = sum(1 if d[i, j] < d[i, k] else -1 for d in theirs)
                if votes:
                    near, far = (j, k) if votes > 0 else (k, j)
                    values[i] += max(0.0, mine[i, near] - mine[i, far] + margin)
    return values / ((BATCH - 1) * (BATCH - 2) / 2)


relation = partial(Row, alone=False)

ROWS = [
    Row("n3", n3, (squares,), lambda squares: (squares**1.5).sum(1), teacher=(), equal=None),
    Row("irg_edges", irg_edges, (normal(2, 3), normal(4)), _irg_edges, equal=None, alone=False),
    Row("irg_edges, equal", irg_edges, (VECTOR, VECTOR), _irg_edges, alone=False),
    Row(
        "irg_transformation",
        irg_transformation,
        (normal(2, 4, 4), normal(4, 2, 2), normal(2, 4, 4), normal(4, 2, 2)),
        _irg_transformation,
        student=(0, 1),
        teacher=(2, 3),
        alone=False,
        smooth=False,
    ),
    relation("rkd distance", rkd_distance, (normal(2, 3), normal(2, 3)), _rkd_distance),
    relation("rkd distance, other width", rkd_distance, (VECTOR, normal(9)), _rkd_distance, equal=None),
    relation("rkd angle", rkd_angle, (VECTOR, VECTOR), _rkd_angle),
    relation("similarity preserving", similarity_preserving, (normal(2, 3), normal(2, 3)), _similarity_preserving),
    relation("correlation congruence", correlation_congruence, (VECTOR, VECTOR), _congruence),
    relation(
        "correlation congruence, order 4",
        partial(correlation_congruence, order=4, gamma=0.7),
        (VECTOR, normal(7)),
        partial(_congruence, order=4, gamma=0.7),
        equal=None,
    ),
    relation(
        "correlation congruence, the whole Gaussian",
        partial(correlation_congruence, order=20),
        (VECTOR,) * 2,
        _gaussian,
    ),
    relation(
        "correlation congruence, inner product",
        partial(correlation_congruence, kernel="inner"),
        (VECTOR, VECTOR),
        lambda s, t: ((_products(s, same_length=True) - _products(t, same_length=True)) ** 2).mean(1),
    ),
    relation("correlation of differences", correlation_of_differences, (VECTOR, VECTOR), _differences),
    relation("pkt", pkt, (VECTOR, VECTOR), _pkt),
    relation(
        "pkt of the paper", partial(pkt, itself=False), (VECTOR, normal(7)), partial(_pkt, itself=False), equal=None
    ),
    relation("darkrank, soft", darkrank, (small, small), partial(_darkrank, hard=False, alpha=3, beta=3, length=4)),
    relation(
        "darkrank, soft, lists of 3",
        partial(darkrank, alpha=1.0, beta=2.0, list_length=3),
        (VECTOR, normal(7)),
        partial(_darkrank, hard=False, alpha=1, beta=2, length=3),
        equal=None,
    ),
    relation(
        "darkrank, hard",
        partial(darkrank, transfer="hard"),
        (small, small),
        partial(_darkrank, hard=True, alpha=3, beta=3, length=4),
        equal=None,
    ),
    relation(
        "darkrank, hard, the whole batch",
        partial(darkrank, transfer="hard", alpha=1.0, beta=1.0, list_length=100),
        (VECTOR, VECTOR),
        partial(_darkrank, hard=True, alpha=1, beta=1, length=100),
        equal=None,
    ),
    relation(
        "relative dissimilarity, one teacher",
        partial(relative_dissimilarity, margin=0.0),
        (VECTOR, VECTOR),
        partial(_triplets, margin=0.0),
        smooth=False,
    ),
    relation(
        "relative dissimilarity, a vote of three",
        relative_dissimilarity,
        (VECTOR, VECTOR, normal(2, 3), normal(7)),
        partial(_triplets, margin=0.5),
        equal=None,
        smooth=False,
    ),
    relation(
        "relative dissimilarity, a divided vote",
        relative_dissimilarity,
        (VECTOR, VECTOR, normal(7)),
        partial(_triplets, margin=0.5),
        equal=None,
        smooth=False,
    ),
]
