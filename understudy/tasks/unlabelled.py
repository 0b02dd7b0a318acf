"""Data without labels: a student of class scores is compared with the teacher's choices."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from understudy.errors import UserError
from understudy.nested import Nested, count, device
from understudy.printable import shown
from understudy.tasks import class_scores
from understudy.tasks.classification import LOGITS, UNKNOWN, Classification, ClassMeter, _one_tensor, _pooled
from understudy.tasks.task import Differing, Figure, Meter, Values


@dataclass(frozen=True)
class Unlabelled(Classification):
    """Class scores for samples without labels: what counts is the agreement with the teacher.

    The targets of the parts that are measured are the teacher's choices. The targets of the training part are unknown,
    and terms that read them are refused.

    Args:
        classes: the names of the teacher's outputs; empty until a teacher has answered.

    >>> task = Unlabelled(("cat", "dog"))
    >>> task.figures[0].title, task.figures[0].chance
    ('agreement with the teacher', 0.5)
    """

    name: ClassVar[str] = "unlabelled"
    labelled: ClassVar[bool] = False
    targets_are_classes: ClassVar[bool] = False
    likeness: ClassVar[tuple[Figure, ...]] = (Figure("divergence", "KL from the teacher", "lower"),)

    @classmethod
    def of(cls, targets: Nested, *, names: Sequence[str] | int | None = None, **settings: object) -> "Unlabelled":
        classes = settings.get("classes", names)
        if classes is not None and not isinstance(classes, (int, list, tuple)):
            raise UserError(f"task {cls.name!r}: classes = {shown(classes)}: give the names of the outputs")
        return cls(Classification.of(targets, names=classes or 0).classes)

    @property
    def figures(self) -> tuple[Figure, ...]:
        chance = 1 / len(self.classes) if self.classes else None
        return (Figure("agreement", "agreement with the teacher", unit="share", chance=chance),)

    @property
    def about(self) -> str:
        known = f"{len(self.classes)} outputs of the teacher" if self.classes else "the outputs are the teacher's"
        return f"no labels ({known})"

    def converted(self, targets: Nested) -> Nested:
        """Labels, where there are any, are left out."""
        return torch.full((count(targets),), UNKNOWN, dtype=torch.int64, device=device(targets))

    def check(self, targets: Nested) -> None:
        return

    def remarks(self, targets: Nested) -> Sequence[str]:
        return ()

    def strata(self, targets: Nested) -> Tensor | None:
        return None

    def mixed(self, targets: Nested, partners: Nested, share: Tensor) -> Nested:
        """Mixed samples are as unknown as others."""
        return targets

    def completed(self, answer: Values) -> "Unlabelled":
        scores = answer[LOGITS]
        if scores.ndim != 2 or scores.shape[1] < 2:
            shape = " x ".join(map(str, scores.shape[1:]))
            raise UserError(
                f"data without labels: the teacher answers with {shape or 'a single'} values, and a choice needs at "
                'least two scores; for a network whose answer is a feature vector, set task = "embedding"'
            )
        if self.classes and len(self.classes) != scores.shape[1]:
            raise UserError(
                f"data without labels: the teacher has {scores.shape[1]} outputs, and {len(self.classes)} classes are "
                "named: leave classes out, or name the teacher's"
            )
        return self if self.classes else replace(self, classes=tuple(map(str, range(scores.shape[1]))))

    def without_labels(self, targets: Nested, count: int) -> Nested:
        raise UserError("the data have no labels, so that samples without labels are samples like others: add them")

    def meter(self) -> Meter:
        return AgreementMeter()

    def compared(self, student: Values, teacher: Values, targets: Nested) -> dict[str, float]:
        alike = class_scores.agreement(student[LOGITS], teacher[LOGITS])
        return {"agreement": alike.top1, "divergence": alike.kl}

    def details(self, answers: Sequence[Values], targets: Nested, taught: Sequence[Values]) -> dict[str, object]:
        pooled, choices = _pooled(answers), _one_tensor(targets).repeat(len(answers))
        measures: dict[str, object] = {"options": class_scores.class_accuracies(pooled, choices)}
        if len(taught) == len(answers) and (teachers := _pooled(taught)).shape == pooled.shape:
            measures["agreement"] = [asdict(bin) for bin in class_scores.agreement(pooled, teachers).by_confidence]
        return measures

    def errors(self, student: Values, teacher: Values, targets: Nested, ids: Tensor) -> dict[str, object]:
        """Which of two differing answers is right is unknown."""
        return {}

    def differing(self, student: Values, teacher: Values, targets: Nested) -> Sequence[Differing]:
        """The samples on which the two disagree most confidently; neither is known to be wrong."""
        kind: Literal["both"] = "both"
        apart = super().differing(student, teacher, teacher[LOGITS].argmax(1))
        return [replace(one, kind=kind, record={**one.record, "target": "unknown"}) for one in apart]


class AgreementMeter:
    """The share of samples with the teacher's choice, and the cross-entropy with it.

    >>> meter = AgreementMeter()
    >>> meter.update({"logits": torch.tensor([[2.0, 0.0], [2.0, 0.0]])}, torch.tensor([0, 1]))
    >>> meter.compute()["agreement"]
    0.5
    """

    def __init__(self) -> None:
        self.choices = ClassMeter()

    def update(self, answer: Values, targets: Nested) -> None:
        if isinstance(targets, Tensor) and len(targets) and int(targets.min()) == UNKNOWN:
            raise UserError(
                "the data have no labels, and no teacher has answered for them: a student is compared with its "
                "teacher's answers in a run with a teacher"
            )
        self.choices.update(answer, targets)

    def compute(self) -> dict[str, float]:
        figures = self.choices.compute()
        return {"agreement": figures["accuracy"], "loss": figures["loss"]}
