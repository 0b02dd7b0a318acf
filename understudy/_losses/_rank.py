"""Losses on the order of the samples of a batch by their distance to one of them."""

from typing import Literal

import torch
from torch import Tensor

from understudy.methods.shared.relations import distances, flat, one_batch


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
    Differences: 3, 3 and 4 are the defaults of RKD's re-implementation, and the paper's from memory. The authors'
    code has ``S = -(scale d^2)^power`` with power 2 (so alpha = scale^2 and beta = 4), embeddings of length 3.5, lists
    of 4, weight 16 for soft; its soft loss is the cross-entropy (the same gradient, not 0 at equality), its hard one
    ranks the whole batch, and only the first half of the batch are queries, its second half being unpaired samples.
    """
    one_batch(student, teacher)
    own, other = distances(flat(student)), distances(flat(teacher))
    itself = torch.eye(len(other), dtype=torch.bool, device=other.device)
    length = min(list_length, len(other) - 1)
    nearest = torch.where(itself, torch.inf, other).topk(length, dim=1, largest=False).indices
    score = -alpha * own.gather(1, nearest) ** beta
    if transfer == "hard":
        return -_log_likelihood(score)
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
