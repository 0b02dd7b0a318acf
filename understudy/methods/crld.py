"""Soft targets on two views of each sample, and across them: ``CE + CRLD`` (Zhang et al., 2024).

Both networks see the batch as it comes and a strongly changed view of it. Soft targets of the teacher for one view are
for the student on the same view and on the other; they count where the teacher is sure enough.

Reference: Zhang, Liu, Cai, Ma, "Cross-view consistency regularisation for knowledge distillation", ACM MM 2024.
Weights, temperature, thresholds: those of the port in DeepKD's code (2 within a view, 0.5 across, 4, 0.9 and 0.2), and
of a fork of the authors' code (scx-822/CRLD-main at 19e8124). Their own repository was not at hand.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from understudy.bounds import Count, Interval, NonNegative, Share, Temperature
from understudy.data.policies import RandAugment
from understudy.errors import UserError
from understudy.methods.kd import kd
from understudy.methods.method import one_stage
from understudy.methods.shared.copies import inputs_of, logits_of
from understudy.methods.shared.logits import check_same
from understudy.objective.labels import cross_entropy
from understudy.objective.term import Reading, Reads, Term, needs_classes
from understudy.precision import wide
from understudy.tasks.task import Task


def crld(
    student_weak: Tensor,
    student_strong: Tensor,
    teacher_weak: Tensor,
    teacher_strong: Tensor,
    *,
    within: float = 2.0,
    across: float = 0.5,
    temperature: float = 4.0,
    sure_weak: float = 0.9,
    sure_strong: float = 0.2,
) -> Tensor:
    """Cross-view consistency: soft targets of two views, each where the teacher is sure, one value per sample.

    ``within [max t_w >= sure_weak] (KL(t_w, s_w) + KL(t_s, s_s)) + across [max t_s >= sure_strong] (KL(t_w, s_s) +
    KL(t_s, s_w))``, KL(t, s) that of ``kd`` at the temperature, max t the teacher's largest probability

    Args:
        student_weak, student_strong: logits of both views, (N, C).
        teacher_weak, teacher_strong: the teacher's, (N, C).
        within, across: weights of the soft targets of the same view and of the other one.
        temperature: T.
        sure_weak, sure_strong: the least probability of the teacher's class, at temperature 1.

    Weight in the objective: 1, beside the labels' cross-entropy on both views.
    Reference: Zhang, Liu, Cai, Ma, "Cross-view consistency regularisation for knowledge distillation", ACM MM 2024.
    Differences: none known to the port in DeepKD's code.

    >>> crld(*(torch.tensor([[9.0, 0.0]]) for _ in range(4)))
    tensor([0.])
    """
    for other in (student_strong, teacher_weak, teacher_strong):
        check_same(student_weak, other, what="the logits of the two networks and views")
    weak, strong = (wide(t).softmax(-1).amax(-1) for t in (teacher_weak, teacher_strong))

    def soft(student: Tensor, teacher: Tensor) -> Tensor:
        return kd(student, teacher, temperature=temperature)

    same = soft(student_weak, teacher_weak) + soft(student_strong, teacher_strong)
    crossed = soft(student_strong, teacher_weak) + soft(student_weak, teacher_strong)
    return within * (weak >= sure_weak) * same + across * (strong >= sure_strong) * crossed


@dataclass(frozen=True)
class CRLD(Term):
    """Soft targets on two views and across them, and the labels on the second view; see ``losses.crld``.

    The second view is drawn by ``RandAugment`` from the batch as it comes, by the epoch and each sample's number; where
    samples have no numbers, by their place in the batch. Images are brought to values between 0 and 1 by the least and
    the largest value of the batch, and back. Both networks are asked about the second view at every step.

    Args:
        within, across: weights of the soft targets of the same view and of the other one.
        temperature: of both networks.
        sure_weak, sure_strong: how sure the teacher must be, of the first and of the second view.
        operations, magnitude: of RandAugment.
        strong_labels: weight of the labels on the second view.

    Differences: DeepKD's code has a RandAugment of its own (2 operations of a random strength, and a cutout); here it
    is torchvision's. There each view has a crop and a flip of its own; here the second is made of the first. Each view
    is a batch of its own for batch norms, as there.

    >>> print(CRLD(across=1.0))
    CRLD(across=1.0)
    """

    within: NonNegative = 2.0
    across: NonNegative = 0.5
    temperature: Temperature = 4.0
    sure_weak: Share = 0.9
    sure_strong: Share = 0.2
    operations: Count = 2
    magnitude: Annotated[int, Interval(ge=0, le=30)] = 10
    strong_labels: NonNegative = 1.0

    def misfit(self, task: Task) -> str | None:
        if task.takes_words:
            return f"it changes images, and the inputs of task {task.name!r} are numbers of words"
        return needs_classes(task, distributions=True)

    @property
    def reads(self) -> Reads:
        networks = Reads(student_network=True, teacher_network=True)
        return networks | Reads(student_logits=True, teacher_logits=True, batch=True, inputs=True, labels=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        inputs = inputs_of(reading, "CRLD")
        if not isinstance(inputs, Tensor) or inputs.ndim != 4:
            raise UserError("CRLD changes images: it needs one tensor (N, C, H, W)")
        teacher, student = reading.teacher_network, reading.student_network
        assert teacher is not None
        assert student is not None
        changed = self._changed(inputs.detach(), reading)
        with torch.no_grad():
            targets = logits_of(teacher, changed)
        strong = logits_of(student, changed)
        value = crld(
            reading.student.logits,
            strong,
            reading.teacher.logits,
            targets,
            within=self.within,
            across=self.across,
            temperature=self.temperature,
            sure_weak=self.sure_weak,
            sure_strong=self.sure_strong,
        )
        return value + self.strong_labels * cross_entropy(strong, reading.labels)

    def _changed(self, images: Tensor, reading: Reading) -> Tensor:
        ids = torch.arange(len(images), device=images.device) if reading.ids is None else reading.ids.to(images.device)
        least, largest = images.amin(), images.amax()
        scaled = (wide(images) - least) / (largest - least).clamp_min(1e-6)
        policy = RandAugment(operations=self.operations, magnitude=self.magnitude)
        changed = policy.draw(scaled, 0, int(reading.epoch), ids)
        return (changed * (largest - least) + least).to(images.dtype)


METHOD = one_stage(
    "crld",
    CRLD,
    stage="labels and two views",
    weight=1.0,
    family="logits",
    year=2024,
    paper="Zhang et al., Cross-view consistency regularisation for knowledge distillation",
)
