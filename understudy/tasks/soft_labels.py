"""Classification by distributions: a row of probabilities over the classes for each sample, in the place of a label."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from understudy.errors import UserError
from understudy.nested import Nested
from understudy.tasks import class_scores
from understudy.tasks.classification import (
    FEW,
    Classification,
    ClassMeter,
    _one_tensor,
    _pooled,
    are_distributions,
    share_right,
)
from understudy.tasks.task import Differing, Meter, Values


@dataclass(frozen=True)
class SoftLabels(Classification):
    """A distribution over the classes for each sample: targets are probabilities (N, C), answers are logits (N, C).

    The loss is the cross-entropy with the distribution. Accuracy counts the likeliest class of each row as the right
    one; the calibration error compares a network's confidence with the probability that the row gives to its choice.
    Class numbers (N) are taken, too, as rows with a single 1.

    Args:
        classes: their names in the order of the columns.

    >>> task = SoftLabels(("cat", "dog"))
    >>> task.loss({"logits": torch.zeros(1, 2)}, torch.tensor([[0.25, 0.75]]))
    tensor([0.6931])
    """

    name: ClassVar[str] = "soft-labels"
    targets_are_classes: ClassVar[bool] = False
    targets_are_distributions: ClassVar[bool] = True

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> "SoftLabels":
        rows = _one_tensor(targets)
        if names is None and rows.ndim == 2 and rows.shape[1] > 1:
            names = rows.shape[1]
        return cls(Classification.of(rows, names=names, **settings).classes)

    @property
    def about(self) -> str:
        return f"distributions over {len(self.classes)} classes"

    def converted(self, targets: Nested) -> Nested:
        rows, classes = _one_tensor(targets), len(self.classes)
        if rows.ndim == 1 or (rows.ndim == 2 and rows.shape[1] == 1 and classes > 1):
            numbers = super().converted(rows)
            super().check(numbers)
            return F.one_hot(_one_tensor(numbers), classes).float()
        if rows.ndim != 2 or rows.shape[1] != classes:
            raise UserError(
                f"targets have shape {tuple(rows.shape)}; give a row of {classes} probabilities for each sample"
            )
        return rows.float()

    def check(self, targets: Nested) -> None:
        rows = _one_tensor(targets)
        wrong = (~are_distributions(rows)).nonzero().flatten()
        if len(wrong):
            first = int(wrong[0])
            least, total = rows[first].min().item(), rows[first].sum().item()
            raise UserError(
                f"the targets of sample {first} are no distribution: their sum is {total:.4g} and the least value "
                f"{least:.4g} ({len(wrong)} such samples). Probabilities are not negative and have the sum 1; take the "
                "softmax of logits, and the task 'multilabel' for independent labels"
            )

    def remarks(self, targets: Nested) -> Sequence[str]:
        rows = _one_tensor(targets)
        unsure = int((rows.amax(1) < 0.5).sum())
        said = (
            [
                f"no class has half of the probability in {unsure:,} of {len(rows):,} rows: accuracy, and methods that "
                "read one class of each sample (dkd, nkd, ...), take the likeliest"
            ]
            if unsure
            else []
        )
        return [*super().remarks(rows.argmax(1)), *said]

    def strata(self, targets: Nested) -> Tensor | None:
        return _one_tensor(targets).argmax(1)

    def without_labels(self, targets: Nested, count: int) -> Nested:
        return torch.full((count, len(self.classes)), torch.nan)

    def mixed(self, targets: Nested, partners: Nested, share: Tensor) -> Nested:
        """The mixture of the two distributions."""
        own, other = _one_tensor(targets), _one_tensor(partners)
        return torch.lerp(other, own, share.view(-1, 1).to(own.dtype))

    @property
    def of_batch(self) -> Callable[[Values, Nested], Tensor]:
        return _likeliest_right

    def meter(self) -> Meter:
        return DistributionMeter(len(self.classes) > FEW)

    def details(self, answers: Sequence[Values], targets: Nested, taught: Sequence[Values]) -> dict[str, object]:
        rows = _one_tensor(targets)
        measured = super().details(answers, rows.argmax(1), taught)
        calibration = class_scores.calibration(_pooled(answers), rows.repeat(len(answers), 1))
        return {**measured, "calibration": [asdict(bin) for bin in calibration.bins]}

    def errors(self, student: Values, teacher: Values, targets: Nested, ids: Tensor) -> dict[str, object]:
        return super().errors(student, teacher, _one_tensor(targets).argmax(1), ids)

    def differing(self, student: Values, teacher: Values, targets: Nested) -> Sequence[Differing]:
        return super().differing(student, teacher, _one_tensor(targets).argmax(1))


def _likeliest_right(answer: Values, targets: Nested) -> Tensor:
    """The accuracy of a batch: the likeliest class of each row counts as the right one."""
    return share_right(answer, _one_tensor(targets).argmax(1))


class DistributionMeter(ClassMeter):
    """The figures of ``ClassMeter`` with a distribution for each sample.

    >>> meter = DistributionMeter()
    >>> meter.update({"logits": torch.tensor([[2.0, 0.0], [2.0, 0.0]])}, torch.tensor([[0.8, 0.2], [0.1, 0.9]]))
    >>> meter.compute()["accuracy"]
    0.5
    """

    def _labels(self, targets: Tensor) -> Tensor:
        return targets.argmax(1)

    def _held(self, right: Tensor, choice: Tensor, targets: Tensor) -> Tensor:
        return targets.gather(1, choice[:, None]).squeeze(1)
