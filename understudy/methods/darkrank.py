"""Probabilities of all orders of each sample's nearest others: ``CE + 16 DarkRank``.

Settings:
    embedding: what goes into the classifiers.
    weight: 16 in the authors' command, with ``alpha`` 1, ``beta`` 4 and ``length`` 3.5.
    alpha, beta, list_length: of the scores and lists, as RKD's re-implementation has them.
    length: to which the embeddings are brought; None: as they are.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import Interval, Positive
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.pairs import EmbeddingTerm
from understudy.methods.shared.relations import distances, flat, one_batch, unit
from understudy.objective.term import Reading, Reads
from understudy.precision import or_nan

MOST_RANKED = 7  # soft transfer goes over all orders: 5040 of seven


def darkrank(
    student: Tensor,
    teacher: Tensor,
    *,
    transfer: Literal["soft", "hard"] = "soft",
    alpha: float = 3.0,
    beta: float = 3.0,
    list_length: int = 4,
) -> Tensor:
    """DarkRank: each sample is a query once, and the student learns how the teacher ranks its nearest others.

    ``P(pi) = prod_i exp S(x_pi_i) / sum_(k >= i) exp S(x_pi_k)`` with the score ``S(x) = -alpha || x - q ||^beta``.
    Soft: ``sum_pi P_T(pi) log(P_T(pi) / P_S(pi))`` over all orders of the list; hard: ``-log P_S(pi_T)``, pi_T the
    teacher's order. The mean over the samples is the loss

    Args:
        student, teacher: embeddings (N, ...).
        transfer: soft costs ``list_length!`` orders, hard one.
        alpha, beta: of the score; beta 1 at least. Mind the scale of the embeddings: the paper's have a fixed length.
        list_length: how many of the teacher's nearest are ranked (fewer where the batch has fewer others).

    Reference: Chen, Wang, Zhang, "DarkRank: accelerating deep metric learning via cross sample similarities
    transfer", AAAI 2018.
    Differences: 3, 3 and 4 are the defaults of the re-implementation in RKD's code, whose script trains with 2, 3 and
    4. The authors'
    code has ``S = -(scale d^2)^power`` with power 2 (so alpha = scale^2 and beta = 4), embeddings of length 3.5, lists
    of 4, weight 16 for soft; its soft loss is the cross-entropy (the same gradient, not 0 at equality), its hard one
    ranks the whole batch, and only the first half of the batch are queries, its second half being unpaired samples.

    >>> vectors = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    >>> darkrank(vectors, vectors, list_length=2)
    tensor([0., 0., 0., 0.])
    """
    one_batch(student, teacher)
    own, other = distances(flat(student)), distances(flat(teacher))
    itself = torch.eye(len(other), dtype=torch.bool, device=other.device)
    length = min(list_length, len(other) - 1)
    nearest = torch.where(itself, torch.inf, other).topk(length, dim=1, largest=False).indices
    score = -alpha * own.gather(1, nearest) ** beta
    if transfer == "hard":
        return or_nan(-_log_likelihood(score), other)
    orders = _orders(length, score.device)
    ours = _log_likelihood(score[:, orders])
    theirs = _log_likelihood((-alpha * other.gather(1, nearest) ** beta)[:, orders])
    return (theirs.exp() * (theirs - ours)).sum(1)


def _orders(length: int, device: torch.device) -> Tensor:
    """All permutations, (length!, length), as ``itertools`` lists them, made on the device: a copy would wait."""
    orders = torch.zeros(1, 0, dtype=torch.long, device=device)
    for count in range(1, length + 1):
        first = torch.arange(count, device=device).view(-1, 1, 1)
        others = orders + (orders >= first).long()  # the shorter orders, of all numbers but the first
        orders = torch.cat([first.expand(-1, len(orders), 1), others], dim=2).flatten(0, 1)
    return orders


def _log_likelihood(scores: Tensor) -> Tensor:
    """Of the order in which the scores stand: each is drawn first among those that are left (Plackett-Luce)."""
    left = scores.flip(-1).logcumsumexp(-1).flip(-1)
    return (scores - left).sum(-1)


@dataclass(frozen=True)
class DarkRank(EmbeddingTerm):
    """How the teacher ranks each sample's nearest others in the batch; see ``losses.darkrank``.

    Soft: ``sum_pi P_T(pi) log(P_T(pi) / P_S(pi))`` over all orders of the list; hard: ``-log P_S(pi_T)``, of scores
    ``-alpha || x - q ||^beta``

    Args:
        embedding: of what goes into the classifiers, of any widths.
        transfer: ``"soft"``, or ``"hard"``: the teacher's own order alone.
        alpha, beta: of the score.
        list_length: how many are ranked.
        length: to which every embedding is brought, so that the scores of both networks have one scale: 1 goes with
            alpha and beta as RKD's re-implementation has them, 3.5 with the authors' code (alpha 1 and beta 4 then);
            None leaves them as they are.

    Differences: as in the loss; the authors scale inside the networks, here the term does.

    >>> print(DarkRank("fc:input -> fc:input", list_length=3))
    DarkRank(embedding='fc:input -> fc:input', list_length=3)
    """

    transfer: Literal["soft", "hard"] = "soft"
    alpha: Positive = 3.0
    beta: Annotated[float, Interval(ge=1, le=100)] = 3.0
    list_length: Annotated[int, Interval(ge=2, le=1000)] = 4
    length: Positive | None = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.list_length < 2 or (self.transfer == "soft" and self.list_length > MOST_RANKED):
            raise UserError(f"{self}: list_length must be 2 or more, and for soft transfer {MOST_RANKED} at most")

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = (self._scaled(value) for value in self.values(reading))
        return darkrank(
            student,
            teacher,
            transfer=self.transfer,
            alpha=self.alpha,
            beta=self.beta,
            list_length=self.list_length,
        )

    def _scaled(self, values: Tensor) -> Tensor:
        return values if self.length is None else self.length * unit(flat(values))


_PAPER = "Chen et al., DarkRank: accelerating deep metric learning via cross sample similarities transfer"
METHOD = one_stage(
    "darkrank-soft",
    DarkRank,
    stage="labels and ranks",
    family="relations",
    year=2018,
    paper=_PAPER,
    weight=16.0,
)
HARD = one_stage(
    "darkrank-hard",
    DarkRank,
    stage="labels and ranks",
    family="relations",
    year=2018,
    paper=_PAPER,
    weight=1.0,
    preset={"transfer": "hard"},
    doc="""The order in which the teacher sees each sample's nearest: ``CE - log P_S(order)``.

    The authors' weight for hard transfer is not published; 1 is the default here. The other settings are those of
    ``darkrank-soft``.
    """,
)
