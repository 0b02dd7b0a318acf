"""Class-distance loss (Kim & Kim, ICLR workshop 2017): the student's training."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from understudy._terms.class_distance import ClassDistance
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.models.grafts import Graft
from understudy.stage import Stage
from understudy.taps import Pair, Tap
from understudy.terms import CE
from understudy.training.course import Course


def class_distance(
    course: Course,
    *,
    embedding: str,
    weight: float = 5.0,
    reduce: Literal["sum", "mean"] = "mean",
    label_weight: float = 0.0,
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
    return [Stage("features", objective, course, answers=True)]


def _heads(embedding: str) -> Pair:
    pair = Pair.parse(embedding)
    if not pair.teacher.side == pair.student.side == "input":
        raise UserError(
            f"class-distance: embedding is what enters both classifiers, as 'fc:input -> fc:input', not {pair}"
        )
    return Pair(Tap(pair.teacher.path), Tap(pair.student.path))


def _graft(student: nn.Module, teacher: nn.Module, settings: Mapping[str, Any]) -> None:
    heads = _heads(settings["embedding"])
    graft = Graft.between(student, teacher, heads)
    graft.onto(student)
    graft.fill(student, teacher, heads.teacher.path)


METHOD = Method(
    "class-distance",
    class_distance,
    family="features",
    year=2017,
    paper="Kim and Kim, Transferring knowledge to smaller network with class-distance loss",
    grafts=_graft,
)
