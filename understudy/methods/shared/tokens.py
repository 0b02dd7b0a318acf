"""Code for methods on the tokens of transformers: which of them are there, relations between them, masked means."""

from collections.abc import Mapping
from dataclasses import replace
from math import sqrt

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.maps import difference
from understudy.nested import Nested
from understudy.objective.term import Reading
from understudy.precision import wide
from understudy.taps import Answer, Pair, Tap
from understudy.tasks.words import MASK, tables_of

NEVER = -1e4  # a score whose softmax is exactly 0, and whose logarithm is finite


def mask_of(inputs: Nested | None) -> Tensor | None:
    """Which tokens are there and no padding, (N, T), of inputs that say so; None: all of them."""
    mask = inputs.get(MASK) if isinstance(inputs, Mapping) else None
    if tables := tables_of(inputs):
        raise UserError(
            f"teacher and student may read tokens of their own (token_tables {', '.join(sorted(tables))}), and this "
            "method compares them token by token: take one on answers, or on one vector for each text"
        )
    return mask if isinstance(mask, Tensor) else None


def there(reading: Reading) -> Tensor | None:
    """Which tokens of the batch are there, (N, T); None: all of them."""
    return mask_of(reading.inputs)


def relation(rows: Tensor, columns: Tensor) -> Tensor:
    """The scaled products of all tokens, ``r c^T / sqrt(d)``: (N, heads, T, d) and the same to (N, heads, T, T)."""
    with torch.autocast(rows.device.type, enabled=False):
        return wide(rows) @ wide(columns).transpose(2, 3) / sqrt(rows.shape[-1])


def token_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """(N,): the mean of (N, T) over the tokens that are there."""
    if mask is None:
        return values.mean(1)
    check_mask(mask, values.shape[1])
    weights = mask.to(values.dtype)
    return (values * weights).sum(1) / weights.sum(1).clamp_min(1)


def token_mse(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """The mean squared difference of tokens (N, T, D) that are there, one value per sample."""
    return token_mean(difference(student, teacher).square().mean(2), mask)


def check_mask(mask: Tensor, tokens: int) -> None:
    if mask.shape[1] != tokens:
        raise UserError(
            f"{MASK} has {mask.shape[1]} tokens and the tapped value {tokens}: tap a place that keeps the tokens"
        )


def check_attention(student: Tensor, teacher: Tensor) -> None:
    """Two relations (N, heads, T, T) of the same tokens and of as many heads, which are compared one by one."""
    if student.ndim != 4 or student.shape != teacher.shape:
        raise UserError(
            f"the student's attention is {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}: both are (N, "
            "heads, T, T), of the same tokens and of as many heads"
        )


def parts_of(pair: Pair, *forms: str) -> tuple[Pair, ...]:
    """The pair of attention modules read in each of these forms."""
    return tuple(Pair(replace(pair.teacher, form=form), replace(pair.student, form=form)) for form in forms)


def read_relation(answer: Answer, rows: Tap, columns: Tap) -> Tensor:
    """The relation of two taps of an answer."""
    return relation(answer[rows], answer[columns])
