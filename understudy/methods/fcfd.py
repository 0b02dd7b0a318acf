"""Features that serve the other network: each one's later stages run on the features of the other (FCFD).

``CE + soft_weight KD + weight FCFD``; FCFD compares the stages' maps after bridges, what the teacher's later stages
make of the student's bridged maps, and the answers of both kinds of mixed networks with the teacher's soft targets.

Reference: Liu, Kan, Shan, Chen, "Function-consistent feature distillation", ICLR 2023.
Weights, temperature, paths: those of the authors' code for most pairs on CIFAR-100 (5 for the maps, 1 for the answers,
4, two mixed paths at a time). For ResNet-20 from ResNet-56, and ResNet-18 from ResNet-34, their weight of the maps is
0.02; for WRN-16-2 that of the mixed answers is 0.2; for MobileNetV2 from ResNet-50 and ShuffleNets from ResNet-32x4 the
temperature is 8. The maps' weight rises over a twelfth of the epochs, there 20 of 240.
Differences: the maps before the first stage (the stem's) take no part in the code either. The mixed networks are run
from their beginning, whose values are dropped; batch norms there keep no statistics of a mixed path, as the code's own
ones are thrown away after the training. The code leaves the teacher in training mode, so that its batch norms take the
statistics of the batch; here it evaluates.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.bounds import Count, NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.methods.kd import KD, kd
from understudy.methods.method import Method
from understudy.methods.shared.copies import continued, frozen, inputs_of, mixed_in_part
from understudy.methods.shared.maps import BatchNorm, feature_mse, require_maps
from understudy.methods.shared.pairs import PairsTerm, is_rectified, parsed
from understudy.methods.shared.stages import WARM_UP
from understudy.nested import Nested
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Shapes, needs_classes
from understudy.precision import wide
from understudy.taps.modules import Resize
from understudy.tasks.task import Task

RESNETS = {(16, 32, 64), (64, 128, 256, 512)}  # the stages' widths of those for which the authors take 0.02


def consistent_maps(student: Tensor, teacher: Tensor, *, last: bool = False) -> Tensor:
    """FCFD: the distance of a map in the teacher's place from the teacher's, one value per sample.

    ``mean (t - s)^2``, of the last stage plus ``mean (m(relu t) - m(relu s))^2``, m the mean over the places

    Args:
        student: a map of the student after a bridge, or what the teacher's later stages make of one, (N, C, H, W).
        teacher: the teacher's own map there, of the same shape.
        last: whether it is the map before the classifier.

    Weight in the objective: 5 in the authors' code for most pairs on CIFAR-100.
    Reference: Liu, Kan, Shan, Chen, "Function-consistent feature distillation", ICLR 2023.
    Differences: none known to the authors' code.

    >>> consistent_maps(torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2), last=True)
    tensor([2.])
    """
    value = feature_mse(student, teacher)
    if not last:
        return value
    return value + feature_mse(*(wide(x).relu().mean((2, 3)) for x in (student, teacher)))


@dataclass(frozen=True)
class FCFD(PairsTerm):
    """The stages' maps, and what the later stages of the other network make of them; see ``losses.consistent_maps``.

    ``maps (sum_i A_i + sum_paths F) + sum_paths T^2 KL(t || mixed)``: A compares each stage's bridged map with the
    teacher's; a path runs one network up to a stage and the other one from there on, F compares its maps within the
    teacher, and its answer learns from the teacher's

    Args:
        pairs: from input to output, at least two: the ends of the stages.
        maps: weight of A and F.
        rise_epochs: over which that weight rises to ``maps``, by equal steps.
        paths: how many mixed paths are drawn for each batch, of two for each stage but the last.
        temperature: T of the mixed answers.

    The later stages must read nothing of what comes before but the map that is replaced, else the check warns. A bridge
    is a convolution of 3x3 (4x4, transposed, to twice the size), batch norm and, where the map that it stands for is
    not negative, a leaky ReLU. Differences: other ratios of sizes than 1/2, 1 and 2, which the code refuses, are
    resized; the bridges begin as PyTorch's layers do, in the code by Kaiming's rule.

    >>> print(FCFD(["layer1 -> layer1", "layer2 -> layer2"], paths=1))
    FCFD(pairs=('layer1 -> layer1', 'layer2 -> layer2'), paths=1)
    """

    least = 2
    maps: NonNegative = 5.0
    rise_epochs: NonNegative = 0.0
    paths: Count = 2
    temperature: Temperature = 4.0

    def misfit(self, task: Task) -> str | None:
        return needs_classes(task, distributions=True)

    @property
    def reads(self) -> Reads:
        # Paths are drawn for the whole batch.
        networks = Reads(student_network=True, teacher_network=True)
        return super().reads | networks | Reads(teacher_logits=True, batch=True, inputs=True)

    def build(self, shapes: Shapes) -> nn.Module:
        values = self.traced(shapes)
        for student, teacher in values:
            require_maps(self, student, teacher)
        bridges = {
            "to_teacher": nn.ModuleList(_bridge(student, teacher) for student, teacher in values),
            "to_student": nn.ModuleList(_bridge(teacher, student) for student, teacher in values[:-1]),
        }
        return nn.ModuleDict(bridges).to(values[0][0].dtype)

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        networks = (shapes.student_network, shapes.teacher_network)
        widths = {tuple(values.shape[1] for values in maps) for maps in zip(*self.traced(shapes), strict=True)}
        if len(widths) == 1 and widths <= RESNETS and all(map(_is_resnet, networks)) and self.maps > 0.1:
            yield (
                f"the maps weigh {self.maps:g}; for ResNets of these widths (ResNet-20 from ResNet-56, ResNet-18 from "
                "ResNet-34) the authors take 0.02: set maps = 0.02"
            )
        if shapes.inputs is not None and shapes.teacher_network is not None:
            teacher, student = zip(*((pair.teacher, pair.student) for pair in parsed(self.pairs)), strict=True)
            yield from mixed_in_part("teacher", shapes.teacher_network, teacher, shapes.teacher, shapes.inputs)
            yield from mixed_in_part("student", shapes.student_network, student, shapes.student, shapes.inputs)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleDict)
        to_teacher, to_student = owned["to_teacher"], owned["to_student"]
        assert isinstance(to_teacher, nn.ModuleList)
        assert isinstance(to_student, nn.ModuleList)
        values, inputs = self.values(reading), inputs_of(reading, "FCFD")
        bridged = [bridge(student) for bridge, (student, _) in zip(to_teacher, values, strict=True)]
        distances = [self._consistent(maps, values, stage) for stage, maps in enumerate(bridged)]
        answers = []
        for path in torch.randperm(2 * len(to_student))[: self.paths].tolist():
            stage, into_teacher = path // 2, path % 2 == 0
            if into_teacher:
                logits, later = self._within_teacher(reading, inputs, stage, bridged[stage])
                distances += [self._consistent(maps, values, stage + 1 + n) for n, maps in enumerate(later)]
            else:
                logits = self._within_student(reading, inputs, stage, to_student[stage](values[stage][1]))
            answers.append(kd(logits, reading.teacher.logits, temperature=self.temperature))
        risen = min(1.0, (int(reading.epoch) + 1) / self.rise_epochs) if self.rise_epochs else 1.0
        return self.maps * risen * torch.stack(distances).sum(0) + torch.stack(answers).sum(0)

    def _consistent(self, maps: Tensor, values: list[tuple[Tensor, Tensor]], stage: int) -> Tensor:
        return consistent_maps(maps, values[stage][1], last=stage == len(values) - 1)

    def _within_teacher(
        self, reading: Reading, inputs: Nested, stage: int, maps: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """The teacher's answer and its later maps, from the student's bridged map of a stage on."""
        teacher = reading.teacher_network
        assert teacher is not None
        tap, *later = (pair.teacher for pair in parsed(self.pairs)[stage:])
        with frozen(teacher):
            answer = continued(teacher, tap, maps, inputs, tuple(later), reading.task)
        return answer.logits, [answer[tap] for tap in later]

    def _within_student(self, reading: Reading, inputs: Nested, stage: int, maps: Tensor) -> Tensor:
        """The student's answer from the teacher's bridged map of a stage on."""
        student, tap = reading.student_network, parsed(self.pairs)[stage].student
        assert student is not None
        return continued(student, tap, maps, inputs, (), reading.task).logits


def _is_resnet(network: nn.Module | None) -> bool:
    return network is not None and any(type(module).__name__ == "ResNet" for module in network.modules())


def _bridge(source: Tensor, target: Tensor) -> nn.Module:
    """The authors' bridge from one map to the form of another."""
    inputs, outputs = source.shape[1], target.shape[1]
    sizes, wanted = tuple(source.shape[2:]), (target.shape[2], target.shape[3])
    layers: list[nn.Module] = []
    if sizes == wanted:
        layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))
    elif sizes == (2 * wanted[0], 2 * wanted[1]):
        layers.append(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1))
    elif (2 * sizes[0], 2 * sizes[1]) == wanted:
        layers.append(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1))
    else:
        layers += [Resize(wanted), nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
    layers.append(BatchNorm(outputs))
    if is_rectified(target):
        layers.append(nn.LeakyReLU(0.1))
    return nn.Sequential(*layers)


def _stages(
    config: TrainConfig,
    *,
    pairs: tuple[str, ...],
    maps: NonNegative = 5.0,
    warmup_epochs: NonNegative | None = None,
    paths: Count = 2,
    temperature: Temperature = 4.0,
    weight: NonNegative = 1.0,
    soft_weight: NonNegative = 1.0,
    label_weight: NonNegative = 1.0,
) -> list[Stage]:
    """Features that serve the other network's later stages: ``CE + KD + FCFD``.

    Args:
        pairs: the ends of the stages, from input to output.
        maps: weight of the distances of maps; 0.02 for ResNet-20 from ResNet-56 and ResNet-18 from ResNet-34. The check
            warns of a larger one there.
        warmup_epochs: over which that weight rises; by default a twelfth of the epochs.
        paths: how many mixed networks are run for each batch.
        temperature: of all soft targets.
        weight, soft_weight, label_weight: of FCFD's parts, of the soft targets and of the labels.
    """
    rise = config.epochs / WARM_UP if warmup_epochs is None else warmup_epochs
    soft = label_weight * CE() + soft_weight * KD(temperature)
    term = FCFD(pairs, maps=maps, rise_epochs=rise, paths=paths, temperature=temperature)
    return [Stage("labels, soft targets and mixed networks", soft + weight * term, config)]


METHOD = Method(
    "fcfd",
    _stages,
    family="features",
    year=2023,
    paper="Liu et al., Function-consistent feature distillation",
)
