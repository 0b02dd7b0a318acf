"""A graph of a batch's samples: its vertices, its edges in several layers, and its changes from layer to layer.

``CE + 0.1 vertices + 5 edges + 5 transformations``: the distance of the logits, that of the normalised distances of all
samples, and that of the normalised distances between a sample's values in consecutive layers.

Reference: Liu et al., "Knowledge distillation via instance relationship graph", CVPR 2019.
Weights: those of Knowledge-Distillation-Zoo, whose form this is.
Differences: the authors' code (yufanLIU/IRG, for Caffe and CIFAR-10) has one network with edges and one with
transformations, beside labels, and none with vertices. Edges are those of the pooled last maps alone; transformations
lead from the first to the last block within each stage, of pooled maps. Its 0.005 of half a sum is 0.16 of the means
here, at its batch of 64. There the largest distances are constants to the gradient, which reaches one end of each edge.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import NonNegative
from understudy.errors import UserError
from understudy.methods.method import one_stage
from understudy.methods.shared.maps import feature_mse
from understudy.methods.shared.pairs import PairsTerm
from understudy.methods.shared.relations import distances, flat, one_batch
from understudy.objective.term import Reading, Reads
from understudy.precision import wide
from understudy.taps import Pair


def irg_edges(student: Tensor, teacher: Tensor) -> Tensor:
    """The edges of the graph: the squared distances of all samples in one layer, one value per sample.

    ``mean_m (d_nm / max d - d'_nm / max d')^2``, d and d' the squared distances of samples n and m in both networks

    Args:
        student, teacher: values of the same samples, (N, ...), of any shapes.

    Weight in the objective: 5, averaged over the layers.
    Reference: Liu et al., "Knowledge distillation via instance relationship graph", CVPR 2019.
    Differences: as in Knowledge-Distillation-Zoo; distances are taken from differences, there from inner products.

    >>> import torch
    >>> irg_edges(torch.eye(2), 3 * torch.eye(2))
    tensor([0., 0.])
    """
    one_batch(student, teacher)
    own, other = (_relative(distances(flat(values)).square()) for values in (student, teacher))
    return (own - other).square().mean(1)


def irg_transformation(
    student_before: Tensor, student_after: Tensor, teacher_before: Tensor, teacher_after: Tensor
) -> Tensor:
    """The change of the graph from one layer to the next, one value per sample.

    ``(d_n / max d - d'_n / max d')^2``, d_n the squared distance between a sample's maps in the two layers, brought to
    the coarser grid and to the fewer channels by averages

    Args:
        student_before, student_after, teacher_before, teacher_after: maps (N, C, H, W) of the same samples.

    Weight in the objective: 5.
    Reference: Liu et al., "Knowledge distillation via instance relationship graph", CVPR 2019.
    Differences: as in Knowledge-Distillation-Zoo, where the channels double and pairs of them are averaged; here the
    channels may be any numbers.

    >>> import torch
    >>> before, after = torch.rand(3, 2, 4, 4), torch.rand(3, 4, 2, 2)
    >>> irg_transformation(before, after, before, after)
    tensor([0., 0., 0.])
    """
    one_batch(student_before, teacher_before)
    one_batch(student_after, teacher_after)
    own, other = _relative(_moved(student_before, student_after)), _relative(_moved(teacher_before, teacher_after))
    return (own - other).square()


def _moved(before: Tensor, after: Tensor) -> Tensor:
    if before.ndim != 4 or after.ndim != 4 or len(before) != len(after):
        raise UserError(f"maps (N, C, H, W) of one batch, not {tuple(before.shape)} and {tuple(after.shape)}")
    grid = (min(before.shape[2], after.shape[2]), min(before.shape[3], after.shape[3]))
    channels = min(before.shape[1], after.shape[1])
    one, two = (_fewer(F.adaptive_avg_pool2d(wide(maps), grid).flatten(2), channels) for maps in (before, after))
    return (one - two).square().flatten(1).sum(1)


def _fewer(maps: Tensor, channels: int) -> Tensor:
    """Averages of neighbouring channels."""
    if maps.shape[1] == channels:
        return maps
    return F.adaptive_avg_pool1d(maps.transpose(1, 2), channels).transpose(1, 2)


def _relative(values: Tensor) -> Tensor:
    most = values.amax()
    return values / most.clamp_min(1e-12)


@dataclass(frozen=True)
class IRG(PairsTerm):
    """A graph of the batch's samples: vertices, edges and transformations.

    ``vertices mean (s - t)^2 + edges mean_l irg_edges + transformations mean_l irg_transformation``, s and t the logits

    Args:
        pairs: of maps, from input to output, two at least; transformations are those from each to the next.
        embedding: the pair of what enters the classifiers, whose edges count as those of a further layer.
        vertices, edges, transformations: the weights.

    Differences: as in the losses; the Zoo takes the last two stages of three.

    >>> print(IRG(("layer2 -> layer2", "layer3 -> layer3"), "fc:input -> fc:input", edges=2.0).edges)
    2.0
    """

    least = 2

    embedding: str
    vertices: NonNegative = 0.1
    edges: NonNegative = 5.0
    transformations: NonNegative = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        Pair.parse(self.embedding)

    @property
    def teacher_temperature(self) -> float:
        return math.inf

    @property
    def reads(self) -> Reads:
        answers = Reads(student_logits=True, teacher_logits=True, batch=True)
        return super().reads | Reads.pairs((Pair.parse(self.embedding),)) | answers

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        embedding, maps = Pair.parse(self.embedding), self.values(reading)
        vectors = (reading.student[embedding.student], reading.teacher[embedding.teacher])
        edges = [irg_edges(student, teacher) for student, teacher in (*maps, vectors)]
        moves = [irg_transformation(s, after_s, t, after_t) for (s, t), (after_s, after_t) in pairwise(maps)]
        value = self.vertices * feature_mse(reading.student.logits, reading.teacher.logits)
        for values, weight in ((edges, self.edges), (moves, self.transformations)):
            for each in values:
                value = value + weight / len(values) * each
        return value


METHOD = one_stage(
    "irg",
    IRG,
    stage="labels and relations",
    weight=1.0,
    family="relations",
    year=2019,
    paper="Liu et al., Knowledge distillation via instance relationship graph",
)
