"""Losses of detectors: on boxes, and on maps whose places are weighed by them."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from tests.losses.table import BATCH, Row, normal
from understudy.losses import bounded_boxes, bounded_numbers, box_distance, focal_features, number_distance, pearson

PLACES = 4


def boxes(g: torch.Generator) -> Tensor:
    """Boxes that overlap those of another call, and none of which is empty."""
    low = torch.rand(BATCH, PLACES, 2, generator=g, dtype=torch.float64)
    return torch.cat((low, low + 1 + torch.rand(BATCH, PLACES, 2, generator=g, dtype=torch.float64)), 2)


def weights(g: torch.Generator) -> Tensor:
    return torch.rand(BATCH, PLACES, generator=g, dtype=torch.float64) + 0.1


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (values * weights).sum(1) / np.maximum(1, weights.sum(1))


def one_minus_giou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    def area(corners: np.ndarray) -> np.ndarray:
        return np.maximum(corners[..., 2] - corners[..., 0], 0) * np.maximum(corners[..., 3] - corners[..., 1], 0)

    within = np.concatenate((np.maximum(one, other)[..., :2], np.minimum(one, other)[..., 2:]), 2)
    around = np.concatenate((np.minimum(one, other)[..., :2], np.maximum(one, other)[..., 2:]), 2)
    union = area(one) + area(other) - area(within)
    return 1 - area(within) / union + (area(around) - union) / area(around)


def sides(corners: np.ndarray) -> np.ndarray:
    return np.concatenate((corners[..., 2:] - corners[..., :2],) * 2, 2)


def huber(student: np.ndarray, teacher: np.ndarray, weights: np.ndarray, delta: float = 0.1) -> np.ndarray:
    apart = np.abs((student - teacher) / sides(teacher))
    return mean(np.where(apart < delta, apart**2 / 2, delta * (apart - delta / 2)).mean(2), weights)


def bounded(
    student: np.ndarray, teacher: np.ndarray, targets: np.ndarray, weights: np.ndarray, margin: float = 0.1
) -> np.ndarray:
    own, others = ((((some - targets) / sides(targets)) ** 2).sum(2) for some in (student, teacher))
    return mean(np.where(own + margin > others, own, 0), weights)


numbers = normal(PLACES, 5)


def known(g: torch.Generator) -> Tensor:
    """Which numbers of which places count."""
    return (torch.rand(BATCH, PLACES, 5, generator=g, dtype=torch.float64) > 0.4).double()


def huber_of_numbers(student: np.ndarray, teacher: np.ndarray, weights: np.ndarray) -> np.ndarray:
    apart = np.abs(student - teacher)
    return mean(np.where(apart < 0.7, apart**2 / 2, 0.7 * (apart - 0.35)).mean(2), weights)


def bounded_of_numbers(student: np.ndarray, teacher: np.ndarray, targets: np.ndarray, known: np.ndarray) -> np.ndarray:
    own, others = (((some - targets) ** 2 * known).sum(2) for some in (student, teacher))
    return mean(np.where(own + 0.1 > others, own, 0), known.max(2))


ROWS = [
    Row(
        "box_distance",
        box_distance,
        (boxes, boxes, weights),
        lambda s, t, w: mean(one_minus_giou(s, t), w),
        smooth=False,
    ),
    Row("box_distance, huber", partial(box_distance, form="huber"), (boxes, boxes, weights), huber),
    Row(
        "bounded_boxes",
        partial(bounded_boxes, margin=0.1),
        (boxes, boxes, boxes, weights),
        bounded,
        equal=None,
        smooth=False,
    ),
    Row("number_distance", partial(number_distance, delta=0.7), (numbers, numbers, weights), huber_of_numbers),
    Row(
        "bounded_numbers",
        partial(bounded_numbers, margin=0.1),
        (numbers, numbers, numbers, known),
        bounded_of_numbers,
        equal=None,
        smooth=False,
    ),
]


MAP = normal(3, 4, 5)


def places(g: torch.Generator) -> Tensor:
    return torch.rand(BATCH, 4, 5, generator=g, dtype=torch.float64)


def attention(maps: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    def spread(values: np.ndarray) -> np.ndarray:
        powers = np.exp(values.reshape(BATCH, -1) / temperature)
        return (powers / powers.mean(1, keepdims=True)).reshape(values.shape)

    return spread(np.abs(maps).mean(1)), spread(np.abs(maps).mean((2, 3)))


def focal(student: np.ndarray, teacher: np.ndarray, objects: np.ndarray, background: np.ndarray) -> np.ndarray:
    (own_places, own_channels), (where, which) = attention(student, 0.7), attention(teacher, 0.7)
    squared = (student - teacher) ** 2 * which[:, :, None, None] * where[:, None]
    total = (squared * (0.3 * objects + 0.1 * background)[:, None]).sum((1, 2, 3))
    return total + 0.2 * (np.abs(own_places - where).sum((1, 2)) + np.abs(own_channels - which).sum(1))


def correlations(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    own, other = ((x - x.mean((0, 2, 3), keepdims=True)) / (x.std((0, 2, 3), ddof=1, keepdims=True) + 1e-6)
                  for x in (student, teacher))  # fmt: skip
    return ((own - other) ** 2).mean((1, 2, 3)) / 2


ROWS += [
    Row(
        "focal_features",
        partial(focal_features, temperature=0.7, alpha=0.3, beta=0.1, gamma=0.2),
        (MAP, MAP, places, places),
        focal,
        smooth=False,
    ),
    Row("pearson", pearson, (MAP, MAP), correlations, alone=False),
]
