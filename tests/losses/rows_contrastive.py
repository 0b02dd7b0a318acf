"""Contrastive losses."""

from functools import partial

import numpy as np
from torch import Generator, Tensor

from tests.losses.table import BATCH, Row, labels, normal, softmax
from understudy.losses import crd, info_nce

VECTOR = normal(4)


def similarities(g: Generator) -> Tensor:
    """With a partner and 4 others, between -1 and 1."""
    return normal(5)(g).tanh()


def _crd(u: np.ndarray, z: float | None, samples: int, temperature: float) -> np.ndarray:
    powers = np.exp(u / temperature)
    p = powers / (powers.mean() * samples if z is None else z)
    noise = (u.shape[1] - 1) / samples
    h = p / (p + noise)
    return -np.log(h[:, 0]) - sum(np.log(1 - h[:, k]) for k in range(1, u.shape[1]))


def _info_nce(s: np.ndarray, t: np.ndarray, y: np.ndarray | None = None, both: bool = True) -> np.ndarray:
    s, t = (x / np.sqrt((x**2).sum(1, keepdims=True)) for x in (s, t))
    values = np.zeros(BATCH)
    for anchors, partners in ((s, t), (t, s))[: 1 + both]:
        for i in range(BATCH):
            others = [j for j in range(BATCH) if j == i or y is None or y[j] != y[i]]
            chances = softmax(np.array([(anchors[i] * partners[j]).sum() for j in others]), 0.07)
            values[i] -= np.log(chances[others.index(i)])
    return values


def other_classes(student: Tensor, teacher: Tensor, y: Tensor) -> Tensor:
    return info_nce(student, teacher, labels=y)


nce = partial(Row, inputs=(similarities,), teacher=(), equal=None)
in_batch = partial(Row, inputs=(VECTOR, VECTOR), equal=None, alone=False)

ROWS = [
    nce(
        "crd",
        partial(crd, samples=50, temperature=0.5, log_normalizer=np.log(70.0)),
        expected=partial(_crd, z=70.0, samples=50, temperature=0.5),
    ),
    nce(
        "crd, its first batch",
        partial(crd, samples=50),
        expected=partial(_crd, z=None, samples=50, temperature=0.07),
        alone=False,
        smooth=False,  # the estimate of Z is a constant to the gradient
    ),
    in_batch("info nce", info_nce, expected=_info_nce),
    in_batch("info nce, one direction", partial(info_nce, both=False), expected=partial(_info_nce, both=False)),
    in_batch("info nce, other classes", other_classes, inputs=(VECTOR, VECTOR, labels), expected=_info_nce),
]
