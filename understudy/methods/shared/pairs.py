"""Code for terms on pairs of taps: base classes, connectors between two taps, vectors of maps."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.taps import Pair, Tap
from understudy.taps.modules import Chain, MeanOverPlaces, Resize
from understudy.taps.regressors import regressor


@dataclass(frozen=True)
class OnePair(Term):
    """A term that compares the values at two taps: those of the pair in the field that ``named`` names."""

    named: ClassVar[str]

    def __post_init__(self) -> None:
        Pair.parse(getattr(self, self.named))

    @property
    def taps(self) -> Pair:
        """The pair of taps, as an object."""
        return Pair.parse(getattr(self, self.named))

    @property
    def reads(self) -> Reads:
        return Reads.pairs((self.taps,))

    def traced(self, shapes: Shapes) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's value of a small batch."""
        taps = self.taps
        return shapes.student[taps.student], shapes.teacher[taps.teacher]

    def values(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """The student's and the teacher's value of the batch."""
        taps = self.taps
        return reading.student[taps.student], reading.teacher[taps.teacher]


@dataclass(frozen=True)
class PairTerm(OnePair):
    """A term on any ``pair`` of taps; a method proposes the middle of both networks."""

    named: ClassVar[str] = "pair"
    pair: str


@dataclass(frozen=True)
class MapsTerm(OnePair):
    """A term on the pair of last ``maps``, before they are pooled."""

    named: ClassVar[str] = "maps"
    maps: str


@dataclass(frozen=True)
class EmbeddingTerm(OnePair):
    """A term on the inputs of both classifiers, the ``embedding``."""

    named: ClassVar[str] = "embedding"
    embedding: str


@dataclass(frozen=True)
class PairsTerm(Term):
    """A term that compares the values at several pairs of taps; a single pair needs no brackets."""

    pairs: tuple[str, ...]
    least: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", named_pairs(self, self.pairs, least=self.least))

    @property
    def reads(self) -> Reads:
        return Reads.pairs(parsed(self.pairs))

    @property
    def student_taps(self) -> tuple[Tap, ...]:
        """The student's tap of each pair."""
        return tuple(pair.student for pair in parsed(self.pairs))

    def traced(self, shapes: Shapes) -> list[tuple[Tensor, Tensor]]:
        """For each pair the student's and the teacher's value of a small batch."""
        return [(shapes.student[pair.student], shapes.teacher[pair.teacher]) for pair in parsed(self.pairs)]

    def values(self, reading: Reading) -> list[tuple[Tensor, Tensor]]:
        """For each pair the student's and the teacher's value of the batch."""
        return [(reading.student[pair.student], reading.teacher[pair.teacher]) for pair in parsed(self.pairs)]


def named_pairs(term: Term, pairs: str | Iterable[str], *, least: int = 1) -> tuple[str, ...]:
    """Pairs as a term keeps them, each one understood; a single one needs no brackets."""
    texts = (pairs,) if isinstance(pairs, str) else tuple(pairs)
    parsed(texts)
    if len(texts) < least:
        raise UserError(f"{type(term).__name__}: {len(texts)} pairs of taps are too few, {least} is the least")
    return texts


@lru_cache
def parsed(pairs: tuple[str, ...]) -> tuple[Pair, ...]:
    return tuple(map(Pair.parse, pairs))


def summed(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).sum(0)


def halved_backwards(values: Iterable[Tensor]) -> Tensor:
    """The last one whole, the one before it half, and so on."""
    total: Tensor | None = None
    for value in values:
        total = value if total is None else total / 2 + value
    assert total is not None
    return total


def is_rectified(value: Tensor) -> bool:
    """Whether a traced value is the output of a ReLU: no value is negative."""
    return not bool((value < 0).any())


def after_relu(pairs: tuple[str, ...], shapes: Shapes, *, student: bool) -> Iterator[str]:
    """A remark for taps that read what a ReLU has cut, where a method reads what comes before."""
    sides = [("teacher", shapes.teacher, [pair.teacher for pair in parsed(pairs)])]
    if student:
        sides.append(("student", shapes.student, [pair.student for pair in parsed(pairs)]))
    for called, answer, taps in sides:
        if cut := [str(tap) for tap in taps if answer[tap].ndim > 2 and is_rectified(answer[tap])]:
            yield (
                f"of the {called} it reads {', '.join(map(repr, cut))} after the ReLU, the published method before: "
                "name a '...relu:input' or a batch norm if the network has one"
            )


def connector(student: Tensor, teacher: Tensor) -> nn.Module:
    """AB's and OFD's way to the teacher's channels: 1x1 convolution (resized to its grid) and batch norm, no bias."""
    if student.ndim == teacher.ndim == 2:
        channels = teacher.shape[1]
        return Chain(nn.Linear(student.shape[1], channels, bias=False), nn.BatchNorm1d(channels)).to(student.device)
    if student.ndim != 4 or teacher.ndim != 4:
        shapes = f"the student's {tuple(student.shape)} and the teacher's {tuple(teacher.shape)}"
        raise UserError(f"a connector joins maps with maps and vectors with vectors, not {shapes}: tap others")
    projection = nn.Conv2d(student.shape[1], teacher.shape[1], 1, bias=False)
    nn.init.kaiming_normal_(projection.weight, mode="fan_out")
    grid = (teacher.shape[2], teacher.shape[3])
    resize = [] if student.shape[2:] == teacher.shape[2:] else [Resize(grid)]
    return Chain(*resize, projection, nn.BatchNorm2d(teacher.shape[1])).to(student.device)


def as_vectors(values: Tensor) -> Tensor:
    """(N, D): maps and tokens are averaged over their places."""
    return values if values.ndim == 2 else MeanOverPlaces()(values)


def vector_regressor(student: Tensor, teacher: Tensor) -> nn.Module | None:
    return regressor(as_vectors(student), as_vectors(teacher))


def batch_mean_by_class(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Each class's mean over the batch, (classes, D), and which classes are there, (classes, 1)."""
    members = torch.nn.functional.one_hot(labels, classes).to(features.dtype)
    with torch.autocast(features.device.type, enabled=False):
        counts = members.sum(0).unsqueeze(1)
        return members.T @ features / counts.clamp_min(1), counts > 0
