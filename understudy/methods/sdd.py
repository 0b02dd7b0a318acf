"""Soft targets of the whole image and of its parts: ``0.1 * CE + 0.9 SDD`` (scale decoupled, Wei et al., 2024).

Both classifiers answer from the mean of the last map, and from the means of the cells of coarser and finer grids. Cells
in which the teacher is right and in the whole wrong, or the other way round, count twice.

Reference: Wei, Luo, Luo, "Scale decoupled distillation", CVPR 2024.
Weights, temperature, grids: those of the authors' configuration for plain soft targets (SD-KD), 0.1, 0.9 and 4, and the
grids 1, 2, 4 of its commands for unlike networks; for like ones these have 1, 2. With ``form = "dkd"`` (SD-DKD) their
weights are 1 and 1, and the loss is warmed up over ``warmup_epochs``; ``beta`` is 8 by default, 6 or 2 for some pairs.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from annotated_types import MinLen
from torch import Tensor, nn

from understudy.bounds import Interval, Mark, NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.dkd import dkd
from understudy.methods.kd import kd
from understudy.methods.method import Method
from understudy.methods.shared.heads import HeadsTerm, TeachersHead
from understudy.methods.shared.logits import class_numbers
from understudy.methods.shared.stages import warmed_up
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, needs_classes
from understudy.precision import wide
from understudy.tasks.task import Task

Form = Literal["kd", "dkd"]


def sdd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    form: Form = "kd",
    temperature: float = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
) -> Tensor:
    """Scale decoupled distillation: soft targets of the whole image and of its cells, one value per sample.

    ``1/K sum_k w_k T^2 KL(softmax(t_k/T) || softmax(s_k/T))``, k = 1 the whole image; w_k is 2 where the teacher is
    right in the cell k and wrong in the whole, or the other way round, else 1

    Args:
        student_logits, teacher_logits: (N, K, C): the answers for the whole image first, then those for its cells.
        labels: class numbers (N), or distributions (N, C), of which the largest class counts.
        form: "dkd" has the decoupled divergence of ``dkd`` in place of the KL.
        temperature: T.
        alpha, beta: of ``dkd``.

    Weight in the objective: ``0.1 CE + 0.9 SDD`` for "kd", ``CE + SDD`` for "dkd".
    Reference: Wei, Luo, Luo, "Scale decoupled distillation", CVPR 2024.
    Differences: none known to the authors' code, which also has a form with ``nkd``.

    >>> sdd(torch.zeros(1, 5, 2), torch.zeros(1, 5, 2), torch.tensor([0]))
    tensor([0.])
    """
    if student_logits.ndim != 3 or student_logits.shape != teacher_logits.shape:
        shapes = f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        raise UserError(f"sdd takes the answers of both networks for the cells of an image, (N, K, C), not {shapes}")
    numbers = class_numbers(labels)
    right = wide(teacher_logits).argmax(-1) == numbers.unsqueeze(1)
    factor = 1 + (right != right[:, :1]).to(wide(student_logits).dtype)
    own, guide = student_logits.flatten(0, 1), teacher_logits.flatten(0, 1)
    if form == "kd":
        return (kd(own, guide, temperature=temperature).view_as(factor) * factor).mean(1)
    if form == "dkd":
        repeated = numbers.unsqueeze(1).expand_as(factor).flatten()
        values = dkd(own, guide, repeated, alpha=alpha, beta=beta, temperature=temperature)
        return (values.view_as(factor) * factor).mean(1)
    raise UserError(f"form is 'kd' or 'dkd', not {form!r}")


@dataclass(frozen=True)
class SDD(HeadsTerm):
    """Soft targets of the whole image and of its parts; see ``losses.sdd``.

    Args:
        maps: the pair of last maps before they are pooled.
        heads: the pair of classifiers: linear layers (or 1x1 convolutions) right after the pooling. The teacher's is
            copied, the student's is the one that learns.
        grids: cells of each grid by its side; the whole image always counts, and comes first.
        form: "kd" or "dkd".
        temperature: of both networks.
        alpha, beta: of "dkd".

    >>> print(SDD("layer3 -> layer3", "fc -> fc", grids=(2,)))
    SDD(maps='layer3 -> layer3', heads='fc -> fc', grids=(2,))
    """

    subject: ClassVar[str] = "the answers for its cells"

    grids: Annotated[tuple[Annotated[int, Interval(ge=2, le=64)], ...], MinLen(1)] = (2, 4)
    form: Form = "kd"
    temperature: Temperature = 4.0
    alpha: NonNegative = 1.0
    beta: NonNegative = 8.0

    def misfit(self, task: Task) -> str | None:
        return super().misfit(task) or needs_classes(task)

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(labels=True)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, TeachersHead)
        own, guide = self.maps_of(reading)
        weight, bias = self.students_head(reading)
        cells = self._cells(own)
        student = F.linear(cells, weight.to(cells.dtype), None if bias is None else bias.to(cells.dtype))
        teacher = owned(self._cells(guide))
        return sdd(
            student,
            teacher,
            reading.labels,
            form=self.form,
            temperature=self.temperature,
            alpha=self.alpha,
            beta=self.beta,
        )

    def _cells(self, maps: Tensor) -> Tensor:
        """(N, K, channels): the mean of the map, then those of the cells of each grid."""
        means = [F.adaptive_avg_pool2d(wide(maps), side).flatten(2) for side in (1, *self.grids)]
        return torch.cat(means, dim=2).transpose(1, 2)


def _stages(
    config: TrainConfig,
    term: SDD,
    *,
    weight: NonNegative | None = None,
    label_weight: NonNegative | None = None,
    warmup_epochs: Mark | None = None,
) -> list[Stage]:
    """See the module: the weights are 0.9 and 0.1 for "kd", 1 and 1 for "dkd", unless they are given.

    Args:
        weight, label_weight: of the cells' soft targets and of the labels.
        warmup_epochs: over which ``weight`` grows from 0; by default 0 for "kd", a twelfth of all epochs for "dkd".
    """
    soft, hard = (0.9, 0.1) if term.form == "kd" else (1.0, 1.0)
    weight, label_weight = soft if weight is None else weight, hard if label_weight is None else label_weight
    epochs = 0.0 if warmup_epochs is None and term.form == "kd" else warmup_epochs
    objective = label_weight * CE() + warmed_up(weight * term, config, epochs)
    return [Stage("labels and soft targets of cells", objective, config)]


METHOD = Method(
    "sdd", _stages, term=SDD, family="logits", year=2024, paper="Wei et al., Scale decoupled distillation", doc=__doc__
)
