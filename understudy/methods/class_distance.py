"""Class-distance loss (Kim & Kim, ICLR workshop 2017): the student's training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from understudy.bounds import NonNegative, ShareBelowOne
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.methods.shared.logits import class_numbers
from understudy.methods.shared.maps import difference
from understudy.methods.shared.pairs import EmbeddingTerm, as_vectors, batch_mean_by_class, vector_regressor
from understudy.models.grafts import Graft
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Shapes, Term, needs_classes
from understudy.precision import wide
from understudy.taps import Pair, Tap
from understudy.tasks.task import Task


def class_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Class-distance loss, the student's part: squared distance to the teacher's features, one value per sample.

    ``|| f_t(x) - g_s(x) ||^2``

    Args:
        student, teacher: features before the last layer, (N, D); the student then takes over the teacher's last layer.

    The features are those of a teacher that was trained with ``class_spread``. Weight 1, as the student's only loss.

    Reference: Kim, Kim, "Transferring knowledge to smaller network with class-distance loss", ICLR workshop 2017.
    Differences: none known to the paper's equations, which a reader's notes show (postBG/paper-notes).

    >>> class_distance(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
    tensor([25.])
    """
    return difference(student, teacher).square().flatten(1).sum(1)


def class_spread(features: Tensor, own_mean: Tensor, others_mean: Tensor, *, bound: float) -> Tensor:
    """Class-distance loss, the teacher's own term: near its class, away from the others, one value per sample.

    ``|| f(x) - C(x) ||^2 - min(|| f(x) - O(x) ||^2, phi)``

    Args:
        features: of the network in training, before its last layer, (N, D).
        own_mean, others_mean: C and O, the mean features of the sample's class and of the others, (N, D); over the
            batch ``class_means`` gives them, over the data a term may keep them running.
        bound: phi, beyond which the other classes push no more. The paper's value was not found.

    Added with a weight lambda (not found) to the teacher's cross-entropy; it may be negative.

    Reference: Kim, Kim, "Transferring knowledge to smaller network with class-distance loss", ICLR workshop 2017.
    Differences: the paper's equations, as a reader's notes show them, have the mean of one other class as O, and do not
    say of which; ``class_means`` and ``ClassSpread`` give the mean over all others.

    >>> own, others = torch.zeros(1, 2), torch.full((1, 2), 10.0)
    >>> class_spread(torch.ones(1, 2), own, others, bound=5.0)
    tensor([-3.])
    """
    pull = difference(features, own_mean).square().sum(1)
    push = difference(features, others_mean).square().sum(1)
    return pull - push.clamp_max(bound)


def class_means(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """For each sample of the batch the mean features of its own class and of all samples of other classes, (N, D).

    A batch of one class only has no others: their mean is then zero.
    """
    values = wide(features)
    same = (labels.unsqueeze(1) == labels.unsqueeze(0)).to(values.dtype)
    with torch.autocast(values.device.type, enabled=False):
        own, others = same @ values, (1 - same) @ values
    return own / same.sum(1, keepdim=True), others / (1 - same).sum(1, keepdim=True).clamp_min(1)


@dataclass(frozen=True)
class ClassDistance(EmbeddingTerm):
    """The student's features before its classifier are the teacher's: squared distance.

    ``|| f_t(x) - g_s(x) ||^2``; see ``losses.class_distance``. Made for a teacher trained with ``ClassSpread``.

    Args:
        embedding: ``"teacher.tap -> student.tap"`` of vectors; maps and tokens are averaged over their places.
        reduce: over the features, the ``"sum"`` as above, or the ``"mean"``, for which a weight fits any width.

    Reference: Kim, Kim, "Transferring knowledge to smaller network with class-distance loss", ICLR workshop 2017.
    Differences: a student of another width passes a linear layer, the paper's has the teacher's.

    >>> print(ClassDistance("fc:input -> fc:input"))
    ClassDistance(embedding='fc:input -> fc:input')
    """

    reduce: Literal["sum", "mean"] = "mean"

    def build(self, shapes: Shapes) -> nn.Module | None:
        pair = self.taps
        return vector_regressor(shapes.student[pair.student], shapes.teacher[pair.teacher])

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        pair = self.taps
        own, other = as_vectors(reading.student[pair.student]), as_vectors(reading.teacher[pair.teacher])
        values = class_distance(own if owned is None else owned(own), other)
        return values if self.reduce == "sum" else values / other.shape[1]


@dataclass(frozen=True)
class ClassSpread(Term):
    """The network's own features come near their class and away from the others; it reads no teacher.

    ``|| f(x) - C(x) ||^2 - min(|| f(x) - O(x) ||^2, phi)``; see ``losses.class_spread``. For the training of a teacher,
    beside cross-entropy: ``CE() + 0.01 * ClassSpread("linear:input")``.

    Args:
        tap: of the network in training, what enters its classifier; maps and tokens are averaged over their places.
        bound: phi. The paper's value was not found; neither was the weight.
        momentum: of the running mean of each class, in steps.

    C is the running mean of the sample's class, O the mean of the other classes' means. A class not yet met has its
    mean over the batch. A mixed label counts as its largest class.

    Reference: Kim, Kim, "Transferring knowledge to smaller network with class-distance loss", ICLR workshop 2017.
    Differences: the paper's O is the mean of one other class; how it keeps its means is not known.

    >>> print(ClassSpread("fc:input"))
    ClassSpread(tap='fc:input')
    """

    tap: str
    bound: NonNegative = 10.0
    momentum: ShareBelowOne = 0.9

    def __post_init__(self) -> None:
        Tap.parse(self.tap)

    @property
    def reads(self) -> Reads:
        return Reads(student_taps=(Tap.parse(self.tap),), batch=True, labels=True)

    def misfit(self, task: Task) -> str | None:
        return needs_classes(task)

    def build(self, shapes: Shapes) -> nn.Module:
        return ClassMeans(shapes.student.logits.shape[1], as_vectors(shapes.student[self.tap]))

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, ClassMeans)
        features = as_vectors(reading.student[self.tap])
        own, others = owned(features.detach(), class_numbers(reading.labels))
        return class_spread(features, own, others, bound=self.bound)

    def learn(self, reading: Reading, owned: nn.Module) -> None:
        assert isinstance(owned, ClassMeans)
        owned.move(as_vectors(reading.student[self.tap]), class_numbers(reading.labels), self.momentum)


class ClassMeans(nn.Module):
    """The running mean of every class's features."""

    means: Tensor
    known: Tensor

    def __init__(self, classes: int, features: Tensor):
        super().__init__()
        self.register_buffer("means", features.new_zeros(classes, features.shape[1]).float())
        self.register_buffer("known", torch.zeros(classes, 1, dtype=torch.bool, device=features.device))

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """For each sample the mean of its class, and the mean of the other classes' means."""
        batch, present = self._of(features, labels)
        means, there = torch.where(self.known, self.means, batch), self.known | present
        own = means[labels]
        others = (means.sum(0) - own) / (there.sum() - 1).clamp_min(1)
        return own, others

    def move(self, features: Tensor, labels: Tensor, momentum: float) -> None:
        batch, present = self._of(features, labels)
        moved = torch.where(self.known, momentum * self.means + (1 - momentum) * batch, batch)
        self.means.copy_(torch.where(present, moved, self.means))
        self.known |= present

    def _of(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return batch_mean_by_class(wide(features), labels, len(self.means))


def _stages(
    config: TrainConfig,
    *,
    embedding: str,
    weight: NonNegative = 5.0,
    reduce: Literal["sum", "mean"] = ClassDistance.reduce,
    label_weight: NonNegative = 0.0,
) -> list[Stage]:
    """The features for the teacher's classifier, which answers: ``5 mean (f_t - g_s)^2``.

    The product is the student's body and the teacher's frozen classifier; where their features differ in width, a
    linear layer leads there.

    Args:
        embedding: what enters the classifiers of both, linear layers.
        weight, reduce: as far as known the paper's is the sum over features, with weight 1; 5 times the mean suits
            networks of any width.
        label_weight: of the cross-entropy through the teacher's classifier. The paper has no other loss than the
            distance.

    The paper's teacher was trained for this: ``CE() + 0.01 * ClassSpread(tap)``, in a recipe by ``terms`` of
    ``[teacher]``. What tells this from ``neurons`` without such a teacher is the classifier: there the student learns
    its own from the labels.
    """
    graft = Pair(Pair.parse(embedding).teacher, Tap(f"{_heads(embedding).student}.classifier", "input"))
    objective = weight * ClassDistance(str(graft), reduce)
    if label_weight:
        objective = label_weight * CE() + objective
    return [Stage("features", objective, config, answers=True)]


def _heads(embedding: str) -> Pair:
    pair = Pair.parse(embedding)
    if not pair.teacher.side == pair.student.side == "input":
        raise UserError(
            f"class-distance: embedding is what enters both classifiers, as 'fc:input -> fc:input', not {pair}"
        )
    return Pair(Tap(pair.teacher.path), Tap(pair.student.path))


def _graft(student: nn.Module, teacher: nn.Module, settings: Mapping[str, object]) -> None:
    heads = _heads(str(settings["embedding"]))
    graft = Graft.between(student, teacher, heads)
    graft.onto(student)
    graft.fill(student, teacher, heads.teacher.path)


METHOD = Method(
    "class-distance",
    _stages,
    family="features",
    year=2017,
    paper="Kim and Kim, Transferring knowledge to smaller network with class-distance loss",
    grafts=_graft,
)
