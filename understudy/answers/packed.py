"""The largest logits in a few bits each: their classes, and how far below the largest one they lie."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.answers.top import Top, dtype_named, largest_of
from understudy.errors import UserError

SUFFIX = "-packed"
BITS = 7  # of a distance below the largest logit
SHARED_BITS = 13  # of that of all other classes, which may be many
FARTHEST = 64.0  # the distance of the last level; what lies farther is as good as never answered


def _levels(bits: int) -> Tensor:
    last = 2**bits - 1
    levels = [math.expm1(n / last * math.log1p(FARTHEST)) for n in range(last + 1)]
    return torch.tensor(levels, dtype=torch.float64)


LEVELS, SHARED_LEVELS = _levels(BITS), _levels(SHARED_BITS)


@dataclass(frozen=True)
class Packed:
    """The largest logits of an answer as `Top` keeps them, rounded, in as few bits as they take.

    A record is a string of bits, each number with its lowest bit first: the largest logit as float16; the classes in
    falling order of their logits, each in as many bits as the last class needs; in 7 bits each the distances of the
    other logits from the largest one, and in 13 bits that of the share of all other classes. The levels of a distance
    grow from 0 to 64 as ``expm1``. With ten of 1,000 classes a record has 24 bytes.
    """

    shape: tuple[int, ...]
    given: str
    kept: str

    coarse = 0.02  # half a level is 0.004 of all levels

    @classmethod
    def of(cls, values: Tensor, kept: str) -> "Packed":
        plain = Top.of(values, kept.removesuffix(SUFFIX))
        return cls(plain.shape, plain.given, kept)

    @property
    def count(self) -> int:
        return int(self.kept.removeprefix("top-").removesuffix(SUFFIX))

    @property
    def widths(self) -> list[int]:
        """The bits of each number of a record."""
        each = (self.shape[0] - 1).bit_length()
        return [16, *[each] * self.count, *[BITS] * (self.count - 1), SHARED_BITS]

    @property
    def words(self) -> int:
        return -(-sum(self.widths) // 64)

    def encode(self, values: Tensor) -> Tensor:
        logits, classes, share = largest_of(values, self.count)
        if logits.isnan().any() or logits[:, 0].isinf().any():
            raise UserError("an answer of the teacher is NaN or infinity, which answers.packed cannot keep")
        top = logits[:, :1].clamp(-65504, 65504).half()
        below, shared = (_nearest(logits[:, :1] - x, of) for x, of in ((logits[:, 1:], LEVELS), (share, SHARED_LEVELS)))
        first = top.view(torch.int16).long() & 0xFFFF
        return _packed(torch.cat((first, classes, below, shared), 1), self.widths, self.words)

    def decode(self, words: Tensor) -> Tensor:
        numbers = _unpacked(words, self.widths)
        first, classes, below, shared = numbers.split((1, self.count, self.count - 1, 1), 1)
        top = first.to(torch.int16).view(torch.float16).double()
        logits = (top - SHARED_LEVELS[shared]).repeat(1, self.shape[0])
        placed: Tensor = logits.scatter(1, classes, torch.cat((top, top - LEVELS[below]), 1))
        return placed.to(dtype_named(self.given))

    def comparable(self, values: Tensor) -> Tensor:
        largest = values.float().topk(self.count, 1).values
        below = (largest[:, :1] - largest).clamp(max=FARTHEST)
        return F.pad(below.log1p(), (0, 1), value=math.log1p(FARTHEST))  # differences count as shares of all levels

    def describe(self) -> dict[str, object]:
        return asdict(self)


def _nearest(distances: Tensor, levels: Tensor) -> Tensor:
    """The numbers of the levels that are nearest to these distances."""
    return torch.bucketize(distances.double().contiguous(), (levels[1:] + levels[:-1]) / 2)


def _packed(numbers: Tensor, widths: Sequence[int], words: int) -> Tensor:
    """Rows of numbers of so many bits each, one after another, in words of 64 bits."""
    packed, at = torch.zeros(len(numbers), words, dtype=torch.int64), 0
    for number, width in zip(numbers.unbind(1), widths, strict=True):
        word, shift = divmod(at, 64)
        packed[:, word] |= number << shift
        if shift + width > 64:
            packed[:, word + 1] |= number >> (64 - shift)
        at += width
    return packed


def _unpacked(words: Tensor, widths: Sequence[int]) -> Tensor:
    numbers, at = [], 0
    for width in widths:
        word, shift = divmod(at, 64)
        number = words[:, word] >> shift
        if shift + width > 64:
            low = 64 - shift
            number = (number & ((1 << low) - 1)) | (words[:, word + 1] << low)
        numbers.append(number & ((1 << width) - 1))
        at += width
    return torch.stack(numbers, 1)
