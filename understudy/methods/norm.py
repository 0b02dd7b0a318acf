"""Many copies of the teacher's last map, for a student whose last map is expanded: ``label_weight CE + weight NORM``.

Two linear layers behind the student's last map, to ``copies`` times the teacher's channels and back, are added to the
map and stay with the student; between them the map learns from as many copies of the teacher's.

Reference: Liu, Li, Li, Yao, "NORM: knowledge distillation via N-to-one representation matching", ICLR 2023.
Weights, copies: those of the example in the authors' README (0.1 and 1, 8 copies); their scripts try label weights of
1/16, 1/8, 1/4 and 1/2. As in their code the weight of the map is a tenth of its value in the first 24th of the epochs,
half of it until a 12th, and falls in the same steps after 3/4 and 7/8 (10, 20, 180 and 210 of 240 epochs).
Differences: the code normalises all logits (layer norm, times 2.5) in the losses; here it does not. In WRN its layers
stand before the last batch norm, here behind the map that is pooled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Count, NonNegative
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.kd import KD
from understudy.methods.method import Method
from understudy.methods.shared.maps import feature_mse, require_maps
from understudy.methods.shared.pairs import MapsTerm
from understudy.models.grafts import Expansion, linear_1x1
from understudy.objective.labels import CE
from understudy.objective.term import Expression, Reading, Shapes
from understudy.precision import wide
from understudy.taps import Pair, Tap, find

STEPS = ((1 / 24, 0.1), (1 / 12, 0.5), (3 / 4, 1.0), (7 / 8, 0.5), (inf, 0.1))  # until which share of the epochs


def norm(student: Tensor, teacher: Tensor) -> Tensor:
    """NORM: an expanded map against copies of the teacher's, one value per sample.

    ``sum_k mean (t - s_k)^2``, s_k the k-th part of the student's channels, as many as the teacher has

    Args:
        student: the expanded map, (N, K C, H, W).
        teacher: (N, C, H, W). The larger of the two maps is brought to the smaller one by the maxima of its places.

    Weight in the objective: 1, beside labels with a weight of 1/16 to 1/2.
    Reference: Liu, Li, Li, Yao, "NORM: knowledge distillation via N-to-one representation matching", ICLR 2023.
    Differences: none known to this part of the authors' code.

    >>> norm(torch.zeros(1, 4, 1, 1), torch.ones(1, 2, 1, 1))
    tensor([2.])
    """
    if student.ndim != 4 or teacher.ndim != 4 or len(student) != len(teacher) or student.shape[1] % teacher.shape[1]:
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise UserError(f"norm takes maps (N, K C, H, W) of the student and (N, C, H, W) of the teacher, not {shapes}")
    grid = (min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3]))
    own, other = (x if x.shape[2:] == grid else F.adaptive_max_pool2d(x, grid) for x in map(wide, (student, teacher)))
    copies = own.shape[1] // other.shape[1]
    return copies * feature_mse(own, other.repeat(1, copies, 1, 1))


@dataclass(frozen=True)
class NORM(MapsTerm):
    """The student's expanded last map against copies of the teacher's; see ``losses.norm``.

    Args:
        maps: the pair of last maps.
        copies: of the teacher's map.
        epochs: of the whole training, over which the term's weight changes in steps; 0 for a constant one.

    Where the student's map is not an expanded one, as in a student that the method ``norm`` has changed, a convolution
    of 1x1 with a batch norm expands it. It goes with the training, and the student does not answer through it.

    >>> print(NORM("layer3 -> layer3", copies=4))
    NORM(maps='layer3 -> layer3', copies=4)
    """

    copies: Count = 8
    epochs: NonNegative = 0.0

    def build(self, shapes: Shapes) -> nn.Module | None:
        student, teacher = self.traced(shapes)
        require_maps(self, student, teacher)
        expanded = self.copies * teacher.shape[1]
        if self.taps.student.path.endswith(f".{Expansion.PATH}") and student.shape[1] == expanded:
            return None
        return linear_1x1(student.shape[1], expanded).to(student.dtype)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        student, teacher = self.values(reading)
        return self._step(reading.epoch) * norm(student if owned is None else owned(student), teacher)

    def _step(self, epoch: float) -> float:
        return next(weight for until, weight in STEPS if epoch < until * self.epochs) if self.epochs else 1.0


def _stages(
    config: TrainConfig,
    *,
    maps: str,
    heads: str,
    copies: Count = 8,
    weight: NonNegative = 1.0,
    soft_weight: NonNegative = 0.0,
    label_weight: NonNegative = 0.1,
) -> list[Stage]:
    """The student's last map, expanded, learns from copies of the teacher's: ``CE + NORM``.

    The student leaves with two further layers behind its last map: it is larger and slower than the one that was given,
    and is measured as it leaves.

    Args:
        maps: the pair of last maps, whose means the classifiers are given.
        heads: the pair of classifiers, which say how many channels the maps have.
        copies: of the teacher's map.
        weight, soft_weight, label_weight: of the maps, of soft targets at temperature 4 (0.9 with NORM+KD; none by
            default) and of the labels.
    """
    pair = Pair.parse(maps)
    expanded = Pair(pair.teacher, Tap(f"{pair.student.path}.{Expansion.PATH}"))
    objective: Expression = label_weight * CE() + weight * NORM(str(expanded), copies, float(config.epochs))
    if soft_weight:
        objective = objective + soft_weight * KD()
    return [Stage("labels and copies of the last map", objective, config, answers=True)]


def _graft(student: nn.Module, teacher: nn.Module, settings: Mapping[str, object]) -> None:
    maps, heads, copies = Pair.parse(str(settings["maps"])), Pair.parse(str(settings["heads"])), settings["copies"]
    assert isinstance(copies, int)
    if maps.student.form or maps.student.side != "output":
        raise UserError(
            f"norm: the layers stand behind what a module of the student answers, not behind {str(maps.student)!r}: "
            "name another map"
        )
    own, other = _width(student, heads.student, "the student"), _width(teacher, heads.teacher, "the teacher")
    Expansion(maps.student.path, own, copies * other).onto(student)


def _width(network: nn.Module, head: Tap, called: str) -> int:
    layer = find(network, head, called=called)
    if not isinstance(layer, nn.Linear):
        raise UserError(f"norm: {called}'s {head.path!r} is no linear layer, which says how many channels its map has")
    return layer.in_features


METHOD = Method(
    "norm",
    _stages,
    family="features",
    year=2023,
    paper="Liu et al., NORM: knowledge distillation via N-to-one representation matching",
    grafts=_graft,
)
