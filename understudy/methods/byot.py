"""Exits on the student's stages, which learn the labels and its own answer: ``CE + BYOT``.

``CE(s, y) + weight sum_i BYOT(h_i) + features_weight sum_i ‖A_i f_i - f‖``, h_i the exit on stage i, f_i its features,
f those of the last stage. No trained teacher is needed; the exits go after the training.

Reference: Zhang et al., "Be your own teacher: improve the performance of convolutional neural networks via self
distillation", ICCV 2019; "Self-distillation: towards efficient and compact neural networks", TPAMI 2021.
Weights, temperature, exits: those of the authors' code of the second paper (0.3 soft targets beside 0.7 labels, 0.03
for the features, 3), where the exits have attention and the features a linear layer between them.
Differences: its code leaves the features of the exit on the last stage but one out, its comment those of the first
exit; here those of the first exit are left out. It answers by the mean of all exits; here the student leaves alone.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import NonNegative, Share, Temperature
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.ofa import halving
from understudy.methods.shared.logits import check_same, divergence, softened
from understudy.methods.shared.maps import BatchNorm, difference
from understudy.methods.shared.pairs import PairsTerm, as_vectors
from understudy.objective.labels import cross_entropy
from understudy.objective.term import Reading, Reads, Shapes, needs_classes
from understudy.precision import wide
from understudy.taps.modules import MeanOverPlaces
from understudy.tasks.task import Task


def byot(
    exit_logits: Tensor, logits: Tensor, labels: Tensor, *, soft_share: float = 0.3, temperature: float = 3.0
) -> Tensor:
    """BYOT: what an exit learns from the labels and from the network's own answer, one value per sample.

    ``(1 - a) CE(h, y) - a sum_c softmax(s/T)_c log softmax(h/T)_c``

    Args:
        exit_logits: h, of an exit, (N, C).
        logits: s, of the network itself, (N, C); no gradient should pass through them.
        labels: class numbers (N), or distributions (N, C).
        soft_share: a.
        temperature: T of both; there is no T^2.

    Weight in the objective: 1 for each exit, beside the cross-entropy of the network itself.
    Reference: Zhang et al., "Be your own teacher", ICCV 2019, and the authors' code of its journal version.
    Differences: none known to that code. The paper names the divergence, which differs by a constant.

    >>> byot(torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([0]))
    tensor([0.6931])
    """
    check_same(exit_logits, logits, what="the logits of an exit and of the network")
    own, other = (softened(x, temperature) for x in (exit_logits, logits))
    return (1 - soft_share) * cross_entropy(exit_logits, labels) + soft_share * divergence(own, other, form="ce")


def batch_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """The Euclidean distance of two batches as a whole, as shares of its samples.

    ``N ‖t_n - s_n‖^2 / ‖t - s‖``, whose mean over the samples is ``‖t - s‖``, the root of the sum over the batch

    Args:
        student, teacher: features of one shape, (N, ...).

    Weight in the objective: 0.03 for each exit in BYOT, at batches of 128.
    Reference: the authors' code of "Self-distillation: towards efficient and compact neural networks", TPAMI 2021
    (``torch.dist``); the first paper has the squared distance.
    Differences: the gradient is finite where both agree.

    >>> batch_distance(torch.zeros(2, 1), torch.tensor([[3.0], [4.0]]))
    tensor([3.6000, 6.4000])
    """
    squared = difference(student, teacher).square().flatten(1).sum(1)
    length = squared.sum().clamp_min(1e-12).sqrt()
    return len(squared) * squared / length


@dataclass(frozen=True)
class BYOT(PairsTerm):
    """Exits on the student's stages, which learn the labels and from the student's own answer; see ``losses.byot``.

    ``sum_i BYOT(h_i) + features sum_{i > 1} ‖A_i f_i - f‖``, f the mean over the places of the last tap; neither the
    answer nor f gets a gradient from it

    Args:
        pairs: from input to output, of each only the student's tap is read. There is an exit on all but the last.
        soft_share, temperature: of the soft targets.
        features: weight of the features of all exits but the first.

    An exit on a map is, as in the authors' code, an attention (a separable convolution at half the size, resized, and a
    sigmoid), a separable convolution that halves the map and doubles its channels for each stage that follows, mean and
    linear layer. Differences: on tokens and vectors an exit is the mean and two linear layers.

    >>> print(BYOT(["layer1 -> layer1", "layer2 -> layer2"], features=0.0))
    BYOT(pairs=('layer1 -> layer1', 'layer2 -> layer2'), features=0.0)
    """

    least = 2
    soft_share: Share = 0.3
    temperature: Temperature = 3.0
    features: NonNegative = 0.03

    def misfit(self, task: Task) -> str | None:
        if task.dense:
            return f"its exits answer once for each sample, and answers of task {task.name!r} are dense"
        return needs_classes(task, distributions=True)

    @property
    def reads(self) -> Reads:
        compared = self.features > 0 and len(self.pairs) > 2  # over the whole batch
        return Reads(student_logits=True, student_taps=self.student_taps, labels=True, batch=compared)

    def build(self, shapes: Shapes) -> nn.Module:
        values = [shapes.student[tap] for tap in self.student_taps]
        classes, width = shapes.student.logits.shape[1], as_vectors(values[-1]).shape[1]
        exits = []
        for number, value in enumerate(values[:-1]):
            body = _body(value, halvings=len(values) - 1 - number, width=width)
            adaptation = nn.Linear(width, width) if number and self.features else nn.Identity()
            parts = {"body": body, "head": nn.Linear(width, classes), "adaptation": adaptation}
            exits.append(nn.ModuleDict(parts).to(value.dtype))
        return nn.ModuleList(exits)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleList)
        *taps, last = self.student_taps
        answer, features = reading.student.logits.detach(), as_vectors(reading.student[last]).detach()
        value = torch.zeros_like(wide(answer[:, 0]))
        for number, (modules, tap) in enumerate(zip(owned, taps, strict=True)):
            assert isinstance(modules, nn.ModuleDict)
            vector = modules["body"](reading.student[tap])
            value = value + byot(
                modules["head"](vector),
                answer,
                reading.labels,
                soft_share=self.soft_share,
                temperature=self.temperature,
            )
            if number and self.features:
                value = value + self.features * batch_distance(modules["adaptation"](vector), features)
        return value


class Attended(nn.Module):
    """A map, weighted by an attention that a separable convolution of half its size gives."""

    def __init__(self, channels: int):
        super().__init__()
        self.halved = nn.Sequential(*halving(channels, channels), BatchNorm(channels), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        size = [x.shape[2], x.shape[3]]
        return x * F.interpolate(self.halved(x), size, mode="bilinear", align_corners=False).sigmoid()


def _body(value: Tensor, *, halvings: int, width: int) -> nn.Module:
    """What brings a stage's value to as many features as the last stage has."""
    if value.ndim == 3:
        return nn.Sequential(MeanOverPlaces(), nn.Linear(value.shape[2], width))
    if value.ndim == 2:
        return nn.Linear(value.shape[1], width)
    if value.ndim != 4:
        raise UserError(f"BYOT: an exit stands on maps, tokens or vectors, not on {tuple(value.shape)}")
    channels = value.shape[1]
    widths = [channels * 2**number for number in range(halvings)] + [width]
    halved = [layer for inputs, outputs in pairwise(widths) for layer in halving(inputs, outputs)]
    return nn.Sequential(Attended(channels), *halved, MeanOverPlaces())


METHOD = one_stage(
    "byot",
    BYOT,
    stage="labels and exits",
    weight=1.0,
    family="self",
    year=2019,
    paper="Zhang et al., Be your own teacher",
    reads_teacher=False,
)
