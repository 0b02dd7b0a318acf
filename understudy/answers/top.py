"""The largest logits of an answer, and what all other classes share."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.answers.options import StoredAnswers
from understudy.errors import UserError
from understudy.objective import Objective
from understudy.precision import wide
from understudy.taps import Answer

WORD = 8  # bytes
LEFT_OUT = 0.2  # of the teacher's probability: where classes that are not stored have more, it is said


@dataclass(frozen=True)
class Top:
    """The largest logits with their classes, and the probability of all others together, which they share alike.

    At temperature 1 the probabilities of the largest are exact. The others get ``log(mean(exp(z)))`` of themselves as
    their logit, each the same. A higher temperature gives them more than their due, and most of the probability, of
    which nothing is known then but its sum; see ``left_out``.
    """

    shape: tuple[int, ...]
    given: str
    kept: str

    coarse = 0.0  # by how much a record may differ from an answer, beyond rounding

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
        return -(-(self.count + 1) * (dtype_named(self.given).itemsize + 4) // WORD)

    def encode(self, values: Tensor) -> Tensor:
        largest, classes, share = largest_of(values, self.count)
        numbers = torch.cat((largest, share), 1).view(torch.uint8)
        named = F.pad(classes.int(), (0, 1)).view(torch.uint8)
        return in_words(torch.cat((numbers, named), 1))

    def decode(self, words: Tensor) -> Tensor:
        kind, each = dtype_named(self.given), self.count + 1
        rows = words.view(torch.uint8)
        numbers = rows[:, : each * kind.itemsize].contiguous().view(kind)
        classes = rows[:, each * kind.itemsize : each * (kind.itemsize + 4)].contiguous().view(torch.int32)
        logits = numbers[:, -1:].repeat(1, self.shape[0])
        return logits.scatter(1, classes[:, :-1].long(), numbers[:, :-1])

    def comparable(self, values: Tensor) -> Tensor:
        return values.topk(self.count, 1).values

    def describe(self) -> dict[str, object]:
        return asdict(self)


def largest_of(values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """So many of the largest logits, falling, their classes, and the logit that each of the others gets."""
    logits = values.cpu()
    largest, classes = logits.topk(count, 1)
    others = logits.scatter(1, classes, -torch.inf).float().logsumexp(1, keepdim=True)
    return largest, classes, (others - math.log(logits.shape[1] - count)).to(logits.dtype)


def left_out(logits: Tensor, count: int, temperature: float) -> float:
    """The share of the probability that all but the largest have together at a temperature, the mean over a batch.

    >>> logits = torch.tensor([[4.0, 0.0, 0.0, 0.0, 0.0]])
    >>> round(left_out(logits, 1, 1.0), 2), round(left_out(logits, 1, 4.0), 2)
    (0.07, 0.6)
    """
    probabilities = (wide(logits) / temperature).softmax(-1)
    return 1 - probabilities.topk(count, -1).values.sum(-1).mean().item()


def flattened(stored: StoredAnswers, objective: Objective, answers: Sequence[Answer]) -> Iterator[str]:
    """The terms to which ``answers.top`` leaves little of the teacher's answers, each with the reason.

    Args:
        answers: the teachers' logits as they are read from a file.
    """
    assert stored.top is not None
    for name, part in objective.parts.items():
        term, temperature = part.term, part.term.teacher_temperature
        if not term.reads.teacher_output or (term.likeliest is not None and term.likeliest <= stored.top):
            continue
        if temperature == math.inf:
            yield (
                f"term {name!r} reads the teacher's logits as numbers, and those of all classes which answers.top = "
                f"{stored.top} leaves out are the same: store all logits"
            )
            continue
        share = max(left_out(answer.logits, stored.top, temperature) for answer in answers)
        if share > LEFT_OUT:
            yield (
                f"term {name!r}: at temperature {temperature:g}, {share:.0%} of the teacher's probability is that of "
                f"classes which answers.top = {stored.top} leaves out, and which share it alike: take temperature 1, a "
                "larger top, or all logits"
            )


def in_words(rows: Tensor) -> Tensor:
    """Rows of bytes as words of 64 bits, filled up with zeros."""
    return F.pad(rows, (0, -rows.shape[1] % WORD)).view(torch.int64)


def dtype_named(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype
