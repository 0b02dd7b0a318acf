"""Data of triples (head, relation, tail), by their names, for link prediction."""

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.data.dataset import Contents, assembled
from understudy.data.parts import Data
from understudy.data.sources import InMemory
from understudy.errors import UserError
from understudy.tasks.links import Equal, Links, queries

Triples = Sequence[tuple[str, str, str]]
MOST = 32  # tails of one query; one with more is several samples


def from_triples(
    train: Triples,
    validation: Triples = (),
    test: Triples = (),
    *,
    negatives: int | None = None,
    equal: Equal = "queries",
    name: str = "triples",
) -> Data:
    """Data of triples (head, relation, tail); each is asked for in both directions.

    The names of entities and relations are those of all parts, sorted. Ranks on the validation part leave out the
    triples of the training part, ranks on the test part those of all parts.

    Args:
        train, validation, test: triples of names.
        negatives: how many entities are drawn for each batch; None: every entity is scored (1-to-all).
        equal: what counts alike in the loss, ``"queries"`` or ``"triples"``; see ``tasks.Links``.
        name: of the data, in reports.

    >>> data = from_triples([("anna", "knows", "bert"), ("bert", "knows", "carl")], [("anna", "knows", "carl")])
    >>> data.task.about, len(data.train), len(data.validation)
    ('3 entities, 1 relations and their inverses', 4, 2)
    """
    contents = contents_of(train, validation, test, negatives=negatives, equal=equal)
    return assembled(contents, name=name, validation=len(validation), seed=0)


def contents_of(
    train: Triples,
    validation: Triples,
    test: Triples,
    *,
    negatives: int | None = None,
    equal: Equal = "queries",
) -> Contents:
    """What was read, as a data set's ``Contents``; the queries of the test part are made when they are asked for."""
    everything = [*train, *validation, *test]
    entities = sorted({name for head, _, tail in everything for name in (head, tail)})
    relations = sorted({relation for _, relation, _ in everything})
    if not train:
        raise UserError("there are no triples to train on")
    task = Links(tuple(entities), tuple(relations), negatives, equal)
    numbered = _Numbered(entities, relations)
    first, second = numbered(train), numbered(validation)

    def open_test() -> InMemory:
        third = numbered(test)
        return _source(third, task, torch.cat((first, second, third)))

    return Contents(
        _source(first, task, None),
        open_test if test else None,
        task=task,
        validation=_source(second, task, torch.cat((first, second))) if validation else None,
        divisible=False,  # a triple is asked for in both directions
    )


class _Numbered:
    """Triples by the numbers of their names."""

    def __init__(self, entities: Sequence[str], relations: Sequence[str]):
        self.entities = {name: number for number, name in enumerate(entities)}
        self.relations = {name: number for number, name in enumerate(relations)}

    def __call__(self, triples: Triples) -> Tensor:
        rows = [
            (self.entities[head], self.relations[relation], self.entities[tail]) for head, relation, tail in triples
        ]
        return torch.tensor(rows, dtype=torch.int64).view(-1, 3)


def _source(triples: Tensor, task: Links, known: Tensor | None) -> InMemory:
    made = queries(triples, len(task.relations), most=MOST, known=known, entities=len(task.entities))
    return InMemory(*made)
