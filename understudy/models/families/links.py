"""Embeddings of entities and relations that score all tails of (head, relation): ComplEx, DistMult, TransE, RotatE."""

from abc import abstractmethod
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import Interval, Width
from understudy.models.family import Family

Norm = Literal["l1", "l2"]
Rate = Annotated[float, Interval(ge=0, lt=1)]
Spread = Annotated[float, Interval(gt=0, le=1_000)]


class Links(nn.Module):
    """Called with ``head`` and ``relation``, both (N): scores (N, E) of all entities.

    With ``candidates`` (N, C), which are the same in every row, only these are scored: (N, C). In evaluation scores are
    in float32 under autocast, too: in bfloat16 many would be equal, and ranks would be of ties.
    """

    def __init__(
        self,
        count: tuple[int, int],
        values: tuple[int, int],
        drop: tuple[float, float] = (0.0, 0.0),
        spread: Spread = 0.3,
    ):
        super().__init__()
        self.entities, self.relations = (nn.Embedding(*sizes) for sizes in zip(count, values, strict=True))
        self.drop, self.drop_relation = map(nn.Dropout, drop)
        for embedding in (self.entities, self.relations):
            nn.init.uniform_(embedding.weight, -spread, spread)

    def forward(self, head: Tensor, relation: Tensor, candidates: Tensor | None = None) -> Tensor:
        if not self.training and torch.is_autocast_enabled(head.device.type):
            with torch.autocast(head.device.type, enabled=False):
                return self.forward(head, relation, candidates)
        tails = self.entities.weight if candidates is None else self.entities(candidates[0])
        query = self.query(self.drop(self.entities(head)), self.drop_relation(self.relations(relation)))
        return self.scores(query, self.drop(tails))

    @abstractmethod
    def query(self, head: Tensor, relation: Tensor) -> Tensor:
        """What a tail is compared with: (N, D)."""

    def scores(self, query: Tensor, tails: Tensor) -> Tensor:
        """Of queries (N, D) and tails (C, D): (N, C); by default their inner products."""
        return query @ tails.mT


class ComplEx(Links):
    """``Re <h, r, conj(t)>`` in complex numbers; the first half of an embedding is the real part."""

    def query(self, head: Tensor, relation: Tensor) -> Tensor:
        (a, b), (c, d) = head.chunk(2, 1), relation.chunk(2, 1)
        return torch.cat((a * c - b * d, a * d + b * c), 1)

    def squares(self, embeddings: Tensor) -> Tensor:
        """The squared moduli of the complex numbers of embeddings (..., 2 D): (..., D)."""
        real, imaginary = embeddings.chunk(2, -1)
        return real.square() + imaginary.square()


class DistMult(Links):
    """``<h, r, t>``."""

    def query(self, head: Tensor, relation: Tensor) -> Tensor:
        return head * relation

    def squares(self, embeddings: Tensor) -> Tensor:
        """The squares of the numbers of embeddings (..., D)."""
        return embeddings.square()


class Distances(Links):
    """The score of a tail is its negative distance from the query."""

    def __init__(
        self,
        count: tuple[int, int],
        values: tuple[int, int],
        drop: tuple[float, float] = (0.0, 0.0),
        spread: Spread = 0.3,
        norm: Norm = "l2",
    ):
        super().__init__(count, values, drop, spread)
        self.norm = norm

    def scores(self, query: Tensor, tails: Tensor) -> Tensor:
        if self.norm == "l1":
            return -self.sums(query.unsqueeze(1) - tails)
        squares = query.square().sum(1, keepdim=True) - 2 * query @ tails.mT + tails.square().sum(1)
        return -squares.clamp_min(1e-12).sqrt()

    def sums(self, apart: Tensor) -> Tensor:
        """The first norm of differences (N, C, D)."""
        return apart.abs().sum(2)


class TransE(Distances):
    """``-|| h + r - t ||``."""

    def query(self, head: Tensor, relation: Tensor) -> Tensor:
        return head + relation


class RotatE(Distances):
    """``-|| h r - t ||`` in complex numbers, where r turns each by an angle."""

    def query(self, head: Tensor, relation: Tensor) -> Tensor:
        (a, b), c, d = head.chunk(2, 1), relation.cos(), relation.sin()
        return torch.cat((a * c - b * d, a * d + b * c), 1)

    def sums(self, apart: Tensor) -> Tensor:
        real, imaginary = apart.chunk(2, 2)
        return (real.square() + imaginary.square()).clamp_min(1e-12).sqrt().sum(2)


def complex_(
    classes: Width = 2,
    channels: Width = 2,
    *,
    width: Width = 64,
    dropout: Rate = 0.0,
    relation_dropout: Rate = 0.0,
    spread: Spread = 0.3,
) -> ComplEx:
    """ComplEx of ``width`` complex numbers; ``classes`` are the entities, ``channels`` the relations and inverses.

    Reference: Trouillon et al., "Complex embeddings for simple link prediction", ICML 2016.

    Args:
        width: complex numbers of an embedding.
        dropout, relation_dropout: of the embeddings of entities, those that are scored included, and of relations.
        spread: embeddings begin uniformly between ``-spread`` and ``spread``.

    >>> network = complex_(5, 4, width=3)
    >>> network(head=torch.tensor([0, 1]), relation=torch.tensor([3, 0])).shape
    torch.Size([2, 5])
    """
    return ComplEx((classes, channels), (2 * width, 2 * width), (dropout, relation_dropout), spread)


def distmult(
    classes: Width = 2,
    channels: Width = 2,
    *,
    width: Width = 64,
    dropout: Rate = 0.0,
    relation_dropout: Rate = 0.0,
    spread: Spread = 0.3,
) -> DistMult:
    """DistMult of ``width`` numbers; the other arguments are those of ``complex``.

    Reference: Yang et al., "Embedding entities and relations for learning and inference in knowledge bases", ICLR 2015.

    >>> distmult(5, 4, width=3)(torch.tensor([0]), torch.tensor([1]), torch.tensor([[4, 2]])).shape
    torch.Size([1, 2])
    """
    return DistMult((classes, channels), (width, width), (dropout, relation_dropout), spread)


def transe(
    classes: Width = 2,
    channels: Width = 2,
    *,
    width: Width = 64,
    norm: Norm = "l2",
    dropout: Rate = 0.0,
    relation_dropout: Rate = 0.0,
    spread: Spread = 0.3,
) -> TransE:
    """TransE of ``width`` numbers; the other arguments are those of ``complex``.

    Reference: Bordes et al., "Translating embeddings for modeling multi-relational data", NIPS 2013.
    Differences: the paper keeps entities at length 1 and trains by a margin; here it is the loss of the task.

    Args:
        norm: ``"l2"`` needs memory for the scores alone, ``"l1"`` as much for each number of an embedding.

    >>> transe(5, 4, width=3)(torch.tensor([0]), torch.tensor([1])).max() <= 0
    tensor(True)
    """
    return TransE((classes, channels), (width, width), (dropout, relation_dropout), spread, norm)


def rotate(
    classes: Width = 2,
    channels: Width = 2,
    *,
    width: Width = 64,
    norm: Norm = "l2",
    dropout: Rate = 0.0,
    relation_dropout: Rate = 0.0,
    spread: Spread = 0.3,
) -> RotatE:
    """RotatE of ``width`` complex numbers; the other arguments are those of ``complex`` and ``transe``.

    Reference: Sun et al., "RotatE: knowledge graph embedding by relational rotation in complex space", ICLR 2019.
    Differences: the authors' distance is ``"l1"``, the sum of the moduli; angles begin within ``spread``.

    >>> rotate(5, 4, width=3, norm="l1")(torch.tensor([0]), torch.tensor([1])).shape
    torch.Size([1, 5])
    """
    return RotatE((classes, channels), (2 * width, width), (dropout, relation_dropout), spread, norm)


COMPLEX = Family("complex", "ComplEx: links by products of complex embeddings of a width", complex_)
DISTMULT = Family("distmult", "DistMult: links by products of embeddings of a width", distmult)
TRANSE = Family("transe", "TransE: links by translations of embeddings of a width", transe)
ROTATE = Family("rotate", "RotatE: links by rotations of complex embeddings of a width", rotate)
