"""Losses on boxes."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from tests.losses.table import BATCH, Row
from understudy.losses import bounded_boxes, box_distance

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
]
