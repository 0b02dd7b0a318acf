"""Projected maps in two views, also by the teacher's own last stage: ``CE + KD + ScaleKD``.

``0.5 CE + 0.5 KD + weight (d(last stage) + d(stage before, run through the teacher's last one))``, d in two views

Reference: Fan, Li, Liu, Yao, "ScaleKD: strong vision transformers could be excellent teachers", NeurIPS 2024.
Weights, temperatures: those of the authors' configuration for ResNet-50 from Swin-L (0.08 for the maps, 0.06 for the
maps without their mean, soft targets at temperature 1 with half of the labels, attention scaled by 5).
Differences: the teacher is run from its beginning, whose values are dropped; tokens before a grid (a class token) stay
its own. The student's map keeps its size; in the code both have one. Heads: the largest divisor of the teacher's width
up to ``heads``. Soft targets are the divergence, the code's cross-entropy less a constant.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Count, NonNegative, Positive, Temperature
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.methods.kd import KD
from understudy.methods.method import Method
from understudy.methods.shared.copies import continued, frozen, inputs_of, mixed_in_part
from understudy.methods.shared.maps import BatchNorm, difference, require_maps
from understudy.methods.shared.pairs import PairsTerm, parsed
from understudy.methods.shared.relations import unit
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Shapes
from understudy.precision import wide

VIEWS = ("spatial", "frequency")


def scalekd(student: Tensor, teacher: Tensor, *, centred: bool = False) -> Tensor:
    """ScaleKD: the distance of two maps whose places are vectors of length 1, one value per sample.

    ``sum_hw ‖t_hw / ‖t_hw‖ - s_hw / ‖s_hw‖‖^2``, if ``centred`` of the maps less their mean over the places

    Args:
        student: a map after an attention projector, (N, C, H, W).
        teacher: of the same shape.
        centred: take the mean over the places off each channel before. The code does so by a cosine transform whose
            first coefficient it sets to 0, which is the same.

    Weight in the objective: 0.08, and 0.06 if centred, in the authors' configuration for ResNet-50 from Swin-L.
    Reference: Fan, Li, Liu, Yao, "ScaleKD: strong vision transformers could be excellent teachers", NeurIPS 2024.
    Differences: a place whose vector is 0 stays 0; the code divides by 1e-12 at least.

    >>> scalekd(torch.tensor([[[[1.0]], [[0.0]]]]), torch.tensor([[[[0.0]], [[2.0]]]]))
    tensor([2.])
    """
    own, other = _places(student, centred), _places(teacher, centred)
    return difference(own, other).square().flatten(1).sum(1)


def _places(maps: Tensor, centred: bool) -> Tensor:
    vectors = wide(maps).flatten(2)
    return unit((vectors - vectors.mean(2, keepdim=True) if centred else vectors).mT)


@dataclass(frozen=True)
class ScaleKD(PairsTerm):
    """The last stages' maps, through attention projectors; see ``losses.scalekd``.

    ``sum_v w_v (d_v(P_v(s)) + d_v(L(Q_v(s'))))`` over two views v, d the distance from the teacher's last map, s and s'
    the student's last map and that of the stage before, L the teacher's last stage, P and Q projectors; P is asked by
    what L makes of Q's map, Q by learned queries

    Args:
        pairs: from input to output, at least two, of which the last two are read.
        spatial, frequency: w, of the maps and of the maps without their mean.
        scale: of the attention, beside the root of the width of a head.
        heads: of the attention, at most.

    >>> print(ScaleKD(["layers.2 -> layer3", "layers.3 -> layer4"], heads=16))
    ScaleKD(pairs=('layers.2 -> layer3', 'layers.3 -> layer4'), heads=16)
    """

    least = 2
    spatial: NonNegative = 0.08
    frequency: NonNegative = 0.06
    scale: Positive = 5.0
    heads: Count = 8

    @property
    def reads(self) -> Reads:
        return Reads.pairs(parsed(self.pairs)[-2:]) | Reads(teacher_network=True)

    def build(self, shapes: Shapes) -> nn.Module:
        pairs = parsed(self.pairs)[-2:]
        before_s, last_s = (shapes.student[pair.student] for pair in pairs)
        before_t, last_t = (shapes.teacher[pair.teacher] for pair in pairs)
        require_maps(self, before_s, before_t, last_s, last_t)
        owned = {}
        for view in VIEWS:
            owned[f"{view}_before"] = Projector(before_s, before_t, self.scale, self.heads, asked=False)
            owned[f"{view}_last"] = Projector(last_s, last_t, self.scale, self.heads, asked=True)
        return nn.ModuleDict(owned).to(last_s.dtype)

    def remarks(self, shapes: Shapes) -> Iterable[str]:
        taps = [pair.teacher for pair in parsed(self.pairs)[-2:]]
        if shapes.inputs is not None and shapes.teacher_network is not None:
            yield from mixed_in_part("teacher", shapes.teacher_network, taps, shapes.teacher, shapes.inputs)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, nn.ModuleDict)
        teacher, inputs = reading.teacher_network, inputs_of(reading, "ScaleKD")
        assert teacher is not None
        before, last = parsed(self.pairs)[-2:]
        wanted = reading.teacher[last.teacher]
        value = torch.zeros_like(wide(wanted[:, 0, 0, 0]))
        for view, weight in zip(VIEWS, (self.spatial, self.frequency), strict=True):
            projected = owned[f"{view}_before"](reading.student[before.student])
            with frozen(teacher):
                through = continued(teacher, before.teacher, projected, inputs, (last.teacher,), reading.task)
            asked = through[last.teacher]
            for maps in (asked, owned[f"{view}_last"](reading.student[last.student], asked)):
                value = value + weight * scalekd(maps, wanted, centred=view == "frequency")
        return value


class Projector(nn.Module):
    """Cross-attention from a grid of queries in the teacher's form to the student's map, and two linear layers.

    Args:
        student, teacher: traced maps, whose shapes are read.
        scale: of the attention's scores.
        heads: at most so many.
        asked: whether a map of the teacher's form is given as the queries; else they are learned.
    """

    def __init__(self, student: Tensor, teacher: Tensor, scale: float, heads: int, *, asked: bool):
        super().__init__()
        channels, (width, *grid) = student.shape[1], teacher.shape[1:]
        self.scale, self.grid = scale, tuple(grid)
        self.heads = next(n for n in range(min(heads, width), 0, -1) if width % n == 0)
        convolution = nn.Conv2d(channels, channels, 3, padding=1)
        self.student = nn.Sequential(convolution, BatchNorm(channels), nn.ReLU())
        self.place = nn.Parameter(torch.zeros(1, *student.shape[1:]))
        nn.init.trunc_normal_(self.place, std=0.02)
        self.asked = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU())
        self.queries = None if asked else nn.Parameter(torch.randn(1, width, *grid))
        self.q, self.k, self.v = nn.Linear(width, width), nn.Linear(channels, width), nn.Linear(channels, width)
        self.out, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, student: Tensor, queries: Tensor | None = None) -> Tensor:
        if queries is None:
            assert self.queries is not None
            queries = self.queries.expand(len(student), -1, -1, -1)
        tokens = (self.student(student) + self.place).flatten(2).mT
        q = self.q(self.asked(queries).flatten(2).mT)
        q, k, v = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (q, self.k(tokens), self.v(tokens)))
        scale = self.scale / math.sqrt(q.shape[-1])
        attended = F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2).flatten(2)
        normed = self.norm(self.out(attended))
        maps: Tensor = (normed + self.feed(normed)).mT.unflatten(2, self.grid)
        return maps


def _stages(
    config: TrainConfig,
    term: ScaleKD,
    *,
    temperature: Temperature = 1.0,
    weight: NonNegative = 1.0,
    soft_weight: NonNegative = 0.5,
    label_weight: NonNegative = 0.5,
) -> list[Stage]:
    soft = label_weight * CE() + soft_weight * KD(temperature)
    return [Stage("labels, soft targets and projected maps", soft + weight * term, config)]


METHOD = Method(
    "scalekd",
    _stages,
    term=ScaleKD,
    family="features",
    year=2024,
    paper="Fan et al., ScaleKD: strong vision transformers could be excellent teachers",
)
