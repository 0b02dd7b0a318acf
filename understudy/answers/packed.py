"""The largest logits in a few bits each: their classes, and how far below the largest one they lie."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from understudy.answers.top import Top, dtype_named, largest_of
from understudy.errors import UserError

SUFFIX = "-packed"
BITS = 7  # of a distance below the largest logit
FARTHEST = 64.0  # the distance of the last level; what lies farther is as good as never answered
LEVELS = torch.tensor([math.expm1(n / 127 * math.log1p(FARTHEST)) for n in range(128)], dtype=torch.float64)


@dataclass(frozen=True)
class Packed:
    """The largest logits of an answer as `Top` keeps them, rounded, in as few bits as they take.

    A record is a string of bits, each number with its lowest bit first: the largest logit as float16; the classes in
    falling order of their logits, each in as many bits as the last class needs; and in 7 bits each the distances of the
    other logits and of the share of all other classes from the largest one. The 128 levels of a distance grow from 0 to
    64 as ``expm1``. With ten of 1,000 classes a record has 24 bytes.
    """

    shape: tuple[int, ...]
    given: str
    kept: str

    coarse = 0.05  # the largest difference of a probability, with room

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
        return [16, *[(self.shape[0] - 1).bit_length()] * self.count, *[BITS] * self.count]

    @property
    def words(self) -> int:
        return -(-sum(self.widths) // 64)

    def encode(self, values: Tensor) -> Tensor:
        logits, classes, share = largest_of(values, self.count)
        if logits.isnan().any() or logits[:, 0].isinf().any():
            raise UserError("an answer of the teacher is NaN or infinity, which answers.packed cannot keep")
        top = logits[:, :1].clamp(-65504, 65504).half()
        below = (logits[:, :1] - torch.cat((logits[:, 1:], share), 1)).double().contiguous()
        levels = torch.bucketize(below, (LEVELS[1:] + LEVELS[:-1]) / 2)
        first = top.view(torch.int16).long() & 0xFFFF
        return _packed(torch.cat((first, classes, levels), 1), self.widths, self.words)

    def decode(self, words: Tensor) -> Tensor:
        numbers = _unpacked(words, self.widths)
        classes, levels = numbers[:, 1 : 1 + self.count], numbers[:, 1 + self.count :]
        top = numbers[:, :1].to(torch.int16).view(torch.float16).double()
        lower = top - LEVELS[levels]
        logits = lower[:, -1:].repeat(1, self.shape[0])
        return logits.scatter(1, classes, torch.cat((top, lower[:, :-1]), 1)).to(dtype_named(self.given))

    def comparable(self, values: Tensor) -> Tensor:
        return values.float().softmax(1).topk(self.count, 1).values

    def describe(self) -> dict[str, object]:
        return asdict(self)


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
