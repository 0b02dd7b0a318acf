"""One value of one sample as a record of whole 64-bit words, and back: bit for bit where it is kept exactly."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor

from understudy.answers.packed import SUFFIX, Packed
from understudy.answers.top import WORD as WORD
from understudy.answers.top import Top, dtype_named, in_words
from understudy.errors import UserError


class Form(Protocol):
    """The form of a value in its record. ``given`` is the type that terms get, ``kept`` the type in the record."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def given(self) -> str: ...

    @property
    def kept(self) -> str: ...

    @property
    def coarse(self) -> float:
        """By how much what is comparable of a record may differ from the answer, beyond rounding."""

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
    """The form of a batch of values: ``"exact"``, the name of a type, ``"top-5"`` or ``"top-5-packed"``."""
    return _kind(kept).of(values, kept)


def read_form(described: Mapping[str, object]) -> Form:
    """The form that ``describe`` described."""
    kind: Callable[..., Form] = _kind(str(described["kept"]))
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in described.items()})


def _kind(kept: str) -> "type[Dense | Top | Packed]":
    if not kept.startswith("top-"):
        return Dense
    return Packed if kept.endswith(SUFFIX) else Top


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

    coarse = 0.0

    @classmethod
    def of(cls, values: Tensor, kept: str) -> "Dense":
        dimensions = range(values.ndim - 1)
        order = tuple(sorted(dimensions, key=lambda d: -values.stride(d + 1)))
        given = str(values.dtype).removeprefix("torch.")
        return cls(
            tuple(values.shape[1:]), order, given, given if kept == "exact" or not values.is_floating_point() else kept
        )

    def describe(self) -> dict[str, object]:
        return asdict(self)

    @property
    def bytes(self) -> int:
        return torch.Size(self.shape).numel() * dtype_named(self.kept).itemsize

    @property
    def words(self) -> int:
        return -(-self.bytes // WORD)

    def encode(self, values: Tensor) -> Tensor:
        plain = values.permute(0, *(d + 1 for d in self.order)).to(dtype_named(self.kept)).contiguous().cpu()
        if self.kept == "float16" and not torch.isfinite(plain).all() and torch.isfinite(values).all():
            raise UserError(
                'a value of the teacher is too large for float16: set answers.taps or answers.logits = "bfloat16"'
            )
        return in_words(plain.reshape(len(plain), -1).view(torch.uint8))

    def decode(self, words: Tensor) -> Tensor:
        rows = words.view(torch.uint8)[:, : self.bytes].contiguous().view(dtype_named(self.kept))
        values = rows.view(len(words), *(self.shape[d] for d in self.order))
        back = (0, *(self.order.index(d) + 1 for d in range(len(self.order))))
        return values.permute(back).to(dtype_named(self.given))

    def comparable(self, values: Tensor) -> Tensor:
        return values
