"""The features of a large encoder: its vector, and its map place by place; no labels.

Weight: 1 for each part. Both are choices of this library, as is the whole method: it needs no labels and no classifier,
and the student's last layer learns to answer with the encoder's own vector (task ``embedding``).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import NonNegative
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import require_maps, require_same_shape
from understudy.methods.shared.pairs import MapsTerm
from understudy.objective.term import Reading, Reads, Shapes
from understudy.precision import wide
from understudy.taps.regressors import regressor
from understudy.tasks.task import Task

Form = Literal["cosine", "mse"]


def encoder_features(student: Tensor, teacher: Tensor, *, form: Form = "cosine") -> Tensor:
    """How far features are from the normalised features of an encoder, the mean over the places; one value per sample.

    ``"cosine"``: ``mean_p 1 - cos(s_p, t_p)``; ``"mse"``: ``mean_p |s_p - norm(t_p)|^2 / C`` with
    ``norm(t) = (t - mean(t)) / std(t)`` over the C features of a place

    Args:
        student: its features, projected to the encoder's, (N, C) or (N, C, H, W).
        teacher: the encoder's, of the same shape.
        form: the distance.

    Weight in the objective: 1.
    Reference: none; a choice of this library.

    >>> encoder_features(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]]))
    tensor([1.])
    """
    require_same_shape(student, teacher)
    own, guide = wide(student), wide(teacher)
    if form == "cosine":
        values = 1 - F.cosine_similarity(own, guide, dim=1)
    elif form == "mse":
        centred = guide - guide.mean(1, keepdim=True)
        spread = centred.square().mean(1, keepdim=True).clamp_min(1e-6).sqrt()
        values = (own - centred / spread).square().mean(1)
    else:
        raise UserError(f"form is 'cosine' or 'mse', not {form!r}")
    return values.flatten(1).mean(1) if values.ndim > 1 else values


@dataclass(frozen=True)
class EncoderFeatures(MapsTerm):
    """The distance from an encoder's answer and from its last map; see ``losses.encoder_features``.

    A 1x1 convolution, which is dropped after training, takes the student's map to the features of the teacher's; the
    grid is resized to the teacher's. The tokens of a transformer are laid out as a map.

    Args:
        maps: the pair of last maps.
        form: the distance.
        places: weight of the maps.
        whole: weight of the answers, which are compared by the cosine in both forms: their length is free.

    >>> print(EncoderFeatures("layer3 -> layer3", form="mse"))
    EncoderFeatures(maps='layer3 -> layer3', form='mse')
    """

    form: Form = "cosine"
    places: NonNegative = 1.0
    whole: NonNegative = 1.0

    @property
    def teacher_temperature(self) -> float:
        return math.inf

    @property
    def reads(self) -> Reads:
        return super().reads | Reads(student_answer=True, teacher_answer=True)

    def misfit(self, task: Task) -> str | None:
        if type(task).numbers is Task.numbers:
            return f"it compares answers as vectors, and an answer of task {task.name!r} is none"
        return None

    def build(self, shapes: Shapes) -> nn.Module:
        student, teacher = self.traced(shapes)
        require_maps(self, teacher)
        projection = regressor(student, teacher, kind="linear")
        return nn.Identity() if projection is None else projection

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert owned is not None
        student, teacher = self.values(reading)
        value = self.places * encoder_features(owned(student), teacher, form=self.form)
        answers = [reading.task.numbers(answer.named, reading.targets) for answer in (reading.student, reading.teacher)]
        vectors = [answer.values for answer in answers if answer is not None]
        if len(vectors) < 2:
            raise UserError(f"an answer of task {reading.task.name!r} is no vector that could be compared")
        return torch.add(value, encoder_features(vectors[0], vectors[1]), alpha=self.whole)


METHOD = one_stage(
    "encoder",
    EncoderFeatures,
    stage="features of the encoder",
    labels=False,
    family="features",
    year=2026,
    paper="none: a choice of this library",
)
