"""One value of one sample as a record of whole 64-bit words, and back: bit for bit where it is kept exactly."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError

WORD = 8  # bytes


class Form(Protocol):
    """The form of a value in its record. ``given`` is the type that terms get, ``kept`` the type in the record."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def given(self) -> str: ...

    @property
    def kept(self) -> str: ...

    @property
    def words(self) -> int:
        """Of one record."""

    def encode(self, values: Tensor) -> Tensor:
        """A batch of values as one row of words each, on the CPU."""

    def decode(self, words: Tensor) -> Tensor: ...

    def comparable(self, values: Tensor) -> Tensor:
        """The part of a value that a record keeps, up to rounding."""

    def describe(self) -> dict[str, object]: ...


def form_of(values: Tensor, kept: str) -> Form:
    """The form of a batch of values: ``"exact"``, the name of a type, or ``"top-5"``."""
    return Top.of(values, kept) if kept.startswith("top-") else Dense.of(values, kept)


def read_form(described: Mapping[str, object]) -> Form:
    """The form that ``describe`` described."""
    kind: Callable[..., Form] = Top if str(described["kept"]).startswith("top-") else Dense
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in described.items()})


@dataclass(frozen=True)
class Dense:
    """All numbers of a value.

    ``shape`` and ``order`` are those of a sample: its dimensions, and their order in memory from the outermost, so that
    channels-last values are read as such. ``kept`` is the type in the record, ``given`` the one that terms get.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    given: str
    kept: str

    @classmethod
    def of(cls, values: Tensor, kept: str) -> "Dense":
        dimensions = range(values.ndim - 1)
        order = tuple(sorted(dimensions, key=lambda d: -values.stride(d + 1)))
        given = str(values.dtype).removeprefix("torch.")
        return cls(tuple(values.shape[1:]), order, given, given if kept == "exact" else kept)

    def describe(self) -> dict[str, object]:
        return asdict(self)

    @property
    def bytes(self) -> int:
        return torch.Size(self.shape).numel() * _dtype(self.kept).itemsize

    @property
    def words(self) -> int:
        return -(-self.bytes // WORD)

    def encode(self, values: Tensor) -> Tensor:
        plain = values.permute(0, *(d + 1 for d in self.order)).to(_dtype(self.kept)).contiguous().cpu()
        if self.kept == "float16" and not torch.isfinite(plain).all() and torch.isfinite(values).all():
            raise UserError('a hidden value of the teacher is too large for float16: set answers.taps = "bfloat16"')
        return _words(plain.reshape(len(plain), -1).view(torch.uint8))

    def decode(self, words: Tensor) -> Tensor:
        rows = words.view(torch.uint8)[:, : self.bytes].contiguous().view(_dtype(self.kept))
        values = rows.view(len(words), *(self.shape[d] for d in self.order))
        back = (0, *(self.order.index(d) + 1 for d in range(len(self.order))))
        return values.permute(back).to(_dtype(self.given))

    def comparable(self, values: Tensor) -> Tensor:
        return values


@dataclass(frozen=True)
class Top:
    """The largest logits with their classes, and the probability of all others together, which they share alike.

    At temperature 1 the probabilities of the largest are exact. The others get ``log(mean(exp(z)))`` of themselves as
    their logit, each the same; so a higher temperature gives them a little more than their due.
    """

    shape: tuple[int, ...]
    given: str
    kept: str

    @classmethod
    def of(cls, values: Tensor, kept: str) -> "Top":
        form = cls(tuple(values.shape[1:]), str(values.dtype).removeprefix("torch."), kept)
        if values.ndim != 2 or form.count >= values.shape[1]:
            raise UserError(f"answers.top = {form.count}: of logits with shape {form.shape} that leaves nothing out")
        return form

    @property
    def count(self) -> int:
        return int(self.kept.removeprefix("top-"))

    @property
    def words(self) -> int:
        return -(-(self.count + 1) * (_dtype(self.given).itemsize + 4) // WORD)

    def encode(self, values: Tensor) -> Tensor:
        logits = values.cpu()
        largest, classes = logits.topk(self.count, 1)
        others = logits.scatter(1, classes, -torch.inf).float().logsumexp(1, keepdim=True)
        share = others - math.log(logits.shape[1] - self.count)
        numbers = torch.cat((largest, share.to(logits.dtype)), 1).view(torch.uint8)
        named = F.pad(classes.int(), (0, 1)).view(torch.uint8)
        return _words(torch.cat((numbers, named), 1))

    def decode(self, words: Tensor) -> Tensor:
        kind, each = _dtype(self.given), self.count + 1
        rows = words.view(torch.uint8)
        numbers = rows[:, : each * kind.itemsize].contiguous().view(kind)
        classes = rows[:, each * kind.itemsize : each * (kind.itemsize + 4)].contiguous().view(torch.int32)
        logits = numbers[:, -1:].repeat(1, self.shape[0])
        return logits.scatter(1, classes[:, :-1].long(), numbers[:, :-1])

    def comparable(self, values: Tensor) -> Tensor:
        return values.topk(self.count, 1).values

    def describe(self) -> dict[str, object]:
        return asdict(self)


def _words(rows: Tensor) -> Tensor:
    return F.pad(rows, (0, -rows.shape[1] % WORD)).view(torch.int64)


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype
