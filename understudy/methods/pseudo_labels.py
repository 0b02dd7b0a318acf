"""Pseudo-labels: the teacher's own answers as the labels of samples that have none."""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy.bounds import NonNegative, ShareBelowOne
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Term
from understudy.precision import or_nan


@dataclass(frozen=True)
class PseudoLabels(Term):
    """The supervised loss of the task, with the teacher's answer as the label of each sample without one.

    The answer is the likeliest class, the boxes that are sure, or the numbers themselves, and follows each view of a
    sample. Samples with a label count as 0, as those without count in ``CE``; so both terms together are the mean loss
    over all samples. It needs data with such samples (``unlabelled``).

    Reference: Lee, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks",
    ICML workshops 2013, where the network labels samples for itself; Radosavovic et al., "Data distillation: towards
    omni-supervised learning", CVPR 2018, where a teacher does, from the mean of several views.

    Args:
        label_smoothing: the share of each label that is spread over all options, of tasks that have labels.

    >>> from understudy.terms import CE
    >>> print(CE() + 0.5 * PseudoLabels())
    CE() + 0.5 * PseudoLabels()
    """

    label_smoothing: ShareBelowOne = 0.0

    @property
    def reads(self) -> Reads:
        return Reads(student_answer=True, teacher_answer=True, labels=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        if reading.labelled is None:
            raise UserError(
                "pseudo-labels are of samples without labels, and all samples have one: give such samples "
                "(unlabelled), or take another method, such as kd"
            )
        values = reading.task.loss(reading.student.named, reading.given_targets, smoothing=self.label_smoothing)
        for teacher in reading.teachers:
            for answer in teacher.named.values():  # a choice hides that it was made among no numbers
                values = or_nan(values, answer)
        return values.where(~reading.labelled, 0.0)


def pseudo_labels(
    config: TrainConfig, *, weight: NonNegative = 1.0, label_smoothing: ShareBelowOne = 0.0
) -> list[Stage]:
    """The labels, and the teacher's answers as the labels of samples that have none."""
    term = CE(label_smoothing) + weight * PseudoLabels(label_smoothing)
    return [Stage("labels and pseudo-labels", term, config)]


METHOD = Method(
    "pseudo-labels",
    pseudo_labels,
    family="logits",
    year=2013,
    paper="Lee, Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks",
)
