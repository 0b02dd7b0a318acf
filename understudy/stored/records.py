"""One value of one sample as a record of whole 64-bit words, and back, bit for bit where it is kept exactly."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError

WORD = 8  # bytes


@dataclass(frozen=True)
class Form:
    """How a value lies in its record.

    ``shape`` and ``order`` are a sample's own: its dimensions, and which of them is outermost in memory, so that what
    was channels-last is so again. ``kept`` is the type in the record, ``given`` the one that terms see.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    given: str
    kept: str

    @classmethod
    def of(cls, values: Tensor, kept: str = "exact") -> "Form":
        """The form of a batch of values; ``kept`` is ``"exact"`` or the name of a type."""
        dimensions = range(values.ndim - 1)
        order = tuple(sorted(dimensions, key=lambda d: -values.stride(d + 1)))
        given = str(values.dtype).removeprefix("torch.")
        return cls(tuple(values.shape[1:]), order, given, given if kept == "exact" else kept)

    @classmethod
    def read(cls, described: dict[str, Any]) -> "Form":
        return cls(tuple(described["shape"]), tuple(described["order"]), described["given"], described["kept"])

    def describe(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def bytes(self) -> int:
        return torch.Size(self.shape).numel() * _dtype(self.kept).itemsize

    @property
    def words(self) -> int:
        return -(-self.bytes // WORD)

    def encode(self, values: Tensor) -> Tensor:
        """A batch of values as one row of words each, on the CPU."""
        plain = values.permute(0, *(d + 1 for d in self.order)).to(_dtype(self.kept)).contiguous().cpu()
        if self.kept == "float16" and not torch.isfinite(plain).all() and torch.isfinite(values).all():
            raise UserError('a hidden value of the teacher is too large for float16: set stored.taps = "bfloat16"')
        rows = plain.reshape(len(plain), -1).view(torch.uint8)
        return F.pad(rows, (0, self.words * WORD - self.bytes)).view(torch.int64)

    def decode(self, words: Tensor) -> Tensor:
        rows = words.view(torch.uint8)[:, : self.bytes].contiguous().view(_dtype(self.kept))
        found = rows.view(len(words), *(self.shape[d] for d in self.order))
        back = (0, *(self.order.index(d) + 1 for d in range(len(self.order))))
        return found.permute(back).to(_dtype(self.given))


def _dtype(name: str) -> torch.dtype:
    found = getattr(torch, name)
    assert isinstance(found, torch.dtype)
    return found
