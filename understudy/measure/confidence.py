"""What goes by confidence: calibration, and agreement with the teacher.

The expected calibration error is these few lines, so torchmetrics is no dependency: it would bring two packages, and
it keeps the bins, which the diagram is made of, to itself.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Bin:
    """The samples of one interval of confidence: their mean confidence, and the share of them that hold good."""

    confidence: float
    share: float
    count: int


@dataclass(frozen=True)
class Calibration:
    """``error`` is the expected calibration error of Guo et al. (2017): the mean gap of confidence and accuracy."""

    error: float
    bins: tuple[Bin, ...]  # those with samples, from low to high confidence


@dataclass(frozen=True)
class Agreement:
    """With the teacher: ``top1`` is the share of equal first choices, ``kl`` the mean KL(teacher, student) in nats."""

    top1: float
    kl: float
    by_confidence: tuple[Bin, ...]  # of the teacher


def calibration(logits: Tensor, labels: Tensor, *, bins: int = 15) -> Calibration:
    """Whether a network that is 80 % sure is right in 80 of 100 cases, in bins of equal width."""
    confidence, choice = logits.double().softmax(1).max(1)
    found = binned(confidence, choice == labels, bins)
    gaps = sum(bin.count * abs(bin.confidence - bin.share) for bin in found)
    return Calibration(gaps / len(labels), found)


def agreement(student: Tensor, teacher: Tensor, *, bins: int = 10) -> Agreement:
    """How far a student answers as its teacher does, by the logits of both on the same samples."""
    ours, theirs = student.double().log_softmax(1), teacher.double().log_softmax(1)
    same = ours.argmax(1) == theirs.argmax(1)
    kl = F.kl_div(ours, theirs, reduction="batchmean", log_target=True).clamp_min(0)
    return Agreement(same.double().mean().item(), kl.item(), binned(theirs.exp().amax(1), same, bins))


def binned(confidence: Tensor, holds: Tensor, bins: int) -> tuple[Bin, ...]:
    """Bins ``(i / bins, (i + 1) / bins]`` of confidence; empty ones are left out."""
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    count = place.bincount(minlength=bins)
    sure = place.bincount(confidence.double(), minlength=bins)
    good = place.bincount(holds.double(), minlength=bins)
    kept = count.nonzero().flatten()
    rows = torch.stack((sure[kept] / count[kept], good[kept] / count[kept])).T.tolist()
    return tuple(Bin(s, g, n) for (s, g), n in zip(rows, count[kept].tolist(), strict=True))
