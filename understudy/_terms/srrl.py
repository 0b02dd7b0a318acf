"""Softmax regression representation learning (Yang et al., 2021)."""

import copy
from dataclasses import dataclass

from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.methods.shared.maps import BatchNorm
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.regressors import MeanOverPlaces, regressor
from understudy.taps import Pair, Tap, find


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
    """

    maps: str
    heads: str
    features: float = 1.0
    logits: float = 1.0

    def __post_init__(self) -> None:
        Pair.parse(self.maps)
        Pair.parse(self.heads)
        if min(self.features, self.logits) < 0 or self.features + self.logits == 0:
            raise UserError(f"{self}: features and logits are weights of 0 or more, and not both 0")

    @property
    def reads(self) -> Reads:
        return Reads(teacher_logits=True, student_taps=(self._student,), teacher_taps=(self._teacher,))

    def build(self, shapes: Shapes) -> nn.Module:
        assert shapes.teacher_network is not None
        student, teacher = shapes.student[self._student], shapes.teacher[self._teacher]
        if teacher.ndim != 2:
            raise UserError(f"{self}: the teacher's classifier is given {tuple(teacher.shape)}, not one vector each")
        classifier = copy.deepcopy(find(shapes.teacher_network, self._teacher, called="the teacher"))
        owned = {"connector": _connector(student, teacher), "classifier": classifier.requires_grad_(False)}
        return nn.ModuleDict(owned)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleDict)
        features = owned["connector"](reading.student[self._student])
        value = self.features * losses.srrl_features(features, reading.teacher[self._teacher])
        return value + self.logits * losses.srrl_logits(owned["classifier"](features), reading.teacher.logits)

    @property
    def _student(self) -> Tap:
        return Pair.parse(self.maps).student

    @property
    def _teacher(self) -> Tap:
        return Tap(Pair.parse(self.heads).teacher.path, "input")


def _connector(student: Tensor, teacher: Tensor) -> nn.Module:
    if student.ndim == 4:
        width = teacher.shape[1]
        convolution = nn.Conv2d(student.shape[1], width, 1, bias=False)
        return nn.Sequential(convolution, BatchNorm(width), nn.ReLU(), MeanOverPlaces()).to(student.dtype)
    return regressor(student, teacher, kind="linear") or nn.Identity()
