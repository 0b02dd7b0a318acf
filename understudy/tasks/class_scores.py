"""Pure functions of class scores (logits, N x C): accuracy, calibration, agreement, errors, softness."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.precision import exact

HARD, FLAT = 0.02, 0.95  # of the largest entropy there can be
TEMPERATURES = (2, 3, 4, 6, 8, 12, 16, 20)  # the usual ones; Hinton et al. go up to 20


def accuracy(logits: Tensor, labels: Tensor, *, top: int = 1) -> float:
    """The share of samples whose label is among the ``top`` first choices.

    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
    0.5
    """
    if top == 1:
        return exact(logits.argmax(1) == labels).mean().item()
    first = logits.topk(min(top, logits.shape[1])).indices
    return exact((first == labels[:, None]).any(1)).mean().item()


def loss(logits: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy, in nats.

    >>> round(loss(torch.zeros(1, 2), torch.tensor([0])), 4)
    0.6931
    """
    return F.cross_entropy(exact(logits), labels).item()


def class_accuracies(logits: Tensor, labels: Tensor) -> list[float | None]:
    """The accuracy on the samples of each class; None for a class without any.

    >>> class_accuracies(torch.eye(3), torch.tensor([0, 1, 0]))
    [0.5, 1.0, None]
    """
    classes = logits.shape[1]
    counts = labels.bincount(minlength=classes)
    right = labels[logits.argmax(1) == labels].bincount(minlength=classes)
    return [r / n if n else None for r, n in zip(right.tolist(), counts.tolist(), strict=True)]


@dataclass(frozen=True)
class Bin:
    """The samples of one interval of confidence: their mean confidence, and the share of them that hold good."""

    confidence: float
    share: float
    count: int


@dataclass(frozen=True)
class Histogram:
    """How often a logit has each value, over all samples: counts of bins of equal width from ``low`` to ``high``."""

    option: str  # whose logit
    low: float
    high: float
    counts: tuple[int, ...]


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


def histogram(values: Tensor, option: str, bins: int = 40) -> Histogram | None:
    """The histogram of a logit, as in CAN's figure 6; None without two different finite values.

    >>> histogram(torch.tensor([0.0, 1.0, 1.0]), "cat", bins=2)
    Histogram(option='cat', low=0.0, high=1.0, counts=(1, 2))
    """
    finite = values[values.isfinite()].detach().float().cpu()
    if len(finite) < 2 or finite.min() == finite.max():
        return None
    low, high = finite.min().item(), finite.max().item()
    return Histogram(option, low, high, tuple(int(count) for count in finite.histc(bins, low, high).tolist()))


def calibration(logits: Tensor, labels: Tensor, *, bins: int = 15) -> Calibration:
    """Whether a network that is 80 % sure is right in 80 of 100 cases, in bins of equal width.

    Of distributions (N, C) in the place of labels, the probability of its choice counts.

    >>> calibration(torch.tensor([[100.0, 0.0]]), torch.tensor([0])).error
    0.0
    """
    confidence, choice = exact(logits).softmax(1).max(1)
    holds = choice == labels if labels.ndim == 1 else labels.gather(1, choice[:, None]).squeeze(1)
    found = binned(confidence, holds, bins)
    gaps = sum(bin.count * abs(bin.confidence - bin.share) for bin in found)
    return Calibration(gaps / len(labels), found)


def agreement(student: Tensor, teacher: Tensor, *, bins: int = 10) -> Agreement:
    """How far a student answers as its teacher does, by the logits of both on the same samples.

    >>> agreement(torch.eye(3), torch.eye(3)).top1
    1.0
    """
    ours, theirs = exact(student).log_softmax(1), exact(teacher).log_softmax(1)
    same = ours.argmax(1) == theirs.argmax(1)
    kl = F.kl_div(ours, theirs, reduction="batchmean", log_target=True).clamp_min(0)
    return Agreement(exact(same).mean().item(), kl.item(), binned(theirs.exp().amax(1), same, bins))


def binned(confidence: Tensor, holds: Tensor, bins: int) -> tuple[Bin, ...]:
    """Bins ``(i / bins, (i + 1) / bins]`` of confidence; empty ones are left out.

    >>> [bin.count for bin in binned(torch.tensor([0.2, 0.9, 0.95]), torch.tensor([True, True, False]), 2)]
    [1, 2]
    """
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    count = place.bincount(minlength=bins)
    sure = place.bincount(exact(confidence), minlength=bins)
    good = place.bincount(exact(holds), minlength=bins)
    kept = count.nonzero().flatten()
    rows = torch.stack((sure[kept] / count[kept], good[kept] / count[kept])).T.tolist()
    return tuple(Bin(s, g, n) for (s, g), n in zip(rows, count[kept].tolist(), strict=True))


@dataclass(frozen=True)
class Errors:
    """The ids of the samples on which one of the two is right and the other is not."""

    student: tuple[int, ...]  # the student errs, the teacher is right
    teacher: tuple[int, ...]  # the teacher errs, the student is right
    both: int  # how many both get wrong


def errors(student: Tensor, teacher: Tensor, labels: Tensor, ids: Tensor) -> Errors:
    """By the logits of both on the same samples; ``ids`` are the samples' numbers.

    >>> errors(torch.eye(2), torch.eye(2).flip(0), torch.tensor([0, 0]), torch.tensor([7, 8]))
    Errors(student=(8,), teacher=(7,), both=0)
    """
    ours, theirs = student.argmax(1) == labels, teacher.argmax(1) == labels
    return Errors(
        tuple(ids[~ours & theirs].tolist()), tuple(ids[ours & ~theirs].tolist()), int((~ours & ~theirs).sum())
    )


@dataclass(frozen=True)
class Softness:
    """Mean entropies of the teacher's answers, in nats; ``most`` is that of an answer without any preference."""

    entropy: float  # at temperature 1
    temperature: float
    softened: float  # at the run's temperature
    most: float
    hint: str | None  # advice in one sentence; None if there is nothing to change


def entropy(logits: Tensor, *, temperature: float = 1.0) -> float:
    """The mean entropy of answers at a temperature, in nats.

    >>> round(entropy(torch.zeros(1, 2)), 4)
    0.6931
    """
    logs = (exact(logits) / temperature).log_softmax(1)
    return -(logs.exp() * logs).sum(1).mean().item()


def softness(logits: Tensor, temperature: float = 1.0) -> Softness:
    """The information in the teacher's answers beyond their first choice.

    >>> softness(torch.zeros(4, 2)).hint
    "At temperature 1 the teacher's answers are all but flat: lower it."
    """
    most = math.log(logits.shape[1])
    softened = entropy(logits, temperature=temperature)
    return Softness(entropy(logits), temperature, softened, most, _hint(logits, temperature, softened / most))


def _hint(logits: Tensor, temperature: float, share: float) -> str | None:
    if share > FLAT:
        return f"At temperature {temperature:g} the teacher's answers are all but flat: lower it."
    if share >= HARD:
        return None
    hard = f"At temperature {temperature:g} the teacher's answers are all but labels"
    warmer = (
        t
        for t in TEMPERATURES
        if t > temperature and entropy(logits, temperature=t) >= 2 * HARD * math.log(logits.shape[1])
    )
    if (enough := next(warmer, None)) is not None:
        return f"{hard}: raise it to {enough} or more."
    return (
        f"{hard}, and no temperature softens them: let an assistant of middle size, or a less trained teacher, teach."
    )
