"""Class-distance loss (Kim & Kim, 2017): the student's part, and the term with which its teacher is trained."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.methods.shared.pairs import as_vectors, batch_mean_by_class, vector_regressor
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.precision import wide
from understudy.taps import Pair, Tap


@dataclass(frozen=True)
class ClassDistance(Term):
    """The student's features before its classifier are the teacher's: squared distance.

    ``|| f_t(x) - g_s(x) ||^2``; see ``losses.class_distance``. Made for a teacher trained with ``ClassSpread``.

    Args:
        pair: ``"teacher.tap -> student.tap"`` of vectors; maps and tokens are averaged over their places.
        reduce: over the features, the ``"sum"`` as above, or the ``"mean"``, for which a weight fits any width.

    Reference: Kim, Kim, "Transferring knowledge to smaller network with class-distance loss", ICLR workshop 2017.
    Differences: read second-hand; a student of another width passes a linear layer, the paper's has the teacher's.
    """

    pair: str
    reduce: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        Pair.parse(self.pair)

    @property
    def reads(self) -> Reads:
        return Reads.pairs((Pair.parse(self.pair),))

    def build(self, shapes: Shapes) -> nn.Module | None:
        pair = Pair.parse(self.pair)
        return vector_regressor(shapes.student[pair.student], shapes.teacher[pair.teacher])

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        pair = Pair.parse(self.pair)
        own, other = as_vectors(reading.student[pair.student]), as_vectors(reading.teacher[pair.teacher])
        values = losses.class_distance(own if owned is None else owned(own), other)
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
    Differences: read second-hand; how the paper keeps its means is not known.
    """

    tap: str
    bound: float = 10.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        Tap.parse(self.tap)
        if self.bound < 0 or not 0 <= self.momentum < 1:
            raise UserError(f"{self}: bound is 0 at least, momentum from 0 to below 1")

    @property
    def reads(self) -> Reads:
        return Reads(student_taps=(Tap.parse(self.tap),))

    def build(self, shapes: Shapes) -> nn.Module:
        return ClassMeans(shapes.student.logits.shape[1], as_vectors(shapes.student[self.tap]))

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, ClassMeans)
        features = as_vectors(reading.student[self.tap])
        own, others = owned(features.detach(), _hard(reading.labels))
        return losses.class_spread(features, own, others, bound=self.bound)

    def learn(self, reading: Reading, owned: nn.Module) -> None:
        assert isinstance(owned, ClassMeans)
        owned.move(as_vectors(reading.student[self.tap]), _hard(reading.labels), self.momentum)


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


def _hard(labels: Tensor) -> Tensor:
    return labels.argmax(1) if labels.is_floating_point() else labels
