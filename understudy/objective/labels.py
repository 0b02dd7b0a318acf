"""Cross-entropy with the labels: the pure loss and the term."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Share
from understudy.objective.term import Reading, Reads, Term
from understudy.precision import wide


def cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the labels, one value per sample.

    ``-sum_c y_c log softmax(z)_c``; ``labels`` are class numbers (N) or distributions (N, C), as mixup makes them.

    >>> cross_entropy(torch.zeros(2, 4), torch.tensor([0, 3]))
    tensor([1.3863, 1.3863])
    """
    return F.cross_entropy(wide(logits), _target(labels), reduction="none", label_smoothing=label_smoothing)


@dataclass(frozen=True)
class CE(Term):
    """Cross-entropy of the student with the labels (soft labels too, as mixup makes them).

    >>> print(CE() + 0.9 * CE(label_smoothing=0.1))
    CE() + 0.9 * CE(label_smoothing=0.1)
    """

    label_smoothing: Share = 0.0

    @property
    def reads(self) -> Reads:
        return Reads(student_logits=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return cross_entropy(reading.student.logits, reading.labels, label_smoothing=self.label_smoothing)


def _target(labels: Tensor) -> Tensor:
    return wide(labels) if labels.is_floating_point() else labels
