"""Several teachers: the average of their soft targets, weighted if you like, or their vote.

Reference: You, Xu, Xu, Tao, "Learning from multiple teacher networks", KDD 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import MinLen
from torch import Tensor, nn

from understudy.bounds import NonNegative, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.methods.shared.logits import Form, LogitTerm, check_stack, divergence, one_hot, softened
from understudy.objective.labels import CE, cross_entropy
from understudy.objective.term import Expression, Reading
from understudy.precision import or_nan, wide


def ensemble_kd(
    student_logits: Tensor,
    teachers_logits: Tensor,
    *,
    temperature: float = 4.0,
    weights: Tensor | Sequence[float] | None = None,
    average: Literal["probabilities", "logits"] = "probabilities",
    squared: bool = True,
    form: Form = "kl",
) -> Tensor:
    """Several teachers: KD towards the average of their soft targets, one value per sample.

    ``T^2 KL(sum_k w_k softmax(t_k/T) || softmax(s/T))``, or with ``softmax(sum_k w_k t_k / T)``

    Args:
        student_logits: (N, C).
        teachers_logits: of K teachers, (K, N, C).
        temperature: T of all.
        weights: of the teachers, (K), or for each sample too, (K, N); brought to the sum 1. None: all alike.
        average: of the softened probabilities (You et al.) or of the logits (Ba & Caruana's ensembles).
        squared: multiply by T^2.
        form: ``"kl"`` or ``"ce"``, as in ``kd``.

    Weight in the objective: beside the labels' cross-entropy and a triplet term on features; the paper's weights
    were not found. Mean over the batch.
    Reference: You, Xu, Xu, Tao, "Learning from multiple teacher networks", KDD 2017.
    Differences: the form follows the paper's abstract. The sum of the teachers' separate
    divergences (``mutual_kl(reduce="sum")``) has K times this one's gradient and another value.

    >>> ensemble_kd(torch.zeros(1, 2), torch.tensor([[[2.0, 0.0]], [[0.0, 2.0]]]))
    tensor([0.])
    """
    check_stack(student_logits, teachers_logits, what="the teachers' logits")
    share = _shares(weights, teachers_logits).unsqueeze(-1)
    teachers = wide(teachers_logits) / temperature
    if average == "logits":
        target = F.log_softmax((share * teachers).sum(0), dim=-1)
    elif average == "probabilities":
        target = (share.log() + F.log_softmax(teachers, dim=-1)).logsumexp(0)
    else:
        raise UserError(f"average is 'probabilities' or 'logits', not {average!r}")
    student = softened(student_logits, temperature)
    value = divergence(student, target, form=form)
    return value * temperature**2 if squared else value


def majority_vote(teachers_logits: Tensor) -> Tensor:
    """The class that most of the K teachers answer, (N), from (K, N, C); ties go to the larger mean probability.

    ``argmax_c sum_k [argmax t_k = c]``

    >>> majority_vote(torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]], [[0.0, 9.0]]]))
    tensor([0])
    """
    classes = teachers_logits.shape[-1]
    logits = wide(teachers_logits)
    votes = one_hot(logits.argmax(-1), classes).sum(0)
    return (votes + 0.5 * logits.softmax(-1).mean(0)).argmax(-1)


def vote_cross_entropy(student_logits: Tensor, teachers_logits: Tensor) -> Tensor:
    """Several teachers: cross-entropy with the class that most of them answer, one value per sample.

    ``-log softmax(s)_v``, v the majority's vote

    Args:
        student_logits: (N, C).
        teachers_logits: of K teachers, (K, N, C).

    Weight in the objective: in the place of the labels, or of soft targets where these are not known; mean.
    Reference: You, Xu, Xu, Tao, "Learning from multiple teacher networks", KDD 2017, which votes on the order of
    triplets (a loss on features); the vote on labels is the same idea on answers.
    Differences: ties go to the class of the larger mean probability.

    >>> vote_cross_entropy(torch.zeros(1, 2), torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 9.0]]]))
    tensor([0.6931])
    """
    check_stack(student_logits, teachers_logits, what="the teachers' logits")
    value = cross_entropy(student_logits, majority_vote(teachers_logits))
    return or_nan(value, teachers_logits.movedim(0, 1))


@dataclass(frozen=True)
class SeveralTeachers(LogitTerm):
    """Soft targets averaged over all teachers; with one teacher, ``KD``; see ``losses.ensemble_kd``.

    Args:
        temperature: of all.
        weights: of the teachers, in their order; brought to the sum 1. None: all alike.
        average: of the softened ``"probabilities"`` (You et al.), or of the ``"logits"`` (Ba & Caruana's ensembles).

    >>> print(0.9 * SeveralTeachers(weights=(2.0, 1.0)))
    0.9 * SeveralTeachers(weights=(2.0, 1.0))
    """

    temperature: Temperature = 4.0
    weights: Annotated[tuple[NonNegative, ...], MinLen(1)] | None = None
    average: Literal["probabilities", "logits"] = "probabilities"

    def __post_init__(self) -> None:
        if self.weights is not None and not sum(self.weights) > 0:
            raise UserError(f"{self}: weights must not be all 0")

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        if self.weights is not None and len(self.weights) != len(reading.teachers):
            raise UserError(f"{self}: {len(self.weights)} weights for {len(reading.teachers)} teachers")
        return ensemble_kd(
            reading.student.logits,
            torch.stack([teacher.logits for teacher in reading.teachers]),
            temperature=self.temperature,
            weights=self.weights,
            average=self.average,
        )


@dataclass(frozen=True)
class Vote(LogitTerm):
    """Cross-entropy with the class that most teachers answer; with one, with its answer; ``losses.vote_cross_entropy``.

    You et al. vote on the order of triplets of features; this is the same idea on answers.

    >>> print(0.9 * Vote())
    0.9 * Vote()
    """

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        return vote_cross_entropy(reading.student.logits, torch.stack([teacher.logits for teacher in reading.teachers]))


def _shares(weights: Tensor | Sequence[float] | None, teachers: Tensor) -> Tensor:
    """The teachers' weights with sum 1: (K, 1), or (K, N) for weights by sample."""
    count, batch = teachers.shape[:2]
    if not isinstance(weights, Tensor):  # made on the device, which would wait for a copy
        listed = [1.0] * count if weights is None else weights
        numbers = [torch.full((1,), weight, device=teachers.device) for weight in listed]
        weights = torch.cat([torch.zeros(0, device=teachers.device), *numbers])
    given = weights.to(teachers.device, wide(teachers).dtype)
    if given.shape not in ((count,), (count, batch)):
        raise UserError(f"weights {tuple(given.shape)} of {count} teachers: one for each, or ({count}, {batch})")
    return (given / given.sum(0)).reshape(count, -1)


def _stages(
    config: TrainConfig,
    *,
    combine: Literal["probabilities", "logits", "vote"] = "probabilities",
    weights: tuple[NonNegative, ...] | None = None,
    temperature: Temperature = 4.0,
    weight: NonNegative = 0.9,
    label_weight: NonNegative = 0.1,
) -> list[Stage]:
    """The average of several teachers' soft targets, weighted if you like, or their vote.

    ``label_weight CE + weight T^2 KL(sum_k w_k softmax(t_k/T) || softmax(s/T))``; with one teacher it is ``kd``. The
    paper's abstract gives no weights; the defaults are those of ``kd``. Its third part, a loss on triplets of
    features, is a term of its own that can be added.

    Args:
        combine: average "probabilities" (the paper) or "logits", or learn the class that most teachers "vote" for.
        weights: of the teachers, in their order, assistants after them; all alike by default. A vote counts all alike.
            They are the student's: an assistant has fewer teachers and weighs them alike.
        temperature: of the soft targets.
        weight, label_weight: of the teachers' part and of the cross-entropy with the labels.
    """
    taught: Expression
    if combine == "vote":
        if weights is not None:
            raise UserError("several-teachers: a vote counts all teachers alike: leave weights out")
        taught = Vote()
    else:
        taught = SeveralTeachers(temperature, None if weights is None else tuple(weights), combine)
    return [Stage("labels and teachers", label_weight * CE() + weight * taught, config)]


METHOD = Method(
    "several-teachers",
    _stages,
    family="several networks",
    year=2017,
    paper="You et al., Learning from multiple teacher networks",
    guides="all",
    of_assistants={"weights": None},
)
