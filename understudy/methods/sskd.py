"""Rotated images: which image a rotated one comes from, and its soft targets, beside labels and soft targets (SSKD).

Stage 1 trains a head on the teacher's features to tell which image of the batch a rotated one comes from. Stage 2
trains the student: ``0.1 CE + 0.9 KD``, soft targets of the rotated images (2.7), and the teacher's similarities
between rotated images and images as they are (10), for the student's head.

Reference: Xu, Liu, Li, Loy, "Knowledge distillation meets self-supervision", ECCV 2020.
Weights, temperatures, shares: the defaults of the authors' code.
Differences: their code puts images and rotated images into one batch; here the rotated ones are a batch of their own
for the student's batch norms. Stage 1 has a fifth of the epochs, in the code 60 beside 240 of the student. Flips and
crops are those of the training configuration, and an image and its rotations share them; in the code, where the data
set flips and the transforms crop, they share the flip, and each has a crop of its own.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Epochs, NonNegative, Positive, Share, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.kd import KD
from understudy.methods.method import Method
from understudy.methods.shared.copies import answer_of, inputs_of
from understudy.methods.shared.logits import class_numbers, softened
from understudy.methods.shared.pairs import EmbeddingTerm, as_vectors
from understudy.methods.shared.relations import inner_products, unit
from understudy.methods.shared.stages import split
from understudy.nested import Nested
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Shapes, needs_classes
from understudy.precision import wide
from understudy.tasks.task import Task

VIEWS = 3  # by a quarter, a half and three quarters of a turn


def view_similarities(changed: Tensor, plain: Tensor) -> Tensor:
    """Cosines of the features of changed images, (N, V, D), with those of all images as they are: (N, V, N)."""
    return inner_products(unit(wide(changed)), unit(wide(plain)))


def view_contrast(changed: Tensor, plain: Tensor) -> Tensor:
    """Which image a changed one comes from, as the cross-entropy of its cosines with all images, one value per sample.

    ``-mean_v log softmax(c_nv)_n``, c_nv the cosines of the changed image's features with those of all images

    Args:
        changed: features of V changed images of each sample, (N, V, D).
        plain: features of the images as they are, (N, D).

    It trains the teacher's head alone, before the student.
    Reference: Xu, Liu, Li, Loy, "Knowledge distillation meets self-supervision", ECCV 2020.

    >>> view_contrast(torch.ones(2, 3, 4), torch.ones(2, 4))
    tensor([0.6931, 0.6931])
    """
    right = F.log_softmax(view_similarities(changed, plain), dim=-1).diagonal(dim1=0, dim2=2)
    return -right.mean(0)


def sskd(student: Tensor, teacher: Tensor, labels: Tensor, *, temperature: float = 4.0, keep: float = 1.0) -> Tensor:
    """Soft targets of changed images, without those of which the teacher is most wrong, one value per sample.

    ``N / K sum_v k_nv T^2 KL(softmax(t_nv/T) || softmax(s_nv/T))``: k is 1 for the changed images that the teacher gets
    right and for the share ``keep`` of the others, those in which the right answer ranks highest; K of them are kept

    Args:
        student, teacher: answers to V changed images of each sample, (N, V, C): logits, or similarities with C images.
        labels: the right answers, (N): class numbers, distributions (N, C), of which the largest counts, or for
            similarities the numbers of the samples.
        temperature: T, 4 for logits and 0.5 for similarities.
        keep: the share of the teacher's mistakes that are kept, 1 for logits and 0.75 for similarities.

    Weight in the objective: 2.7 for logits, 10 for similarities; the mean over the batch is the code's loss.
    Reference: Xu, Liu, Li, Loy, "Knowledge distillation meets self-supervision", ECCV 2020.
    Differences: of mistakes with the same rank, those are kept in which the right answer is more probable; in the
    authors' code that depends on the order of the batch.

    >>> sskd(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2), torch.tensor([0]))
    tensor([0.])
    """
    if student.ndim != 3 or student.shape != teacher.shape:
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise UserError(f"sskd takes answers to several views of each sample, (N, V, C), not {shapes}")
    numbers = class_numbers(labels)
    if len(numbers) != len(student):
        raise UserError(f"sskd takes a label for each of {len(student)} samples, not {len(numbers)}")
    own = softened(student, temperature)
    other = softened(teacher, temperature)
    values = temperature**2 * (other.exp() * (other - own)).sum(-1)
    right = other.gather(-1, numbers.view(-1, 1, 1).expand(-1, other.shape[1], 1))
    rank = (other > right).sum(-1)
    wrong = (rank > 0).sum()
    limit = rank.numel() - wrong + (wrong * keep).floor()
    order = (rank + (1 - right.squeeze(-1).exp())).flatten().argsort()
    place = torch.zeros_like(order).scatter(0, order, torch.arange(rank.numel(), device=order.device))
    kept = (place.view_as(rank) < limit).to(values.dtype)
    return (kept * values).sum(1) * (len(values) / kept.sum().clamp_min(1))


@dataclass(frozen=True)
class ViewHead(EmbeddingTerm):
    """Trains a head on the teacher's features, which tells where rotated images come from, before ``SSKD``.

    Args:
        embedding: the pair of what enters the classifiers, of which the teacher's is read.

    >>> ViewHead("fc:input -> fc:input").trains_student
    False
    """

    trains_student: ClassVar[bool] = False

    @property
    def reads(self) -> Reads:
        return Reads(teacher_taps=(self.taps.teacher,), batch=True, inputs=True, teacher_network=True)

    def misfit(self, task: Task) -> str | None:
        return _misfit(task)

    def build(self, shapes: Shapes) -> nn.Module:
        teacher = as_vectors(shapes.teacher[self.taps.teacher])
        return nn.ModuleDict({"teacher": _head(teacher)})

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleDict)
        assert reading.teacher_network is not None
        tap, head = self.taps.teacher, owned["teacher"]
        with torch.no_grad():
            changed = answer_of(reading.teacher_network, tap, _rotated(inputs_of(reading, "ViewHead")))[tap]
        plain = _through(head, reading.teacher[tap])
        return view_contrast(_by_sample(_through(head, changed)), plain)


@dataclass(frozen=True)
class SSKD(EmbeddingTerm):
    """Soft targets of rotated images, and their similarities with the images as they are; see ``losses.sskd``.

    Args:
        embedding: the pair of what enters the classifiers.
        answers, similarities: the weights of both parts.
        temperature, similarity_temperature: of both parts.
        keep_answers, keep_similarities: the share of the teacher's mistakes that are kept.

    The teacher's head is frozen, as the stage before handed it over; without such a stage it is a random one. The
    student's head learns with it, and goes after the training. Images must be square.

    >>> print(SSKD("fc:input -> fc:input", answers=1.0))
    SSKD(embedding='fc:input -> fc:input', answers=1.0)
    """

    answers: NonNegative = 2.7
    similarities: NonNegative = 10.0
    temperature: Temperature = 4.0
    similarity_temperature: Temperature = 0.5
    keep_answers: Share = 1.0
    keep_similarities: Share = 0.75

    @property
    def reads(self) -> Reads:
        networks = Reads(student_network=True, teacher_network=True)
        return super().reads | networks | Reads(batch=True, inputs=True, labels=True)

    def misfit(self, task: Task) -> str | None:
        return _misfit(task)

    def build(self, shapes: Shapes) -> nn.Module:
        student, teacher = (as_vectors(value) for value in self.traced(shapes))
        return nn.ModuleDict({"student": _head(student), "teacher": _head(teacher).requires_grad_(False)})

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleDict)
        assert reading.teacher_network is not None
        assert reading.student_network is not None
        rotated, pair = _rotated(inputs_of(reading, "SSKD")), self.taps
        with torch.no_grad():
            theirs = answer_of(reading.teacher_network, pair.teacher, rotated)
            other = self._similar(owned["teacher"], theirs[pair.teacher], reading.teacher[pair.teacher])
        ours = answer_of(reading.student_network, pair.student, rotated)
        own = self._similar(owned["student"], ours[pair.student], reading.student[pair.student])
        answers = sskd(
            _by_sample(ours.logits),
            _by_sample(theirs.logits),
            reading.labels,
            temperature=self.temperature,
            keep=self.keep_answers,
        )
        numbers = torch.arange(len(own), device=own.device)
        alike = sskd(own, other, numbers, temperature=self.similarity_temperature, keep=self.keep_similarities)
        return self.answers * answers + self.similarities * alike

    def _similar(self, head: nn.Module, changed: Tensor, plain: Tensor) -> Tensor:
        return view_similarities(_by_sample(_through(head, changed)), _through(head, plain))


def _misfit(task: Task) -> str | None:
    if task.takes_words:
        return f"it rotates images, and the inputs of task {task.name!r} are numbers of words"
    return needs_classes(task)


def _through(head: nn.Module, features: Tensor) -> Tensor:
    """The head's answer, in its own precision: a network that is asked again answers in that of the network."""
    answer: Tensor = head(as_vectors(features).to(next(head.parameters()).dtype))
    return answer


def _head(features: Tensor) -> nn.Module:
    width = features.shape[1]
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)).to(features.dtype)


def _rotated(images: Nested) -> Tensor:
    """The three rotations of each image, one after the other: (V N, C, H, H)."""
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise UserError("sskd rotates images: it needs one tensor of square ones, (N, C, H, H)")
    return torch.cat([torch.rot90(images, turns, (2, 3)) for turns in range(1, VIEWS + 1)])


def _by_sample(values: Tensor) -> Tensor:
    """(V N, ...) as (N, V, ...)."""
    return values.view(VIEWS, len(values) // VIEWS, *values.shape[1:]).transpose(0, 1)


def _stages(
    config: TrainConfig,
    term: SSKD,
    *,
    weight: NonNegative = 1.0,
    soft_weight: NonNegative = 0.9,
    label_weight: NonNegative = 0.1,
    head_epochs: Epochs | None = None,
    head_lr: Positive | None = None,
) -> list[Stage]:
    """See the module.

    Args:
        weight: of the rotated images' part.
        soft_weight, label_weight: of the soft targets at ``temperature`` and of the labels.
        head_epochs, head_lr: of stage 1: by default a fifth of the epochs, and the same learning rate.
    """
    before, after = split(config, head_epochs, setting="sskd: head_epochs", lr=head_lr)
    objective = label_weight * CE() + soft_weight * KD(term.temperature) + weight * term
    return [
        Stage("the teacher's head", ViewHead(term.embedding), before, hands_over=True),
        Stage("labels, soft targets and rotations", objective, after),
    ]


METHOD = Method(
    "sskd",
    _stages,
    term=SSKD,
    family="features",
    year=2020,
    paper="Xu et al., Knowledge distillation meets self-supervision",
    doc=__doc__,
)
