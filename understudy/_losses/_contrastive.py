"""Contrastive losses: a sample's answer by the student and by the teacher belong together, any other two do not."""

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.methods.shared.relations import flat, inner_products, one_batch, unit
from understudy.precision import wide


def crd(
    similarities: Tensor,
    *,
    samples: int,
    temperature: float = 0.07,
    log_normalizer: Tensor | float | None = None,
) -> Tensor:
    """Contrastive representation distillation against given negatives: tell the one true partner from K noise ones.

    ``-log h(u_0) - sum_(k = 1..K) log(1 - h(u_k))``, ``h(u) = P / (P + K/M)``, ``P = exp(u / tau) / Z``; the mean over
    the samples is the loss of one direction

    Args:
        similarities: (N, K+1) inner products of an anchor with its partner (column 0) and K others, all of them
            vectors of length 1. The loss is called once with the student's vector as the anchor and the teacher's as
            partners, and once the other way round; the two are added. Weight 0.8.
        samples: M, of the whole training set: the noise is uniform over them.
        temperature: tau. The code's default; the paper has 0.1 for CIFAR-100 from memory. K is 16384.
        log_normalizer: the logarithm of Z, a constant that is estimated once, on the first batch of a training, and
            kept (``crd_log_normalizer``). None estimates it on this batch.

    Reference: Tian, Krishnan, Isola, "Contrastive representation distillation", ICLR 2020, equation 18.
    Differences: computed on logarithms, so that the code's 1e-7 in the denominator is not needed.
    """
    if similarities.ndim != 2 or similarities.shape[1] < 2:
        raise UserError(f"crd takes the partner and one other at least, (N, K+1), not {tuple(similarities.shape)}")
    u = wide(similarities)
    if log_normalizer is None:
        log_normalizer = crd_log_normalizer(u, samples=samples, temperature=temperature)
    noise = log((u.shape[1] - 1) / samples)
    odds = u / temperature - log_normalizer - noise  # the logarithm of P / (K/M): h is its sigmoid
    return -F.logsigmoid(odds[:, 0]) - F.logsigmoid(-odds[:, 1:]).sum(1)


def crd_log_normalizer(similarities: Tensor, *, samples: int, temperature: float = 0.07) -> Tensor:
    """The logarithm of Z as CRD estimates it on its first batch: ``Z = M mean exp(u / tau)``; without gradient."""
    u = wide(similarities).detach()
    return (u / temperature).flatten().logsumexp(0) - log(u.numel()) + log(samples)


def info_nce(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 0.07,
    both: bool = True,
    labels: Tensor | None = None,
) -> Tensor:
    """Contrast within the batch: which of the teacher's answers belongs to this one of the student's, and vice versa.

    ``-log softmax_j(<s_i, t_j> / tau)_i - log softmax_j(<s_j, t_i> / tau)_i``, all vectors scaled to length 1; the
    mean over the samples i is the loss. It needs no memory, and its negatives are the others of the batch

    Args:
        student, teacher: projected to the same width, (N, D). No paper's weight: 0.8, as for ``crd``, is of the
            right size.
        temperature: tau, as in CRD's code.
        both: the second part too, with the teacher's answer as the anchor.
        labels: class numbers (N); others of the same class are then no negatives (CRD draws them from other
            classes too).

    Reference: van den Oord, Li, Vinyals, "Representation learning with contrastive predictive coding", 2018; as an
    alternative to the memory of Tian, Krishnan, Isola, ICLR 2020.
    Differences: the two parts are added, as CRD's are; others take their mean.
    """
    one_batch(student, teacher)
    own, other = unit(flat(student)), unit(flat(teacher))
    if own.shape != other.shape:
        raise UserError(f"project both to one width: the student's is {own.shape[1]}, the teacher's {other.shape[1]}")
    logits = inner_products(own, other) / temperature
    if labels is not None:
        same = labels.unsqueeze(0) == labels.unsqueeze(1)
        itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
        logits = torch.where(same & ~itself, -torch.inf, logits)
    right = logits.diagonal()
    loss = logits.logsumexp(1) - right
    return loss + logits.logsumexp(0) - right if both else loss
