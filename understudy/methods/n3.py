"""N3 (Lacroix et al., ICML 2018): the nuclear 3-norm of a batch's embeddings, which regularises link prediction."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.models.families.links import ComplEx, DistMult
from understudy.objective.term import Reading, Reads, Term
from understudy.precision import wide
from understudy.taps import inner
from understudy.tasks.links import CANDIDATES, HEAD, RELATION, TAILS, Links
from understudy.tasks.task import Task


def n3(squares: Tensor) -> Tensor:
    """The third power of the 3-norm of factors, one value per sample.

    ``sum_d |f_d|^3``

    Args:
        squares: ``|f_d|^2`` of real or complex factors, (N, D).

    Weight in the objective: 0.05 for FB15k-237 from 25 complex numbers on, 0.0005 for 5 (the authors' table).
    Reference: Lacroix, Usunier, Obozinski, "Canonical tensor decomposition for knowledge base completion", ICML 2018.
    Differences: none; ``kbc/regularizers.py`` of facebookresearch/kbc divides the sum over a batch by its triples.

    >>> n3(torch.tensor([[4.0, 1.0]]))
    tensor([9.])
    """
    return wide(squares).pow(1.5).sum(-1)


@dataclass(frozen=True)
class N3(Term):
    """The nuclear 3-norm of head, relation and tail of each triple; see ``losses.n3``.

    Of the networks ``complex`` and ``distmult``, beside the loss of the task ``links``: ``CE() + 0.05 * N3()``. A query
    counts with the mean or the sum over its tails, as in the loss of the task. No teacher is read.

    >>> print(0.05 * N3())
    0.05 * N3()
    """

    @property
    def reads(self) -> Reads:
        return Reads(student_answer=True, student_network=True, labels=True)

    def misfit(self, task: Task) -> str | None:
        return None if isinstance(task, Links) else "it is of triples, the task links"

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert reading.student_network is not None
        network, inputs, targets = inner(reading.student_network), reading.inputs, reading.given_targets
        task = reading.task
        assert isinstance(task, Links)
        if not isinstance(network, (ComplEx, DistMult)):
            name = type(network).__name__
            raise UserError(f"N3 is of the networks complex and distmult, and the student is a {name}: leave it out")
        assert isinstance(inputs, Mapping)
        assert isinstance(targets, Mapping)
        places, head, relation, candidates = targets[TAILS], inputs[HEAD], inputs[RELATION], inputs.get(CANDIDATES)
        assert isinstance(places, Tensor)
        assert isinstance(head, Tensor)
        assert isinstance(relation, Tensor)
        there = places >= 0  # most places are empty, and each would cost as much as a tail
        tails = candidates[0][places[there]] if isinstance(candidates, Tensor) else places[there]
        entities = n3(network.squares(network.entities(torch.cat((head, tails)))))
        of_heads, of_tails = entities.split((len(head), len(tails)))
        of_relations = n3(network.squares(network.relations(relation)))
        values = of_tails.new_zeros(places.shape).masked_scatter(there, of_tails)
        return task.over_tails((of_heads + of_relations).unsqueeze(1) + values, places)
