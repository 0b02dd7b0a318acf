"""Classification: one class of several for each sample."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.precision import exact, exact_dtype, wide
from understudy.printable import shown
from understudy.tasks import class_scores
from understudy.tasks.task import Differing, Figure, Meter, Numbers, Task, Told, Values, only

LOGITS = "logits"
UNKNOWN = -1  # the target of a sample without a label
FEW = 5  # up to this number of classes there is no top-5 accuracy
HISTOGRAM = 85  # the class whose logit is counted, as in CAN's figure 6; of fewer classes the last
MANY_CLASSES = 1_000  # a label below this number is accepted even with fewer samples than classes
MOST_CLASSES = 1_000_000
AGREEMENT = 0.99  # of the first choices of a network made cheaper with those before, one sample apart
DIVERGENCE = 0.05  # the largest KL (nats, at temperature 1) of an answer of a network made cheaper
PICTURES = {"student": 16, "teacher": 8, "both": 8}  # samples of each kind of error that are shown


def cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, one value per sample.

    ``-sum_c y_c log softmax(z)_c``; ``labels`` are class numbers (N) or distributions (N, C), as mixup makes them.
    The value of a sample of class -100 is 0, and a mean over the batch counts it, which PyTorch's mean does not.

    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([0]))
    tensor([0.6931])
    """
    require_classes(logits, dim=min(1, logits.ndim - 1))
    if labels.is_floating_point() and labels.shape != logits.shape:
        raise UserError(
            f"a cross-entropy with targets of {str(labels.dtype).removeprefix('torch.')} and shape "
            f"{tuple(labels.shape)}: give class numbers (labels.long()), or a distribution over the classes of shape "
            f"{tuple(logits.shape)}; for numbers, task=understudy.tasks.Regression()"
        )
    if not labels.is_floating_point() and labels.ndim >= logits.ndim:
        raise UserError(
            f"a cross-entropy with whole numbers of shape {tuple(labels.shape)} as targets, and answers of "
            f"{tuple(logits.shape)}: give class numbers, one for each sample (one-hot: labels.argmax(1))"
        )
    target = wide(labels) if labels.is_floating_point() else labels
    return F.cross_entropy(wide(logits), target, reduction="none", label_smoothing=label_smoothing)


def require_distributions(targets: Nested) -> None:
    """Targets of floating point are distributions over the classes; anything else is a mistake that trains on."""
    if not isinstance(targets, Tensor) or not targets.is_floating_point() or targets.ndim < 2:
        return
    if not bool(are_distributions(targets).all()):
        raise UserError(
            "a cross-entropy with targets that are no distributions over the classes (none negative, with a sum of 1 "
            "for each sample): give class numbers, or task=understudy.tasks.MultiLabel() for independent labels, "
            "task=understudy.tasks.Regression() for numbers"
        )


def are_distributions(rows: Tensor) -> Tensor:
    """Whether each row holds probabilities: none is negative, and their sum is 1.

    >>> are_distributions(torch.tensor([[0.5, 0.5], [1.5, -0.5]]))
    tensor([ True, False])
    """
    return (rows >= 0).all(1) & ((rows.sum(1) - 1).abs() < 0.01)


def remark_on_probabilities(answer: Values) -> str | None:
    """What to say of class scores that are probabilities already, as of a network that ends with a softmax.

    >>> remark_on_probabilities({"logits": torch.zeros(2, 3)}) is None
    True
    """
    scores = answer.get(LOGITS)
    if scores is None or scores.ndim != 2 or scores.shape[1] < 2 or not len(scores):
        return None
    if not bool(are_distributions(scores).all()):
        return None
    return (
        "they are probabilities, with a sum of 1 for each sample, and losses take them for logits: take the softmax "
        "off its end, or answer with their logarithm"
    )


def require_classes(logits: Tensor, dim: int = -1) -> None:
    """At least two class scores: the softmax of a single one is 1 whatever it is, and trains nothing."""
    if logits.shape[dim] < 2:
        raise UserError(
            f"logits of shape {tuple(logits.shape)} are a single score, whose softmax is always 1: give two classes, "
            "or compare single numbers by 'logit-regression' or 'outputs' (a yes or no: the task 'multilabel')"
        )


@dataclass(frozen=True)
class Classification(Task):
    """One class of several for each sample: targets are class numbers, answers are logits (N, C).

    Args:
        classes: their names in the order of their numbers; empty if they are unknown.

    >>> task = Classification(("cat", "dog"))
    >>> task.told({"logits": torch.tensor([[0.0, 2.0]])}, top=1)[0].text
    'dog 88.1 %'
    """

    classes: tuple[str, ...] = ()

    name: ClassVar[str] = "classification"
    rows_per_sample: ClassVar[Literal["one", "many"] | None] = "one"
    targets_are_classes: ClassVar[bool] = True
    likeness: ClassVar[tuple[Figure, ...]] = (
        Figure("agreement", "agrees with the teacher", unit="share"),
        Figure("divergence", "KL from the teacher", "lower"),
    )

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> "Classification":
        if (classes := settings.pop("classes", None)) is not None:
            if not isinstance(classes, (int, list, tuple)):
                raise UserError(f"task {cls.name!r}: classes = {shown(classes)}: give the names of the classes")
            names = classes
        if names is None:
            targets = _one_tensor(targets)
            names = int(targets.max()) + 1 if len(targets) else 0
            if names > max(MANY_CLASSES, len(targets)):
                raise UserError(
                    f"the largest label is {names - 1:,}, which makes more classes than there are samples "
                    f"({len(targets):,}): number the labels from 0, or say how many classes there are (classes=...)"
                )
        if isinstance(names, int) and not 0 <= names <= MOST_CLASSES:
            raise UserError(f"classes = {shown(names)}: give a whole number from 1 to {MOST_CLASSES:,}")
        return cls(tuple(map(str, range(names))) if isinstance(names, int) else tuple(names), **settings)

    @property
    def figures(self) -> tuple[Figure, ...]:
        count = len(self.classes)
        top = (Figure("top5", "top-5 accuracy", unit="share", chance=FEW / count),) if count > FEW else ()
        return (
            Figure("accuracy", "accuracy", unit="share", chance=1 / count if count else None),
            *top,
            Figure("calibration_error", "calibration error", "lower", unit="share"),
        )

    @property
    def names(self) -> tuple[str, ...]:
        return self.classes

    @property
    def about(self) -> str:
        return f"{len(self.classes)} classes"

    def converted(self, targets: Nested) -> Nested:
        labels = _one_tensor(targets)
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if labels.ndim != 1:
            raise UserError(
                f"labels have shape {tuple(labels.shape)}; give class numbers (one-hot: y.argmax(1)), or for "
                "a row of probabilities of each sample the task 'soft-labels', as in data.from_tensors((x, y), "
                "task='soft-labels')"
            )
        if labels.is_floating_point() and not torch.equal(labels, labels.round()):
            raise UserError(f"labels must be whole class numbers, found {labels[labels != labels.round()][0]:g}")
        return labels.to(torch.int64)

    def check(self, targets: Nested) -> None:
        labels, classes = _one_tensor(targets), len(self.classes)
        wrong = ((labels < 0) | (labels >= classes)).nonzero().flatten()
        if len(wrong):
            first = int(wrong[0])
            raise UserError(
                f"sample {first} has label {int(labels[first])}, "
                f"but the {classes} classes are numbered 0 to {classes - 1} ({len(wrong)} such labels)"
            )

    def remarks(self, targets: Nested) -> Sequence[str]:
        counts = torch.bincount(_one_tensor(targets), minlength=len(self.classes))
        empty = [self.classes[number] for number in (counts == 0).nonzero().flatten().tolist()]
        remarks = [f"no training sample of class {', '.join(empty[:5])}"] if empty else []
        if int((counts > 0).sum()) == 1:
            remarks.append(
                f"all training samples are of class {self.classes[int(counts.argmax())]}: any answer is right"
            )
        return remarks

    def strata(self, targets: Nested) -> Tensor | None:
        return _one_tensor(targets)

    def without_labels(self, targets: Nested, count: int) -> Nested:
        return torch.full((count,), UNKNOWN)

    def has_label(self, targets: Nested) -> Tensor:
        labels = _one_tensor(targets)
        return labels >= 0 if labels.ndim == 1 else ~labels.isnan().any(1)

    def as_targets(self, answer: Values, targets: Nested | None = None) -> Tensor:
        """The likeliest class; where targets are distributions, as mixup makes them, all of the probability is its."""
        chosen = answer[LOGITS].argmax(1)
        if targets is None or _one_tensor(targets).ndim == 1:
            return chosen
        return F.one_hot(chosen, answer[LOGITS].shape[1])

    def mixed(self, targets: Nested, partners: Nested, share: Tensor) -> Nested:
        """The labels' mixture as distributions over the classes; NaN where one of the two has no label."""
        labels = [_one_tensor(each) for each in (targets, partners)]
        own, other = (F.one_hot(each.clamp_min(0), len(self.classes)).float() for each in labels)
        known = (labels[0] >= 0) & (labels[1] >= 0)
        mixed = (own - other).mul_(share.view(-1, 1).to(own.dtype)).add_(other)
        return mixed.masked_fill_(~known.unsqueeze(1), torch.nan)

    def answer(self, output: object) -> Values:
        return {LOGITS: only(output, LOGITS)}

    def misfit(self, answer: Values) -> str | None:
        shape = tuple(answer[LOGITS].shape[1:])
        if not self.classes or shape == (len(self.classes),):
            return None
        one_logit = (
            ': for one logit give the data the task "binary"' if shape == (1,) and len(self.classes) == 2 else ""
        )
        return f"it answers with shape {shape}, the data have {len(self.classes)} classes{one_logit}"

    def loss(self, answer: Values, targets: Nested, *, smoothing: float = 0.0) -> Tensor:
        return cross_entropy(answer[LOGITS], _one_tensor(targets), label_smoothing=smoothing)

    def numbers(self, answer: Values, targets: Nested | None) -> Numbers | None:
        return Numbers(wide(answer[LOGITS]))

    def together(self, answers: Sequence[Values]) -> Values:
        """The logarithm of the mean of the probabilities; a single answer as it is."""
        if len(answers) == 1:
            return answers[0]
        mean = torch.stack([exact(answer[LOGITS]).softmax(1) for answer in answers]).mean(0)
        return {LOGITS: mean.log()}

    def meter(self) -> Meter:
        return ClassMeter(len(self.classes) > FEW)

    @property
    def of_batch(self) -> Callable[[Values, Nested], Tensor] | None:
        return share_right if self.labelled and self.figures[0].name == "accuracy" else None

    def compared(self, student: Values, teacher: Values, targets: Nested) -> dict[str, float]:
        alike = class_scores.agreement(student[LOGITS], teacher[LOGITS])
        return {"agreement": alike.top1, "divergence": alike.kl}

    def changed(self, before: Values, after: Values) -> str | None:
        """Whether another class is chosen, or the probabilities differ."""
        ours, theirs = (exact(answer[LOGITS]).log_softmax(1) for answer in (after, before))
        others = int((theirs.argmax(1) != ours.argmax(1)).sum())
        if others > max(1, (1 - AGREEMENT) * len(theirs)):
            return f"it chooses another class for {others} of {len(theirs)} samples (allowed: {1 - AGREEMENT:.0%})"
        divergence = F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1).max().item()
        if not divergence <= DIVERGENCE:
            return f"its answers differ by a KL of up to {divergence:.2g} (allowed: {DIVERGENCE:g})"
        return None

    def details(self, answers: Sequence[Values], targets: Nested, taught: Sequence[Values]) -> dict[str, object]:
        pooled, labels = _pooled(answers), _one_tensor(targets).repeat(len(answers))
        measures: dict[str, object] = {
            "options": class_scores.class_accuracies(pooled, labels),
            "calibration": [asdict(bin) for bin in class_scores.calibration(pooled, labels).bins],
        }
        shown = min(HISTOGRAM, pooled.shape[1] - 1)
        if counted := class_scores.histogram(pooled[:, shown], self.classes[shown] if self.classes else str(shown)):
            measures["logit"] = asdict(counted)
        if len(taught) == len(answers) and (teachers := _pooled(taught)).shape == pooled.shape:
            measures["agreement"] = [asdict(bin) for bin in class_scores.agreement(pooled, teachers).by_confidence]
        return measures

    def advice(self, teacher: Values, temperature: float) -> dict[str, object]:
        return asdict(class_scores.softness(teacher[LOGITS], temperature))

    def errors(self, student: Values, teacher: Values, targets: Nested, ids: Tensor) -> dict[str, object]:
        wrong = class_scores.errors(student[LOGITS], teacher[LOGITS], _one_tensor(targets), ids)
        return {
            "student": {"count": len(wrong.student), "ids": list(wrong.student)},
            "teacher": {"count": len(wrong.teacher), "ids": list(wrong.teacher)},
            "both": wrong.both,
        }

    def differing(self, student: Values, teacher: Values, targets: Nested) -> Sequence[Differing]:
        """The samples on which the two disagree most confidently, of each kind of error."""
        labels = _one_tensor(targets)
        ours, theirs = student[LOGITS].softmax(1).max(1), teacher[LOGITS].softmax(1).max(1)
        apart, right, taught = ours.indices != theirs.indices, ours.indices == labels, theirs.indices == labels
        kinds: dict[Literal["student", "teacher", "both"], Tensor] = {
            "student": apart & taught,
            "teacher": apart & right,
            "both": apart & ~right & ~taught,
        }
        found = []
        for kind, members in kinds.items():
            places = members.nonzero().flatten()
            sure = (ours.values * theirs.values)[places].argsort(descending=True, stable=True)
            for place in places[sure[: PICTURES[kind]]].tolist():
                record = {
                    "target": self.classes[int(labels[place])],
                    "student": self.classes[int(ours.indices[place])],
                    "student_confidence": round(float(ours.values[place]), 4),
                    "teacher": self.classes[int(theirs.indices[place])],
                    "teacher_confidence": round(float(theirs.values[place]), 4),
                }
                found.append(Differing(place, kind, record))
        return found

    def commonest(self, answer: Values) -> float | None:
        choices = answer[LOGITS].argmax(1)
        return choices.bincount().max().item() / len(choices) if len(choices) else None

    def told(self, answer: Values, *, top: int = 3) -> list[Told]:
        logits, classes = answer[LOGITS], self.classes
        if logits.ndim != 2 or logits.shape[1] != len(classes):
            shape = " x ".join(map(str, logits.shape))
            raise UserError(
                f"the student answers with {shape} values, and its description names {len(classes)} classes"
            )
        lines = []
        for shares in exact(logits).softmax(1):
            values, numbers = shares.topk(min(top, len(classes)))
            named = [(classes[number], value) for number, value in zip(numbers.tolist(), values.tolist(), strict=True)]
            text = ", ".join(f"{name} {100 * share:.1f} %" for name, share in named)
            lines.append(Told(text, {"classes": [{"label": name, "probability": share} for name, share in named]}))
        return lines


def share_right(answer: Values, targets: Nested) -> Tensor:
    """The accuracy of a batch; of mixed samples, the mean share of the chosen class in the target.

    >>> share_right({"logits": torch.tensor([[2.0, 0.0], [2.0, 0.0]])}, torch.tensor([0, 1]))
    tensor(0.5000)
    """
    labels, choice = _one_tensor(targets), answer[LOGITS].argmax(1)
    if labels.ndim == 2:
        return labels.gather(1, choice[:, None]).mean()
    return (choice == labels).float().mean()


class ClassMeter:
    """Accuracy, calibration error and loss from sums on the device, which is waited for once, at the end.

    >>> meter = ClassMeter()
    >>> meter.update({"logits": torch.tensor([[2.0, 0.0], [2.0, 0.0]])}, torch.tensor([0, 1]))
    >>> meter.compute()["accuracy"]
    0.5
    """

    BINS = 15

    def __init__(self, top5: bool = False):
        self.top5 = top5
        self.count = 0
        self.sums: Tensor | None = None  # right, among the first five, loss
        self.bins: Tensor | None = None  # of confidence: the sum of it, and how many are right

    def update(self, answer: Values, targets: Nested) -> None:
        logits, given = answer[LOGITS].float(), _one_tensor(targets)
        labels = self._labels(given)
        dtype = exact_dtype(logits.device)
        precise = logits.to(dtype)
        confidence, choice = precise.softmax(1).max(1)
        right = choice == labels
        among = (logits.topk(FEW).indices == labels[:, None]).any(1) if self.top5 else right
        loss = F.cross_entropy(precise, given.to(dtype) if given.is_floating_point() else given, reduction="sum")
        sums = torch.stack((right.sum().to(dtype), among.sum().to(dtype), loss))
        place = (confidence * self.BINS).ceil().long().clamp(1, self.BINS) - 1
        within = (place[:, None] == torch.arange(self.BINS, device=place.device)).to(dtype)
        bins = torch.stack((confidence, self._held(right, choice, given).to(dtype))) @ within
        self.count += len(labels)
        self.sums = sums if self.sums is None else self.sums + sums
        self.bins = bins if self.bins is None else self.bins + bins

    def _labels(self, targets: Tensor) -> Tensor:
        """The class of each sample that is the right answer."""
        return targets

    def _held(self, right: Tensor, choice: Tensor, targets: Tensor) -> Tensor:
        """How far each choice holds, to which its confidence is compared."""
        return right

    def compute(self) -> dict[str, float]:
        if self.sums is None or self.bins is None:
            raise UserError("there are no samples to measure on")
        right, among, loss = (self.sums / self.count).tolist()
        sure, held = self.bins
        top5 = {"top5": among} if self.top5 else {}
        error = ((sure - held).abs().sum() / self.count).item()
        return {"accuracy": right, **top5, "calibration_error": error, "loss": loss}


def _one_tensor(targets: Nested) -> Tensor:
    if not isinstance(targets, Tensor):
        raise UserError(f"the targets are a {type(targets).__name__}; give class numbers, one for each sample")
    return targets


def _pooled(answers: Sequence[Values]) -> Tensor:
    return torch.cat([answer[LOGITS] for answer in answers])
