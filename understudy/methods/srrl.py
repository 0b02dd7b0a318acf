"""The student's features must serve the teacher's classifier: ``CE + SRRL``.

Reference: Yang et al., "Knowledge distillation via softmax regression representation learning", ICLR 2021.
"""

import copy
import math
from dataclasses import dataclass

from torch import Tensor, nn

from understudy.bounds import NonNegative
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import BatchNorm, feature_mse, require_same_channels
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.precision import wide
from understudy.taps import Pair, Tap, find
from understudy.taps.modules import MeanOverPlaces
from understudy.taps.regressors import regressor


def srrl_features(student: Tensor, teacher: Tensor) -> Tensor:
    """SRRL's feature part: mean squared difference of the pooled features, one value per sample.

    ``mean_c (mean_hw t - mean_hw s)^2``

    Args:
        student: last features after a connector (1x1 convolution, batch norm, ReLU), (N, C) or (N, C, H, W).
        teacher: last features, with the same channels; the sizes of the maps need not agree.

    Weight alpha 1, averaged over channels and batch.

    Reference: Yang et al., "Knowledge distillation via softmax regression representation learning", ICLR 2021.
    Differences: as in the authors' code; the paper writes the squared norm, without the mean.

    >>> import torch
    >>> srrl_features(torch.zeros(2, 3), torch.ones(2, 3, 4, 4))
    tensor([1., 1.])
    """
    require_same_channels(student, teacher)
    return feature_mse(_mean_over_places(student), _mean_over_places(teacher))


def srrl_logits(cross_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """SRRL's softmax regression part: the teacher's classifier on the student's features, one value per sample.

    ``mean_c (W_t t - W_t s)^2``

    Args:
        cross_logits: what the teacher's frozen classifier makes of the student's features after the connector, (N, C).
            The gradient passes through that classifier; its own weights take none.
        teacher_logits: (N, C).

    Weight beta 1, averaged over classes and batch.

    Reference: Yang et al., "Knowledge distillation via softmax regression representation learning", ICLR 2021.
    Differences: the paper compares cross-entropy, divergence and this squared difference; its code has the last.

    >>> import torch
    >>> srrl_logits(torch.zeros(2, 3), torch.ones(2, 3))
    tensor([1., 1.])
    """
    return feature_mse(cross_logits, teacher_logits)


@dataclass(frozen=True)
class SRRL(Term):
    """The student's features, brought to the teacher's width, must serve the teacher's own classifier.

    ``a mean (f_t - r(f_s))^2 + b mean (W_t f_t - W_t r(f_s))^2``, r a 1x1 convolution, batch norm, ReLU and the mean
    over the places; see ``losses.srrl_features`` and ``losses.srrl_logits``

    Args:
        maps: the pair of last maps. Of the teacher's side nothing is read: its features are what its classifier is
            given.
        heads: the pair of classifiers, of which the teacher's is copied and frozen.
        features, logits: a and b, 1 and 1 in the paper.

    Differences: as in the losses. A student that has tokens or a vector in the place of a map gets a linear layer.

    >>> print(SRRL("layer3 -> layer3", "fc -> fc", logits=0.5))
    SRRL(maps='layer3 -> layer3', heads='fc -> fc', logits=0.5)
    """

    maps: str
    heads: str
    features: NonNegative = 1.0
    logits: NonNegative = 1.0

    def __post_init__(self) -> None:
        Pair.parse(self.maps)
        Pair.parse(self.heads)
        if self.features == self.logits == 0:
            raise UserError(f"{self}: features and logits are weights, and not both 0")

    @property
    def teacher_temperature(self) -> float:
        return math.inf

    @property
    def reads(self) -> Reads:
        return Reads(teacher_logits=True, student_taps=(self._student,), teacher_taps=(self._teacher,))

    def build(self, shapes: Shapes) -> nn.Module:
        assert shapes.teacher_network is not None
        student, teacher = shapes.student[self._student], shapes.teacher[self._teacher]
        classifier = copy.deepcopy(find(shapes.teacher_network, self._teacher, called="the teacher"))
        if teacher.ndim == 4 and teacher.shape[2:].numel() == 1:  # a convolution of 1x1 behind the pooling
            classifier = nn.Sequential(nn.Unflatten(1, teacher.shape[1:]), classifier, nn.Flatten())
            teacher = teacher.flatten(1)
        if teacher.ndim != 2:
            raise UserError(f"{self}: the teacher's classifier is given {tuple(teacher.shape)}, not one vector each")
        owned = {"connector": _connector(student, teacher), "classifier": classifier.requires_grad_(False)}
        return nn.ModuleDict(owned)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleDict)
        features = owned["connector"](reading.student[self._student])
        value = self.features * srrl_features(features, reading.teacher[self._teacher])
        return value + self.logits * srrl_logits(owned["classifier"](features), reading.teacher.logits)

    @property
    def _student(self) -> Tap:
        return Pair.parse(self.maps).student

    @property
    def _teacher(self) -> Tap:
        return Tap(Pair.parse(self.heads).teacher.path, "input")


def _mean_over_places(features: Tensor) -> Tensor:
    return wide(features) if features.ndim == 2 else wide(features).flatten(2).mean(2)


def _connector(student: Tensor, teacher: Tensor) -> nn.Module:
    if student.ndim == 4:
        width = teacher.shape[1]
        convolution = nn.Conv2d(student.shape[1], width, 1, bias=False)
        return nn.Sequential(convolution, BatchNorm(width), nn.ReLU(), MeanOverPlaces()).to(student.dtype)
    return regressor(student, teacher, kind="linear") or nn.Identity()


METHOD = one_stage(
    "srrl",
    SRRL,
    stage="labels and the teacher's classifier",
    weight=1.0,
    family="features",
    year=2021,
    paper="Yang et al., Knowledge distillation via softmax regression representation learning",
)
