"""The inputs of the classifiers after a linear projection and batch norm: ``CE + 2 log sum |s - t|^4 + KL(t || s)``.

Reference: Miles, Mikolajczyk, "Understanding the role of the projector in knowledge distillation", AAAI 2024; the code
calls it a simple recipe (SRD).
Weights, exponent, temperature: 2, 1, 4 and 1, as in the authors' code for ImageNet, ResNet-34 to ResNet-18.
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn

from understudy.bounds import Interval, NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.methods.kd import KD
from understudy.methods.method import Method
from understudy.methods.shared.maps import BatchNorm, difference
from understudy.methods.shared.pairs import EmbeddingTerm, as_vectors
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Shapes
from understudy.precision import wide

EPS = 1e-5


def srd(student: Tensor, teacher: Tensor, *, exponent: float = 4.0) -> Tensor:
    """The logarithm of the summed powers of the differences, the same value for every sample of the batch.

    ``log(sum_nd |s_nd - t_nd|^a + 1e-5)``, over the samples and the features of a batch; it has no shares of single
    samples, and the mean over the batch is the paper's loss

    Args:
        student: the projected features, (N, D), each feature with mean 0 and variance 1 over the batch.
        teacher: its features, in the same way.
        exponent: a, 1 or more.

    Weight in the objective: 2, beside the labels' cross-entropy and ``KL(t || s)`` at temperature 1.
    Reference: Miles, Mikolajczyk, "Understanding the role of the projector in knowledge distillation", AAAI 2024.
    Differences: the 1e-5 is that of the authors' code for DeiT, whose loss takes the correlation of each feature in the
    place of the differences; their code for ImageNet has none.

    >>> srd(torch.zeros(2, 3), torch.ones(2, 3))
    tensor([1.7918, 1.7918])
    """
    total = difference(student, teacher).abs().pow(exponent).sum()
    return (total + EPS).log().expand(len(student))


@dataclass(frozen=True)
class SRD(EmbeddingTerm):
    """The inputs of the classifiers, the student's after a linear layer, both after batch norm; see ``losses.srd``.

    Args:
        embedding: the pair of what enters the classifiers; maps and tokens are averaged over their places.
        exponent: of the differences, 1 or more: below, their gradient is infinite where student and teacher agree.

    Differences: the batch norms have no weights and an epsilon of 1e-4, as in the authors' code for ImageNet. Of a
    batch of one sample they take the running statistics.

    >>> print(2 * SRD("fc:input -> fc:input"))
    2 * SRD(embedding='fc:input -> fc:input')
    """

    exponent: Annotated[float, Interval(ge=1, le=100)] = 4.0

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(batch=True)

    def build(self, shapes: Shapes) -> nn.Module:
        student, teacher = (as_vectors(value) for value in self.traced(shapes))
        return Recipe(student.shape[1], teacher.shape[1]).to(student.dtype)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, Recipe)
        student, teacher = (as_vectors(value) for value in self.values(reading))
        return srd(*owned(student, teacher), exponent=self.exponent)


class Recipe(nn.Module):
    """The projector, and a batch norm without weights for each network."""

    def __init__(self, student: int, teacher: int):
        super().__init__()
        self.projector = nn.Linear(student, teacher)
        self.student = BatchNorm(teacher, eps=1e-4, affine=False)
        self.teacher = BatchNorm(teacher, eps=1e-4, affine=False)

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        own, other = wide(self.projector(student)), wide(teacher)
        return self.student(own[..., None, None]).flatten(1), self.teacher(other[..., None, None]).flatten(1)


def _stages(
    config: TrainConfig,
    term: SRD,
    *,
    weight: NonNegative = 2.0,
    soft_weight: NonNegative = 1.0,
    temperature: Temperature = 1.0,
) -> list[Stage]:
    return [Stage("labels, features and soft targets", CE() + weight * term + soft_weight * KD(temperature), config)]


METHOD = Method(
    "srd",
    _stages,
    term=SRD,
    family="features",
    year=2024,
    paper="Miles and Mikolajczyk, Understanding the role of the projector in knowledge distillation",
)
