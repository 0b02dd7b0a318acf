"""Losses on the tokens and the attention of transformers."""

from functools import partial

import numpy as np
import torch

from tests.losses.rows_features import unit
from tests.losses.table import BATCH, Row, normal
from understudy.losses import minilm, patience, tinybert_attention, tinybert_hidden

SCORES, TOKENS, TOKEN = normal(2, 4, 4), normal(4, 3), normal(7)
LENGTHS = (4, 2, 1, 3, 4, 2)


def mask(g: torch.Generator) -> torch.Tensor:
    return (torch.arange(4) < torch.tensor(LENGTHS)[:, None]).long()


def _softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _minilm(s: np.ndarray, t: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
    values = np.zeros(BATCH)
    for n in range(BATCH):
        length = 4 if m is None else LENGTHS[n]
        own, other = (_softmax(x[n, :, :length, :length]) for x in (s, t))
        values[n] = (other * np.log(other / own)).sum(2).mean()
    return values


def _squared(s: np.ndarray, t: np.ndarray, m: np.ndarray | None = None) -> np.ndarray:
    values = np.zeros(BATCH)
    for n in range(BATCH):
        length = 4 if m is None else LENGTHS[n]
        places = (slice(None), slice(length), slice(length)) if s.ndim == 4 else slice(length)
        values[n] = ((s[n][places] - t[n][places]) ** 2).mean()
    return values


ROWS = [
    Row("patience", patience, (TOKEN, TOKEN), lambda s, t: ((unit(t) - unit(s)) ** 2).mean(1)),
    Row("patience, values", partial(patience, normalize=False), (TOKEN, TOKEN), lambda s, t: ((t - s) ** 2).mean(1)),
    Row("tinybert_attention", tinybert_attention, (SCORES, SCORES, mask), _squared),
    Row("tinybert_hidden", tinybert_hidden, (TOKENS, TOKENS, mask), _squared),
    Row("minilm", minilm, (SCORES, SCORES, mask), _minilm),
    Row("tinybert_attention, whole", partial(tinybert_attention, mask=None), (SCORES, SCORES), _squared),
    Row("tinybert_hidden, whole", partial(tinybert_hidden, mask=None), (TOKENS, TOKENS), _squared),
    Row("minilm, whole", partial(minilm, mask=None), (SCORES, SCORES), _minilm),
]
