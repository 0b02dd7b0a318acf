"""Link prediction: which entities complete a triple (head, relation, tail).

A sample is a query, a head and a relation, with all of its tails that are known; relations have inverses, so that heads
are asked for as well. An answer scores every entity.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import log, sqrt
from typing import Annotated, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy import randomness
from understudy.bounds import Interval
from understudy.errors import UserError, did_you_mean
from understudy.nested import Nested, Shape
from understudy.precision import exact_dtype, wide
from understudy.tasks.classification import LOGITS
from understudy.tasks.task import LOSS, Figure, Meter, Numbers, Rows, Task, Told, Values, only

HEAD, RELATION, CANDIDATES = "head", "relation", "candidates"
TAILS, KNOWN = "tails", "known"
INVERSE = "inverse of "
TOP = 10  # entities of an answer that are kept of every sample
Equal = Literal["queries", "triples"]
FIGURES = {"hits_at_10": 10, "hits_at_3": 3, "hits_at_1": 1}


@dataclass(frozen=True)
class Links(Task):
    """The tails of (head, relation): answers are scores of all entities (N, E).

    Inputs are ``head`` and ``relation``, both (N). Targets are ``tails`` (N, P), numbers of entities with -1 where
    there are fewer than P, and ``known`` (N, B), the tails that are known to be right, as bits (``as_bits``), which a
    filtered rank leaves out; B is 0 where none are. ``data.from_triples`` makes both from triples.

    The loss is the cross-entropy over all entities; with ``negatives`` over the tails of the batch and so many entities
    drawn at random, the same for teacher and student.

    Args:
        entities, relations: their names; of each relation also its inverse, whose number is ``len(relations)`` higher.
        negatives: how many entities are drawn for each batch; None: every entity is scored.
        equal: what counts alike in the loss: ``"queries"``, each with the mean over its tails, or ``"triples"``: a
            query counts with the sum over its tails, as where each triple is a sample of its own.

    >>> task = Links(("anna", "bert", "rome"), ("lives in",))
    >>> task.told({"logits": torch.tensor([[0.0, 0.0, 4.0]])}, top=1)[0].text
    'rome 96.5 %'
    """

    entities: tuple[str, ...] = ()
    relations: tuple[str, ...] = ()
    negatives: Annotated[int, Interval(ge=1, le=1_000_000_000)] | None = None
    equal: Equal = "queries"

    name: ClassVar[str] = "links"
    rows_per_sample: ClassVar[Literal["one", "many"] | None] = "one"
    takes_words: ClassVar[bool] = True
    likeness: ClassVar[tuple[Figure, ...]] = (
        Figure("agreement", "agrees with the teacher", unit="share"),
        Figure("overlap", "of its first ten in the teacher's", unit="share"),
    )

    def __post_init__(self) -> None:
        if self.negatives is not None and self.negatives < 1:
            raise UserError(f"negatives = {self.negatives}: at least one entity is drawn; leave it out to score all")

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> Self:
        if names is None or isinstance(names, int):
            count = names if isinstance(names, int) else int(_of(targets, TAILS).max()) + 1
            names = [str(number) for number in range(count)]
        make: Callable[..., Self] = cls
        return make(**{"entities": tuple(names), **settings})

    @property
    def figures(self) -> tuple[Figure, ...]:
        count = len(self.entities)
        by_chance = (log(count) + 0.5772) / count if count else None  # the mean of 1 / rank over all ranks, nearly
        return (
            Figure("mrr", "mean reciprocal rank", chance=by_chance),
            *(
                Figure(name, f"hits at {first}", unit="share", chance=first / count if count > first else None)
                for name, first in FIGURES.items()
            ),
        )

    @property
    def names(self) -> tuple[str, ...]:
        return self.entities

    @property
    def about(self) -> str:
        return f"{len(self.entities):,} entities, {len(self.relations):,} relations and their inverses"

    @property
    def draws(self) -> bool:
        return self.negatives is not None

    def sizes(self, shape: Shape) -> tuple[int, ...]:
        """The number of relations with their inverses, and of entities."""
        return 2 * len(self.relations), len(self.entities)

    def luck(self, figure: Figure, samples: int) -> float:
        if figure.name != "mrr" or not self.entities:
            return super().luck(figure, samples)
        return 3 * sqrt(1.6449 / len(self.entities) / samples)  # the mean of 1 / rank^2 is pi^2 / 6 E

    def check(self, targets: Nested) -> None:
        tails, known = _of(targets, TAILS), _of(targets, KNOWN)
        wrong = ((tails < -1) | (tails >= len(self.entities))).any(1).nonzero().flatten()
        if len(wrong):
            first = int(wrong[0])
            raise UserError(
                f"sample {first} has tails {tails[first].tolist()[:5]}, and entities are numbered 0 to "
                f"{len(self.entities) - 1}"
            )
        without = (tails < 0).all(1).nonzero().flatten()
        if len(without):
            raise UserError(f"sample {int(without[0])} has no tail")
        if known.shape[1] not in (0, bytes_of(len(self.entities))):
            raise UserError(f"{KNOWN} has {known.shape[1]} bytes a sample: make it with as_bits, or with no columns")

    def without_labels(self, targets: Nested, count: int) -> Nested:
        """Queries without a tail."""
        tails, known = _of(targets, TAILS), _of(targets, KNOWN)
        return {TAILS: torch.full((count, tails.shape[1]), -1), KNOWN: known.new_zeros(count, known.shape[1])}

    def has_label(self, targets: Nested) -> Tensor:
        return (_of(targets, TAILS) >= 0).any(1)

    def as_targets(self, answer: Values, targets: Nested | None = None) -> Nested:
        """The likeliest tail."""
        chosen = answer[LOGITS].argmax(1, keepdim=True)
        if targets is None:
            return {TAILS: chosen, KNOWN: chosen.new_zeros(len(chosen), 0, dtype=torch.uint8)}
        tails = F.pad(chosen, (0, _of(targets, TAILS).shape[1] - 1), value=-1)
        return {TAILS: tails, KNOWN: torch.zeros_like(_of(targets, KNOWN))}

    def drawn(self, inputs: Nested, targets: Nested, seed: int, number: int, ids: Tensor) -> tuple[Nested, Nested]:
        """A batch that asks for the scores of some entities: its own tails, and those drawn for it."""
        assert isinstance(inputs, Mapping)
        assert self.negatives is not None
        tails = _of(targets, TAILS)
        places = torch.arange(self.negatives, device=ids.device) + ids[0] * self.negatives
        others = randomness.integers(seed, number, places, "negatives", 0, len(self.entities))
        candidates = torch.cat((tails[tails >= 0], others)).unique()
        within = torch.searchsorted(candidates, tails.clamp_min(0))
        asked = {**inputs, CANDIDATES: candidates.expand(len(ids), -1)}
        return asked, {TAILS: torch.where(tails >= 0, within, -1), KNOWN: _of(targets, KNOWN)[:, :0]}

    def answer(self, output: object) -> Values:
        return {LOGITS: only(output, LOGITS)}

    def misfit(self, answer: Values) -> str | None:
        shape = tuple(answer[LOGITS].shape[1:])
        if shape == (len(self.entities),):
            return None
        return f"it answers with shape {shape}, and there are {len(self.entities):,} entities to score"

    def loss(self, answer: Values, targets: Nested, *, smoothing: float = 0.0) -> Tensor:
        """The cross-entropy, the mean or the sum over the tails of a query."""
        shares, tails = wide(answer[LOGITS]).log_softmax(1), _of(targets, TAILS)
        values = shares.gather(1, tails.clamp_min(0))
        if smoothing:
            values = (1 - smoothing) * values + smoothing * shares.mean(1, keepdim=True)
        return -self.over_tails(values, tails)

    def over_tails(self, values: Tensor, tails: Tensor) -> Tensor:
        """Of a value for each tail (N, P), the mean of a query's, or the sum where triples count alike: (N)."""
        there = (tails >= 0).to(values.dtype)
        whole = (values * there).sum(1)
        return whole if self.equal == "triples" else whole / there.sum(1)

    def rows(self, answer: Values, targets: Nested | None) -> Rows:
        """One row for each query. A method that singles out the right option takes the first tail for it."""
        labels = None if targets is None else _of(targets, TAILS)[:, :1].clamp_min(0)
        return Rows(answer[LOGITS].unsqueeze(1), labels)

    def numbers(self, answer: Values, targets: Nested | None) -> Numbers | None:
        return Numbers(wide(answer[LOGITS]))

    def together(self, answers: Sequence[Values]) -> Values:
        """The logarithm of the mean of the probabilities; a single answer as it is."""
        if len(answers) == 1:
            return answers[0]
        mean = torch.stack([wide(answer[LOGITS]).softmax(1) for answer in answers]).mean(0)
        return {LOGITS: mean.log()}

    def meter(self) -> Meter:
        return RankMeter(self)

    def kept(self, answer: Values, targets: Nested) -> Values:
        """The entities with the highest scores: all scores of many queries would take gigabytes."""
        scores = answer[LOGITS]
        return {"first": scores.topk(min(TOP, scores.shape[1]), dim=1).indices}

    def compared(self, student: Values, teacher: Values, targets: Nested) -> dict[str, float]:
        ours, theirs = student["first"], teacher["first"]
        shared = torch.stack([(ours == column[:, None]).any(1) for column in theirs.unbind(1)], 1)
        agreement = (ours[:, 0] == theirs[:, 0]).float().mean().item()
        return {"agreement": agreement, "overlap": shared.float().mean().item()}

    def commonest(self, answer: Values) -> float | None:
        first = answer["first"][:, 0]
        return first.bincount().max().item() / len(first) if len(first) else None

    def told(self, answer: Values, *, top: int = 3) -> list[Told]:
        found = []
        for shares in wide(answer[LOGITS]).softmax(1):
            values, numbers = shares.topk(min(top, len(self.entities)))
            pairs = zip(numbers.tolist(), values.tolist(), strict=True)
            named = [(self.entities[number], value) for number, value in pairs]
            text = ", ".join(f"{name} {100 * share:.1f} %" for name, share in named)
            record = {"entities": [{"entity": name, "probability": share} for name, share in named]}
            found.append(Told(text, record))
        return found

    def encode(self, texts: Iterable[str]) -> dict[str, Tensor]:
        """Queries as a batch of inputs: ``head relation``, or ``? relation tail`` for the head; tabs or blanks between.

        >>> Links(("anna", "rome"), ("lives in",)).encode(["?\\tlives in\\trome"])
        {'head': tensor([1]), 'relation': tensor([1])}
        """
        queries = [self._query(text) for text in texts]
        return {
            HEAD: torch.tensor([head for head, _ in queries], dtype=torch.int64),
            RELATION: torch.tensor([relation for _, relation in queries], dtype=torch.int64),
        }

    def _query(self, text: str) -> tuple[int, int]:
        words = text.split("\t") if "\t" in text else re.split(r"\s+", text.strip())
        if len(words) == 3 and words[2] == "?":
            words = words[:2]
        if len(words) == 2:
            return self._number(words[0], "entity"), self._number(words[1], "relation")
        if len(words) == 3 and words[0] == "?":
            return self._number(words[2], "entity"), self._number(words[1], "relation") + len(self.relations)
        raise UserError(f"{text!r}: a query is HEAD RELATION, or ? RELATION TAIL, with tabs or blanks between")

    def _number(self, word: str, kind: Literal["entity", "relation"]) -> int:
        numbers = self._numbers[kind]
        if word not in numbers:
            raise UserError(f"there is no {kind} {word!r}{did_you_mean(word, numbers)}")
        return numbers[word]

    @cached_property
    def _numbers(self) -> dict[str, dict[str, int]]:
        lists = {"entity": self.entities, "relation": self.relations}
        return {kind: {name: number for number, name in enumerate(names)} for kind, names in lists.items()}


class RankMeter:
    """Mean reciprocal rank and hits of all tails, filtered, and the mean loss, from sums.

    The rank of a tail is 1 with the entities that score higher, and half of those that score alike: PyKEEN's realistic
    rank. Other known tails of the query do not count. A score that is no number has the last rank.
    """

    def __init__(self, task: Links):
        self.task, self.ranks, self.count = task, 0, 0
        self.sums: Tensor | None = None  # of 1 / rank, of hits by FIGURES, of the loss

    def update(self, answer: Values, targets: Nested) -> None:
        scores, tails = answer[LOGITS].float(), _of(targets, TAILS)
        exact = exact_dtype(scores.device)
        known = self._known(targets, scores)
        ranks = filtered_ranks(scores, known, tails).to(exact)
        hits = [(ranks <= first).to(exact).sum() for first in FIGURES.values()]
        loss = self.task.loss(answer, targets).to(exact).sum()
        sums = torch.stack((ranks.reciprocal().sum(), *hits, loss))
        self.sums = sums if self.sums is None else self.sums + sums
        self.ranks, self.count = self.ranks + len(ranks), self.count + len(tails)

    def compute(self) -> dict[str, float]:
        if self.sums is None:
            raise UserError("there are no samples to measure on")
        *sums, loss = self.sums.tolist()
        figures = zip(("mrr", *FIGURES), sums, strict=True)
        return {name: value / self.ranks for name, value in figures} | {LOSS: loss / self.count}

    def _known(self, targets: Nested, scores: Tensor) -> Tensor:
        """(N, E), whether an entity is a known tail: by the bits, and those that are asked for."""
        tails, bits = _of(targets, TAILS), _of(targets, KNOWN)
        known = from_bits(bits, scores.shape[1]) if bits.shape[1] else torch.zeros_like(scores, dtype=torch.bool)
        queries, columns = (tails >= 0).nonzero(as_tuple=True)
        known[queries, tails[queries, columns]] = True
        return known


def filtered_ranks(scores: Tensor, known: Tensor, tails: Tensor) -> Tensor:
    """The realistic ranks of tails (N, P), -1 for none, among the entities that are not known, and themselves.

    >>> scores, known = torch.tensor([[0.0, 2.0, 1.0, 1.0]]), torch.tensor([[False, True, True, False]])
    >>> filtered_ranks(scores, known, torch.tensor([[2, -1]]))
    tensor([1.5000])
    """
    others, own = scores.masked_fill(known, -torch.inf), scores.gather(1, tails.clamp_min(0))
    found = []
    for column, score in zip(tails.unbind(1), own.unbind(1), strict=True):
        rows = (column >= 0).nonzero().flatten()
        some, right = (others, score) if len(rows) == len(others) else (others[rows], score[rows])
        right = right.unsqueeze(1)
        higher, alike = (each.sum(1, dtype=torch.int32) for each in (some > right, some == right))
        ranks = 1 + higher + 0.5 * alike
        found.append(torch.where(right.squeeze(1) > -torch.inf, ranks, float(scores.shape[1])))  # NaN is last, too
    return torch.cat(found)


def bytes_of(entities: int) -> int:
    """How many bytes a bit for each entity takes."""
    return -(-entities // 8)


def as_bits(samples: Tensor, tails: Tensor, count: int, entities: int) -> Tensor:
    """For each of ``count`` samples, a bit for each entity that is among its tails: (count, bytes), uint8.

    Args:
        samples, tails: pairs of a sample and one of its tails, each pair once.

    >>> as_bits(torch.tensor([0, 0]), torch.tensor([0, 9]), 1, 10)
    tensor([[1, 2]], dtype=torch.uint8)
    """
    width = bytes_of(entities)
    bits = torch.zeros(count * width, dtype=torch.uint8)
    values = torch.tensor([1 << place for place in range(8)], dtype=torch.uint8)
    bits.index_add_(0, samples * width + tails // 8, values[tails % 8])
    return bits.view(count, width)


def from_bits(bits: Tensor, entities: int) -> Tensor:
    """The bits of ``as_bits`` as (N, E) booleans."""
    each = (bits.unsqueeze(2) >> torch.arange(8, device=bits.device, dtype=torch.uint8)) & 1
    return each.flatten(1)[:, :entities].bool()


def queries(
    triples: Tensor, relations: int, *, most: int, known: Tensor | None = None, entities: int = 0
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Triples (N, 3) as queries in both directions: inputs and targets of the task.

    Args:
        triples: heads, relations and tails, by their numbers.
        relations: how many there are without their inverses.
        most: tails of one query; one with more is several samples.
        known: triples of all parts, whose tails a filtered rank leaves out; None: no rank will be asked for.
        entities: how many there are, where ``known`` is given.

    >>> inputs, targets = queries(torch.tensor([[0, 0, 1], [0, 0, 2]]), 1, most=2)
    >>> inputs["relation"].tolist(), targets["tails"].tolist()
    ([0, 1, 1], [[1, 2], [0, -1], [0, -1]])
    """
    count = 1 + int(max(part[:, [0, 2]].max() for part in (triples, *([] if known is None else [known]))))
    asked, tails = _both_ways(triples, relations, count)
    query, numbers = asked.unique_consecutive(return_counts=True)
    samples_of = (numbers + most - 1) // most  # how many samples a query takes
    place = torch.arange(len(asked)) - (numbers.cumsum(0) - numbers).repeat_interleave(numbers)
    sample = (samples_of.cumsum(0) - samples_of).repeat_interleave(numbers) + place // most
    padded = torch.full((int(samples_of.sum()), min(most, int(numbers.max()))), -1)
    padded[sample, place % most] = tails
    query = query.repeat_interleave(samples_of)
    bits = torch.zeros(len(query), 0, dtype=torch.uint8)
    if known is not None:
        bits = _known_bits(query, *_both_ways(known, relations, count), entities)
    return {HEAD: query // (2 * relations), RELATION: query % (2 * relations)}, {TAILS: padded, KNOWN: bits}


def _both_ways(triples: Tensor, relations: int, count: int) -> tuple[Tensor, Tensor]:
    """The queries of triples in both directions, as ``head * 2 * relations + relation``, and their tails, in order."""
    head, relation, tail = triples.unbind(1)
    forth, back = head * 2 * relations + relation, tail * 2 * relations + relation + relations
    keys = torch.cat((forth * count + tail, back * count + head)).unique()
    return keys // count, keys % count


def _known_bits(query: Tensor, known: Tensor, tails: Tensor, entities: int) -> Tensor:
    """The bits of all known tails of each query; ``known`` and ``tails`` are as from ``_both_ways``."""
    start, end = torch.searchsorted(known, query), torch.searchsorted(known, query, right=True)
    numbers = end - start
    sample = torch.arange(len(query)).repeat_interleave(numbers)
    within = torch.arange(len(sample)) - (numbers.cumsum(0) - numbers).repeat_interleave(numbers)
    return as_bits(sample, tails[start.repeat_interleave(numbers) + within], len(query), entities)


def _of(targets: Nested, name: str) -> Tensor:
    value = targets.get(name) if isinstance(targets, Mapping) else None
    if not isinstance(value, Tensor) or value.ndim != 2:
        raise UserError(
            f"targets of a link prediction are {TAILS!r} and {KNOWN!r}, both (N, ...), as data.from_triples makes them"
        )
    return value
