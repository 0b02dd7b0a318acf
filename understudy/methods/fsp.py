"""Matrices of the flow between consecutive layers (FSP, Yim et al., CVPR 2017), in two stages or in one."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from understudy.bounds import Epochs, NonNegative, Positive
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method, one_stage
from understudy.methods.shared.maps import on_common_grid, products, require_known, require_places
from understudy.methods.shared.pairs import named_pairs, parsed, summed
from understudy.methods.shared.stages import split
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.taps.regressors import regressor

SHARE_OF_RATE = 0.1


def fsp(
    student_first: Tensor,
    student_second: Tensor,
    teacher_first: Tensor,
    teacher_second: Tensor,
    *,
    reduce: Literal["sum", "mean"] = "mean",
) -> Tensor:
    """Squared distance of two networks' FSP matrices, one value per sample.

    ``|| G(t_1, t_2) - G(s_1, s_2) ||^2`` with ``G_ij = sum_hw F1_ihw F2_jhw / (H W)``

    Args:
        student_first, student_second: two maps of the student, the start and end of one section, (N, C, H, W).
        teacher_first, teacher_second: the same of the teacher: the channels of each must be the student's, the sizes
            of the maps need not.
        reduce: over the matrix: the paper's ``sum``, or the ``mean`` of CRD's benchmark.

    The paper weighs its three pairs of layers equally, averages over the batch, and trains by this loss alone before
    it trains by labels alone (two stages); CRD's benchmark takes 50 with ``mean``, as a first stage of 30 epochs.

    Reference: Yim et al., "A gift from knowledge distillation: fast optimization, network minimization and transfer
    learning", CVPR 2017.
    Differences: where the two maps of a network differ in size, the larger is averaged down as in CRD's
    benchmark; torchdistill takes the maximum there.

    >>> maps = torch.ones(1, 2, 2, 2)
    >>> fsp(maps, maps, maps, maps)
    tensor([0.])
    """
    require_known("reduce", reduce, ("sum", "mean"))
    student = fsp_matrix(student_first, student_second)
    teacher = fsp_matrix(teacher_first, teacher_second)
    if student.shape != teacher.shape:
        raise UserError(
            f"the student's layers have {student.shape[1]} and {student.shape[2]} channels, the teacher's "
            f"{teacher.shape[1]} and {teacher.shape[2]}: tap layers of equal width or put regressors before them"
        )
    squares = (teacher - student).square().flatten(1)
    return squares.sum(1) if reduce == "sum" else squares.mean(1)


def fsp_matrix(first: Tensor, second: Tensor) -> Tensor:
    """The products of two layers' channels, averaged over the places: (N, C1, H, W), (N, C2, H', W') to (N, C1, C2)."""
    one, two = (values.flatten(2) for values in on_common_grid(first, second))
    return products(one, two) / one.shape[2]


@dataclass(frozen=True)
class FSP(Term):
    """How two layers of the student go together, as the teacher's do: distance of FSP matrices, summed over sections.

    ``sum_k || G(t_k, t_k+1) - G(s_k, s_k+1) ||^2`` with ``G_ij = sum_hw F1_ihw F2_jhw / (H W)``; see ``losses.fsp``.

    Args:
        pairs: ``"teacher.tap -> student.tap"`` of maps from input to output, two at least: each and the one after it
            are the ends of a section.
        reduce: over a matrix, the paper's ``"sum"`` or the ``"mean"`` of CRD's benchmark.

    Reference: Yim et al., "A gift from knowledge distillation: fast optimization, network minimization and transfer
    learning", CVPR 2017.
    Differences: the paper has networks of equal width only; where channels differ, the student's map passes a learned
    1x1 convolution here.

    >>> print(FSP(("layer1 -> layer1", "layer2 -> layer2")))
    FSP(pairs=('layer1 -> layer1', 'layer2 -> layer2'))
    """

    pairs: tuple[str, ...]
    reduce: Literal["sum", "mean"] = "mean"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", named_pairs(self, self.pairs, least=2))

    @property
    def reads(self) -> Reads:
        return Reads.pairs(parsed(self.pairs))

    def build(self, shapes: Shapes) -> nn.Module | None:
        values = [(shapes.student[pair.student], shapes.teacher[pair.teacher]) for pair in parsed(self.pairs)]
        for pair, both in zip(parsed(self.pairs), values, strict=True):
            require_places(self, pair, *both)
        widened = nn.ModuleList(_widening(own, other) for own, other in values)
        return widened if any(not isinstance(module, nn.Identity) for module in widened) else None

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        pairs = parsed(self.pairs)
        own = [reading.student[pair.student] for pair in pairs]
        if isinstance(owned, nn.ModuleList):
            own = [module(values) for module, values in zip(owned, own, strict=True)]
        other = [reading.teacher[pair.teacher] for pair in pairs]
        sections = zip(pairwise(own), pairwise(other), strict=True)
        return summed(fsp(*students, *teachers, reduce=self.reduce) for students, teachers in sections)


def _widening(student: Tensor, teacher: Tensor) -> nn.Module:
    """To the teacher's channels on the student's own grid: the matrices are means over places."""
    if student.ndim != 4 or teacher.ndim != 4:
        raise UserError(f"FSP reads maps, not {tuple(student.shape)} and {tuple(teacher.shape)}: tap other places")
    if student.shape[1] == teacher.shape[1]:
        return nn.Identity()
    module = regressor(student, student.new_empty(1, teacher.shape[1], *student.shape[2:]), kind="linear")
    assert module is not None
    return module


def _stages(
    config: TrainConfig,
    *,
    pairs: tuple[str, ...],
    fsp_epochs: Epochs | None = None,
    fsp_lr: Positive | None = None,
    weight: NonNegative = 1.0,
    reduce: Literal["sum", "mean"] = FSP.reduce,
) -> list[Stage]:
    """Stage 1 trains on FSP matrices of consecutive layers alone, stage 2 on labels alone.

    Args:
        pairs: from input to output, two at least: each and the one after it make a matrix. The ends of the shared
            stages are proposed, two matrices of a network of three stages. The paper has three, each of the start and
            the end of one section of equal map size; CRD's benchmark and KD-Zoo have three with the stem, which is
            ``pairs = ["relu -> relu", "layer1 -> layer1", ...]`` of the CIFAR ResNets here.
        fsp_epochs: of the config's epochs, so many are stage 1 (a fifth by default). The paper gives both stages as
            many steps each.
        fsp_lr: the learning rate of stage 1, by default a tenth of the config's, as in KD-Zoo: the loss is of fourth
            degree in the student's values, and a high rate diverges. The paper has a hundredth, with ``"sum"``; CRD's
            benchmark the same rate for both stages.
        weight, reduce: ``"mean"`` is that of CRD's benchmark and KD-Zoo, ``"sum"`` the paper's.
    """
    rate = config.optimizer.lr * SHARE_OF_RATE if fsp_lr is None else fsp_lr
    first, rest = split(config, fsp_epochs, setting="fsp: fsp_epochs", lr=rate)
    return [Stage("flow", weight * FSP(pairs, reduce=reduce), first), Stage("labels", CE(), rest)]


_PAPER = "Yim et al., A gift from knowledge distillation"
METHOD = Method("fsp", _stages, family="features", year=2017, paper=_PAPER)
JOINT = one_stage(
    "fsp-joint",
    FSP,
    stage="labels and flow",
    family="features",
    year=2017,
    paper=f"{_PAPER}, in one stage",
    weight=1.0,
    label_weight=1.0,
    doc="""Labels and FSP matrices in one stage: ``CE + FSP``.

    Settings:
        pairs: from input to output, two at least.
        weight, reduce: no joint form is published. The 50 that CRD's benchmark lists stands beside a training in two
            stages, and is not read there; at a rate of 0.1 it may diverge.
        label_weight: of the cross-entropy.
    """,
)
