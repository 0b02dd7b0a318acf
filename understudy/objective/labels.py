"""The supervised loss of the task as a term; for classification it is the cross-entropy with the labels."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy.bounds import ShareBelowOne
from understudy.objective.term import Reading, Reads, Term
from understudy.tasks.classification import cross_entropy as cross_entropy


@dataclass(frozen=True)
class Labels(Term):
    """The supervised loss of the task: cross-entropy for classification, squared error for regression, and so on.

    The value of a sample without a label is 0, and the mean over the batch counts it.

    Args:
        label_smoothing: the share of each label that is spread over all options, of tasks that have labels.

    >>> print(0.1 * Labels())
    0.1 * Labels()
    """

    label_smoothing: ShareBelowOne = 0.0

    @property
    def reads(self) -> Reads:
        return Reads(student_answer=True, labels=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        values = reading.task.loss(reading.student.named, reading.given_targets, smoothing=self.label_smoothing)
        return values if reading.labelled is None else values.where(reading.labelled, 0.0)


@dataclass(frozen=True)
class CE(Labels):
    """``Labels`` under the name that it has in classification: cross-entropy (soft labels too, as mixup makes them).

    >>> print(CE() + 0.9 * CE(label_smoothing=0.1))
    CE() + 0.9 * CE(label_smoothing=0.1)
    """
