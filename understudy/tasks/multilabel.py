"""Several labels that hold or do not hold, each by itself; and the same for a single one (binary classification).

A network answers with one logit for each label. For methods on class scores a logit z is a row with the two options
``(0, z)``: its softmax is (1 - p, p) with p the sigmoid of z, so that ``kd`` is the KL of two Bernoulli distributions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.bounds import Share
from understudy.errors import OptionalPackageError, UserError
from understudy.nested import Nested
from understudy.precision import exact, exact_dtype, wide
from understudy.tasks.classification import LOGITS
from understudy.tasks.task import Figure, Meter, Numbers, Rows, Task, Told, Values, only, outputs_named


@dataclass(frozen=True)
class MultiLabel(Task):
    """Labels that hold or do not: targets are 0 or 1 (N, L), answers are logits (N, L), the loss is the BCE.

    Args:
        labels: their names.
        shares: the share of the training samples for which each label holds; figures at chance follow from them.

    >>> task = MultiLabel(("indoors", "people"))
    >>> task.told({"logits": torch.tensor([[-2.0, 3.0]])})[0].text
    'people 95.3 %'
    """

    labels: tuple[str, ...] = ("label",)
    shares: tuple[Share, ...] = ()

    name: ClassVar[str] = "multilabel"
    rows_per_sample: ClassVar[Literal["one", "many"] | None] = "many"
    likeness: ClassVar[tuple[Figure, ...]] = (Figure("agreement", "agrees with the teacher", unit="share"),)

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> Self:
        values = _columns(targets)
        labels = outputs_named(names, values.shape[1], "label")
        shares = tuple(round(share, 4) for share in values.float().mean(0).tolist())
        make: Callable[..., Self] = cls
        return make(**{"labels": labels, "shares": shares, **settings})

    @property
    def figures(self) -> tuple[Figure, ...]:
        shares = self.shares
        even = sum(shares) / len(shares) if shares else None
        most = sum(max(share, 1 - share) for share in shares) / len(shares) if shares else None
        return (
            Figure("average_precision", "mean average precision", unit="share", chance=even),
            Figure("f1", "macro F1", unit="share"),
            Figure("accuracy", "accuracy", unit="share", chance=most),
        )

    @property
    def names(self) -> tuple[str, ...]:
        return self.labels

    @property
    def about(self) -> str:
        return f"{len(self.labels)} labels"

    def converted(self, targets: Nested) -> Nested:
        return _columns(targets).float()

    def check(self, targets: Nested) -> None:
        values = _columns(targets)
        if values.shape[1] != len(self.labels):
            raise UserError(f"targets have shape {tuple(values.shape)}, and there are {len(self.labels)} labels")
        wrong = ((values != 0) & (values != 1)).any(1).nonzero().flatten()
        if len(wrong):
            first = int(wrong[0])
            raise UserError(f"sample {first} has the target {values[first].tolist()}; a label is 0 or 1")

    def remarks(self, targets: Nested) -> Sequence[str]:
        shares = _columns(targets).float().mean(0)
        constant = [self.labels[place] for place in ((shares == 0) | (shares == 1)).nonzero().flatten().tolist()]
        return [f"the same for every training sample: label {', '.join(constant[:5])}"] if constant else []

    def strata(self, targets: Nested) -> Tensor | None:
        values = _columns(targets)
        return values[:, 0].long() if values.shape[1] == 1 else None

    def without_labels(self, targets: Nested, count: int) -> Nested:
        return torch.full((count, len(self.labels)), torch.nan)

    def has_label(self, targets: Nested) -> Tensor:
        return ~_columns(targets).isnan().any(1)

    def as_targets(self, answer: Values, targets: Nested | None = None) -> Tensor:
        """The labels that hold."""
        return answer[LOGITS] > 0

    def mixed(self, targets: Nested, partners: Nested, share: Tensor) -> Nested:
        own, other = _columns(targets).float(), _columns(partners).float()
        return torch.lerp(other, own, share.view(-1, 1).to(own.dtype))

    def answer(self, output: object) -> Values:
        logits = only(output, LOGITS)
        return {LOGITS: logits.unsqueeze(1) if logits.ndim == 1 else logits}

    def misfit(self, answer: Values) -> str | None:
        shape = tuple(answer[LOGITS].shape[1:])
        return None if shape == (len(self.labels),) else f"it answers with shape {shape}, and there are {self.about}"

    def loss(self, answer: Values, targets: Nested, *, smoothing: float = 0.0) -> Tensor:
        """Binary cross-entropy, the mean over the labels of a sample."""
        wanted = _columns(targets).float() * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(wide(answer[LOGITS]), wanted, reduction="none").mean(1)

    def rows(self, answer: Values, targets: Nested | None) -> Rows:
        logits = wide(answer[LOGITS])
        labels = None if targets is None else _columns(targets).long()
        return Rows(torch.stack((torch.zeros_like(logits), logits), -1), labels)

    def numbers(self, answer: Values, targets: Nested | None) -> Numbers | None:
        return Numbers(wide(answer[LOGITS]))

    def together(self, answers: Sequence[Values]) -> Values:
        """The logits of the mean of the probabilities; a single answer as it is."""
        if len(answers) == 1:
            return answers[0]
        return {LOGITS: torch.stack([exact(answer[LOGITS]).sigmoid() for answer in answers]).mean(0).logit()}

    def meter(self) -> Meter:
        return LabelMeter(len(self.labels))

    def compared(self, student: Values, teacher: Values, targets: Nested) -> dict[str, float]:
        same = (student[LOGITS] > 0) == (teacher[LOGITS] > 0)
        return {"agreement": exact(same).mean().item()}

    def details(self, answers: Sequence[Values], targets: Nested, taught: Sequence[Values]) -> dict[str, object]:
        """``options``: the average precision of each label over all seeds; nothing of a single label."""
        if len(self.labels) == 1:
            return {}
        scores = torch.cat([_between(answer[LOGITS]) for answer in answers])
        labels = _columns(targets).long().repeat(len(answers), 1)
        return {"options": [_average_precision(*pair) for pair in zip(scores.unbind(1), labels.unbind(1), strict=True)]}

    def commonest(self, answer: Values) -> float | None:
        _, counts = (answer[LOGITS] > 0).unique(dim=0, return_counts=True)
        return float(counts.max()) / len(answer[LOGITS])

    def told(self, answer: Values, *, top: int = 3) -> list[Told]:
        """The labels that hold, the likeliest first."""
        lines = []
        for shares in exact(answer[LOGITS]).sigmoid():
            order = shares.argsort(descending=True).tolist()
            named = [(self.labels[place], shares[place].item()) for place in order]
            holding = [(name, share) for name, share in named if share > 0.5]
            text = ", ".join(f"{name} {100 * share:.1f} %" for name, share in holding) or "none"
            record = {"labels": [{"label": name, "probability": share, "holds": share > 0.5} for name, share in named]}
            lines.append(Told(text, record))
        return lines


@dataclass(frozen=True)
class Binary(MultiLabel):
    """One label that holds or does not: targets are 0 or 1 (N), answers one logit.

    >>> Binary(("face",)).told({"logits": torch.tensor([[0.0], [4.0]])})[1].text
    'face 98.2 %'
    """

    name: ClassVar[str] = "binary"

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> Self:
        if not isinstance(names, int) and names is not None and len(names) == 2:
            names = names[1:]  # the second of two classes is the positive one
        return super().of(targets, names=names, **settings)

    @property
    def figures(self) -> tuple[Figure, ...]:
        precision, f1, accuracy = super().figures
        return accuracy, Figure(precision.name, "average precision", unit="share", chance=precision.chance), f1

    def check(self, targets: Nested) -> None:
        if _columns(targets).shape[1] != 1:
            raise UserError(f"targets have shape {tuple(_columns(targets).shape)}; a binary task has one, 0 or 1")
        super().check(targets)


class Metric(Protocol):
    """The part of ``torchmetrics.Metric`` that is used."""

    def to(self, device: torch.device) -> Self: ...

    def update(self, scores: Tensor, targets: Tensor, /) -> None: ...

    def compute(self) -> Tensor: ...


class LabelMeter:
    """Average precision and F1 by torchmetrics, accuracy and loss from sums."""

    def __init__(self, labels: int):
        self.count = 0
        self.sums: Tensor | None = None
        self.precision, self.f1 = (_metric(name, labels) for name in ("AveragePrecision", "F1Score"))

    def update(self, answer: Values, targets: Nested) -> None:
        logits, wanted = answer[LOGITS].float(), _columns(targets)
        dtype = exact_dtype(logits.device)
        right = ((logits > 0) == (wanted > 0.5)).to(dtype).mean(1).sum()
        loss = F.binary_cross_entropy_with_logits(logits.to(dtype), wanted.to(dtype), reduction="none").mean(1).sum()
        sums = torch.stack((right, loss))
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += len(logits)
        for metric in (self.precision, self.f1):
            metric.to(logits.device).update(_between(logits), wanted.long())

    def compute(self) -> dict[str, float]:
        if self.sums is None:
            raise UserError("there are no samples to measure on")
        accuracy, loss = (self.sums / self.count).tolist()
        precision, f1 = (float(metric.compute()) for metric in (self.precision, self.f1))
        return {"average_precision": precision, "f1": f1, "accuracy": accuracy, "loss": loss}


def _between(logits: Tensor) -> Tensor:
    """Between 0 and 1 in the order of the logits, and above 0.5 as they are above 0.

    The sigmoid is 1 for every logit above 17 in float32, and average precision would take these for equal.
    """
    limited = logits.to(exact_dtype(logits.device)).clamp(-1e30, 1e30)
    return (1 + limited / (1 + limited.abs())) / 2


def _average_precision(scores: Tensor, labels: Tensor) -> float | None:
    """The average precision of one label; None if it holds for no sample."""
    if not labels.any():
        return None
    metric = _metric("AveragePrecision", 1)
    metric.update(scores, labels)
    return float(metric.compute())


def _metric(name: str, labels: int) -> Metric:
    try:
        from torchmetrics import classification
    except ModuleNotFoundError as error:
        raise OptionalPackageError("torchmetrics", "metrics", "measuring average precision and F1") from error
    if labels == 1:  # torchmetrics refuses to call a single label several
        metric: Metric = getattr(classification, f"Binary{name}")()
    else:
        metric = getattr(classification, f"Multilabel{name}")(num_labels=labels, average="macro")
    return metric


def _columns(targets: Nested) -> Tensor:
    """One column for each label."""
    if not isinstance(targets, Tensor) or targets.ndim not in (1, 2):
        shape = tuple(targets.shape) if isinstance(targets, Tensor) else type(targets).__name__
        raise UserError(f"targets are {shape}; give 0 or 1 for each sample and label, (N, L) or (N)")
    return targets.unsqueeze(1) if targets.ndim == 1 else targets
