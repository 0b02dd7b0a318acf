"""SimKD: the last features become the teacher's, and the student leaves with the teacher's classifier.

Reference: Chen et al., "Knowledge distillation with the reused teacher classifier", CVPR 2022.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated

from torch import Tensor, nn

from understudy.bounds import Interval, NonNegative
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.methods.shared.maps import BatchNorm, difference, on_common_grid
from understudy.methods.shared.pairs import MapsTerm
from understudy.models.grafts import Graft, bottleneck
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Shapes
from understudy.taps import Pair, Tap
from understudy.taps.regressors import regressor
from understudy.taps.stages import MOST_UNREACHABLE, head_on, unreachable

WAY_OUT = "name the value that it is given as 'maps', or what goes into both classifiers, as in 'fc:input -> fc:input'"


def simkd(student: Tensor, teacher: Tensor) -> Tensor:
    """SimKD: mean squared difference of the last features before a shared classifier, one value per sample.

    ``mean (f_t - P(f_s))^2``

    Args:
        student: last map after the projector (1x1, 3x3 and 1x1 convolutions), (N, C, H, W).
        teacher: last map, of the same shape; of the two maps the code averages the larger one down before.

    The only loss, weight 1; the student then answers by its own body, the projector and the teacher's classifier, so
    the projector stays with the student.

    Reference: Chen et al., "Knowledge distillation with the reused teacher classifier", CVPR 2022.
    Differences: the paper writes the squared norm; its code takes the mean over elements.

    >>> import torch
    >>> simkd(torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4))
    tensor([1., 1.])
    """
    return difference(student, teacher).square().flatten(1).mean(1)


@dataclass(frozen=True)
class SimKD(MapsTerm):
    """The last features, through a bottleneck of convolutions, against the teacher's; see ``losses.simkd``.

    ``mean (f_t - P(f_s))^2``, P 1x1, 3x3 and 1x1 convolutions, each with batch norm and ReLU

    Args:
        maps: what goes into the teacher's classifier, as the map before it is pooled; the larger of two maps is
            averaged down. Vectors and tokens are joined by a linear layer.
        factor: by which P's inner channels are fewer than the teacher's (code: 2).
        projected: the student's value has passed P already, as in a student that the method ``simkd`` has grafted.

    Differences: the paper keeps P and the teacher's classifier in its product, as the method ``simkd`` does. As a term
    beside others, P goes with the training, as every regressor does, and the student's own classifier learns nothing
    from it.

    >>> print(SimKD("layer3 -> layer3", factor=4))
    SimKD(maps='layer3 -> layer3', factor=4)
    """

    factor: Annotated[int, Interval(ge=1, le=1_000)] = 2
    projected: bool = False

    def build(self, shapes: Shapes) -> nn.Module | None:
        student, teacher = self.traced(shapes)
        if self.projected:
            if reason := self._not_given(shapes, teacher):
                raise UserError(f"{self}: {reason}, so maps like these do not make its classifier right: {WAY_OUT}")
            return None
        if student.ndim == teacher.ndim == 4:
            return bottleneck(student.shape[1], teacher.shape[1], self.factor, BatchNorm)
        return regressor(student, teacher, kind="linear")

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        teacher = self.traced(shapes)[1]
        if reason := self._not_given(shapes, teacher):
            yield f"{reason}: the student learns other features than those that are classified"
        if teacher.ndim == 4 and (share := unreachable(teacher)) > MOST_UNREACHABLE:
            yield (
                f"{share:.0%} of the square of the teacher's {str(self.taps.teacher)!r} is negative, which the "
                "projector's ReLU cannot reach: tap the value after the last activation"
            )

    def _not_given(self, shapes: Shapes, teacher: Tensor) -> str | None:
        """Why the teacher's value is not what its classifier is given; None where it is."""
        network, answers = shapes.teacher_network, list(shapes.teacher.named.values())
        if teacher.ndim != 4 or network is None or not answers or head_on(network, teacher, answers[0]) is not None:
            return None
        return f"no linear layer of the teacher answers from the mean of its {str(self.taps.teacher)!r}"

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        if student.ndim == teacher.ndim == 4:
            student, teacher = on_common_grid(student, teacher)
        return simkd(student if owned is None else owned(student), teacher)


def _stages(
    config: TrainConfig,
    *,
    maps: str,
    heads: str,
    weight: NonNegative = 10.0,
    label_weight: NonNegative = 0.0,
    factor: Annotated[int, Interval(ge=1, le=1_000)] = 2,
) -> list[Stage]:
    """The last features become the teacher's, whose classifier answers: ``SimKD``.

    The product is the student's body, the projector (convolutions of 1x1, 3x3 and 1x1) behind its last map, and the
    teacher's classifier: it is larger and slower than the student that was given, and is measured as it leaves.

    Args:
        maps: the pair of last maps, whose means the classifiers are given. Where another layer, a flattening or a class
            token stands between, the pair of what goes into the classifiers is proposed (``"fc:input -> head:input"``):
            vectors, joined by a linear layer in the place of the projector.
        heads: the pair of classifiers, linear layers.
        weight: of the features, and the only loss in the paper, where it is 1: a mean over elements, so steps are
            small, and 240 epochs long enough. 10 gets there in a short config at the usual rate of 0.1.
        label_weight: of the cross-entropy through the teacher's classifier; 0 in the paper.
        factor: by which the projector's inner channels are fewer than the teacher's.
    """
    joined, classifiers = Pair.parse(maps), Pair.parse(heads)
    if _of_vectors(joined, classifiers):  # the grafted student's vector, behind its linear layer
        joined = replace(joined, student=Tap(f"{classifiers.student.path}.classifier", "input"))
    objective = weight * SimKD(str(joined), projected=True)
    if label_weight:
        objective = label_weight * CE() + objective
    return [Stage("features", objective, config, answers=True)]


def _graft(student: nn.Module, teacher: nn.Module, settings: Mapping[str, object]) -> None:
    heads, maps = Pair.parse(str(settings["heads"])), Pair.parse(str(settings["maps"]))
    factor = settings["factor"]
    assert isinstance(factor, int)
    graft = Graft.between(student, teacher, heads, None if _of_vectors(maps, heads) else maps, factor)
    graft.onto(student)
    graft.fill(student, teacher, heads.teacher.path)


def _of_vectors(maps: Pair, heads: Pair) -> bool:
    """Whether the pair names what goes into the classifiers, not maps before that."""
    return maps.student == Tap(heads.student.path, "input")


METHOD = Method(
    "simkd",
    _stages,
    family="features",
    year=2022,
    paper="Chen et al., Knowledge distillation with the reused teacher classifier",
    grafts=_graft,
    proposed_by={"maps": "pooled"},
)
