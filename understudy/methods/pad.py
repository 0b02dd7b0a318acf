"""Features whose distance counts less where the student is unsure of them: ``CE + PAD``, after ``CE + MSE``.

Stage 1 trains with the mean squared distance of the classifiers' inputs, stage 2 with that distance divided by a
variance that the student's features predict.

Reference: Zhang et al., "Prime-aware adaptive distillation", ECCV 2020.
Weights, stages: 1, and as many epochs for stage 1 as for stage 2, as in torchdistill, whose author had code of the
authors. There a student that is trained already goes through both stages at a learning rate of 1e-4.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from understudy.bounds import Epochs, NonNegative
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.methods.shared.maps import BatchNorm, difference, feature_mse
from understudy.methods.shared.pairs import EmbeddingTerm, as_vectors
from understudy.methods.shared.stages import split
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Shapes

EPS = 1e-6


def pad(student: Tensor, teacher: Tensor, log_variance: Tensor) -> Tensor:
    """The likelihood of the teacher's features under a variance of its own for each, one value per sample.

    ``mean ((t - s)^2 / (exp(v) + 1e-6) + v)`` over the features

    Args:
        student: features (N, D), brought to the teacher's width.
        teacher: features (N, D).
        log_variance: v, (N, D): for each sample and feature, predicted from the student's features.

    Weight in the objective: 1 beside the labels' cross-entropy. It may be negative.
    Reference: Zhang et al., "Prime-aware adaptive distillation", ECCV 2020, with torchdistill's epsilon and mean.
    Differences: the loss of the paper was not read, torchdistill's was; its author says that the mean over the features
    is that of the authors' code.

    >>> pad(torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1, 2))
    tensor([1.0000])
    """
    if log_variance.shape != teacher.shape:
        raise UserError(
            f"pad takes a variance for each of the features {tuple(teacher.shape)}, not {tuple(log_variance.shape)}"
        )
    squared = difference(student, teacher).square()
    spread = log_variance.to(squared.dtype)
    return (squared / (spread.exp() + EPS) + spread).flatten(1).mean(1)


@dataclass(frozen=True)
class PAD(EmbeddingTerm):
    """The distance of the classifiers' inputs, weighted by a variance that the student predicts; see ``losses.pad``.

    Args:
        embedding: the pair of what enters the classifiers; maps and tokens are averaged over their places.
        adaptive: false for the plain mean squared distance, with the same modules, as in the method's first stage.

    Differences: a linear layer brings the student's features to the teacher's width where the two differ. The variance
    comes from a linear layer and a batch norm, as in torchdistill.

    >>> print(PAD("fc:input -> fc:input"))
    PAD(embedding='fc:input -> fc:input')
    """

    adaptive: bool = True

    def build(self, shapes: Shapes) -> nn.Module:
        student, teacher = (as_vectors(value) for value in self.traced(shapes))
        return Likelihood(student.shape[1], teacher.shape[1]).to(student.dtype)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, Likelihood)
        student, teacher = (as_vectors(value) for value in self.values(reading))
        if not self.adaptive:
            return feature_mse(owned.mean(student), teacher)
        return pad(owned.mean(student), teacher, owned.log_variance(student))


class Likelihood(nn.Module):
    """Mean and variance of the teacher's features, from the student's."""

    def __init__(self, student: int, teacher: int):
        super().__init__()
        self.mean = nn.Identity() if student == teacher else nn.Linear(student, teacher)
        self.linear = nn.Linear(student, teacher)
        self.norm = BatchNorm(teacher)

    def log_variance(self, student: Tensor) -> Tensor:
        """The logarithm of the variance of each feature."""
        normed: Tensor = self.norm(self.linear(student)[..., None, None])
        return normed.flatten(1)


def _stages(
    config: TrainConfig,
    *,
    embedding: str,
    weight: NonNegative = 1.0,
    plain_epochs: Epochs | None = None,
) -> list[Stage]:
    """Stage 1 trains with labels and the distance of features, stage 2 with the distance by predicted variances.

    Args:
        embedding: what goes into both classifiers.
        weight: of the features in both stages.
        plain_epochs: of the config's epochs, so many are stage 1: half of them by default.
    """
    epochs = max(1, config.epochs // 2) if plain_epochs is None else plain_epochs
    first, second = split(config, epochs if config.epochs > 1 else None, setting="pad: plain_epochs")
    return [
        Stage("labels and features", CE() + weight * PAD(embedding, adaptive=False), first, hands_over=True),
        Stage("labels and adaptive features", CE() + weight * PAD(embedding), second),
    ]


METHOD = Method(
    "pad", _stages, family="features", year=2020, paper="Zhang et al., Prime-aware adaptive distillation", doc=__doc__
)
