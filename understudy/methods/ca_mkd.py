"""Several teachers, each counting by how well it knows the label of a sample: ``CE + weight sum_k w_k T^2 KL_k / K``.

Reference: Zhang, Chen, Wang, "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022.
Weights, temperature: 1 for the soft targets, 50 for the maps and 4, as in the authors' code.
Differences: ``ca-mkd`` is the part on logits, which any task with class scores has; ``ca-mkd-maps`` is the published
method, with the part on maps. In their code the first epoch has no loss of the maps; here it has.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from understudy.bounds import NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.kd import kd
from understudy.methods.method import Method, one_stage
from understudy.methods.shared.heads import TeachersHead
from understudy.methods.shared.logits import LogitTerm, check_stack
from understudy.methods.shared.maps import BatchNorm, feature_mse, require_maps
from understudy.methods.shared.pairs import MapsTerm
from understudy.objective.labels import CE, cross_entropy
from understudy.objective.term import Reading, Reads, Shapes, needs_classes
from understudy.taps import Answer, Tap
from understudy.taps.modules import Chain, Resize
from understudy.taps.stages import head_on
from understudy.tasks.task import Task


def confident_teachers(
    student_logits: Tensor, teachers_logits: Tensor, labels: Tensor, *, temperature: float = 4.0
) -> Tensor:
    """Several teachers, each counting by its own cross-entropy with the label, one value per sample.

    ``1/K sum_k w_k T^2 KL(softmax(t_k/T) || softmax(s/T))``, ``w_k = (1 - softmax_k(CE(t_k, y))) / (K - 1)``; w is 1
    for a single teacher

    Args:
        student_logits: (N, C).
        teachers_logits: of K teachers, (K, N, C).
        labels: class numbers (N), or distributions (N, C).
        temperature: T of the soft targets; the cross-entropies are taken at 1.

    Weight in the objective: 1 beside the labels' cross-entropy.
    Reference: Zhang, Chen, Wang, "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022.
    Differences: none known to this part of the authors' code, which divides by K as well.

    >>> confident_teachers(torch.zeros(1, 2), torch.tensor([[[0.0, 0.0]], [[0.0, 0.0]]]), torch.tensor([0]))
    tensor([0.])
    """
    check_stack(student_logits, teachers_logits, what="the teachers' logits")
    parts = [kd(student_logits, teacher, temperature=temperature) for teacher in teachers_logits]
    return (_shares(teachers_logits, labels) * torch.stack(parts)).sum(0) / len(teachers_logits)


def confident_maps(distances: Tensor, cross_logits: Tensor, labels: Tensor) -> Tensor:
    """Distances to the maps of several teachers, each counting by what its classifier makes of the student's map.

    ``1/K sum_k w_k d_k``, ``w_k = (1 - softmax_k(CE(z_k, y))) / (K - 1)``; w is 1 for a single teacher

    Args:
        distances: d, of the student's map to that of each of K teachers, one value per sample, (K, N).
        cross_logits: z, what each teacher's classifier answers to the student's map in that teacher's form, (K, N, C).
        labels: class numbers (N), or distributions (N, C).

    Weight in the objective: 50, with mean squared distances. The gradient passes through w as well.
    Reference: Zhang, Chen, Wang, "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022.
    Differences: none known to this part of the authors' code.

    >>> confident_maps(torch.ones(2, 1), torch.zeros(2, 1, 3), torch.tensor([0]))
    tensor([0.5000])
    """
    if cross_logits.ndim != 3 or cross_logits.shape[:2] != distances.shape:
        shapes = f"{tuple(distances.shape)} and {tuple(cross_logits.shape)}"
        raise UserError(f"confident_maps takes distances (K, N) and logits (K, N, C), not {shapes}")
    return (_shares(cross_logits, labels) * distances).sum(0) / len(distances)


def _shares(logits: Tensor, labels: Tensor) -> Tensor:
    """(K, N): the weight of each of K answers (K, N, C), smaller where it is unsure of the label."""
    unsure = torch.stack([cross_entropy(answer, labels) for answer in logits])
    count = len(logits)
    return (1 - unsure.softmax(0)) / (count - 1) if count > 1 else torch.ones_like(unsure)


@dataclass(frozen=True)
class ConfidentTeachers(LogitTerm):
    """Several teachers, each counting by how well it knows the label; with one, ``KD``; ``losses.confident_teachers``.

    >>> print(ConfidentTeachers(temperature=2.0))
    ConfidentTeachers(temperature=2.0)
    """

    reads_labels: ClassVar[bool] = True

    temperature: Temperature = 4.0

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return confident_teachers(
            reading.student.logits,
            torch.stack([teacher.logits for teacher in reading.teachers]),
            reading.labels,
            temperature=self.temperature,
        )


@dataclass(frozen=True)
class ConfidentMaps(MapsTerm):
    """The last maps of several teachers, each counting by what its classifier makes of the student's map.

    ``1/K sum_k w_k mean (t_k - E_k(s))^2``, see ``losses.confident_maps``; E a 1x1 convolution, batch norm and ReLU

    Args:
        maps: the pair of last maps of the first teacher and of the student.
        others: the last maps of the second teacher and of those after it, in their order. A teacher for which none is
            named takes no part; the check says so.

    The classifier of a teacher is the linear layer that answers from the mean of its map; its weights are copied.
    Differences: where the student's map is the larger one it is averaged, else interpolated, as in the authors' code,
    but from the map itself for every teacher, not from what the teacher before has made of it.

    >>> print(ConfidentMaps("layer3 -> layer3", others=("features",)))
    ConfidentMaps(maps='layer3 -> layer3', others=('features',))
    """

    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "others", tuple(self.others))

    def misfit(self, task: Task) -> str | None:
        if task.dense:
            return f"it reads what linear classifiers see in pooled maps, and answers of task {task.name!r} are dense"
        return needs_classes(task, distributions=True)

    @property
    def reads(self) -> Reads:
        further = tuple((Tap.parse(tap),) for tap in self.others)
        return super().reads | Reads(teacher_logits=True, further_taps=further, labels=True)

    def build(self, shapes: Shapes) -> nn.Module:
        assert shapes.teacher_network is not None
        student = shapes.student[self.taps.student]
        teachers = [(shapes.teacher, shapes.teacher_network), *shapes.further]
        return nn.ModuleList(
            self._of_teacher(student, answer, network, tap)
            for (answer, network), tap in zip(teachers, self._taps(), strict=False)
        )

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        if missing := len(shapes.further) - len(self.others):
            yield f"the maps of {missing} further teachers take no part: name the last map of each as 'others'"

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        student = reading.student[self.taps.student]
        distances, logits = [], []
        for module, teacher, tap in zip(owned, reading.teachers, self._taps(), strict=False):
            assert isinstance(module, nn.ModuleDict)
            embedded = module["embed"](student)
            distances.append(feature_mse(embedded, teacher[tap]))
            logits.append(module["head"](embedded.mean((2, 3))))
        return confident_maps(torch.stack(distances), torch.stack(logits), reading.labels)

    def _taps(self) -> Iterator[Tap]:
        yield self.taps.teacher
        yield from map(Tap.parse, self.others)

    def _of_teacher(self, student: Tensor, answer: Answer, network: nn.Module, tap: Tap) -> nn.Module:
        teacher = answer[tap]
        require_maps(self, student, teacher)
        path = head_on(network, teacher, answer.logits)
        if path is None:
            raise UserError(
                f"{self}: no linear layer of the teacher answers from the mean of its {str(tap)!r}: name its last map "
                "before the pooling, or take 'ca-mkd', which reads logits alone"
            )
        layer = network.get_submodule(path)
        assert isinstance(layer, (nn.Linear, nn.Conv2d))
        resize = [] if student.shape[2:] == teacher.shape[2:] else [Resize((teacher.shape[2], teacher.shape[3]))]
        channels = teacher.shape[1]
        embed = Chain(*resize, nn.Conv2d(student.shape[1], channels, 1), BatchNorm(channels), nn.ReLU())
        head = TeachersHead(layer.weight.flatten(1), layer.bias)
        return nn.ModuleDict({"embed": embed.to(student.dtype), "head": head})


def _stages(
    config: TrainConfig,
    *,
    maps: str,
    others: tuple[str, ...] = (),
    maps_weight: NonNegative = 50.0,
    temperature: Temperature = 4.0,
    weight: NonNegative = 1.0,
    label_weight: NonNegative = 1.0,
) -> list[Stage]:
    """Labels, several teachers' soft targets and their last maps; each counts by how well it knows the label.

    Args:
        maps: the pair of last maps of the first teacher and of the student.
        others: the last maps of the further teachers, in their order; a teacher without one counts by its logits.
        maps_weight, weight, label_weight: of the maps, of the soft targets and of the labels.
        temperature: of the soft targets.
    """
    soft = weight * ConfidentTeachers(temperature)
    objective = label_weight * CE() + soft + maps_weight * ConfidentMaps(maps, others)
    return [Stage("labels, confident teachers and their maps", objective, config)]


_PAPER = "Zhang et al., Confidence-aware multi-teacher knowledge distillation"
METHOD = one_stage(
    "ca-mkd",
    ConfidentTeachers,
    stage="labels and confident teachers",
    weight=1.0,
    label_weight=1.0,
    family="several networks",
    year=2022,
    paper=_PAPER,
    guides="all",
)
MAPS = Method(
    "ca-mkd-maps",
    _stages,
    family="several networks",
    year=2022,
    paper=_PAPER,
    guides="all",
    of_assistants={"others": None},
)
