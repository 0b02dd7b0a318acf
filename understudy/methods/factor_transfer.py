"""Factor transfer (Kim, Park, Kwak, NeurIPS 2018)."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from understudy.bounds import Epochs, NonNegative, Positive
from understudy.config.stage import Stage
from understudy.config.train import TrainConfig
from understudy.errors import UserError
from understudy.methods.method import Method
from understudy.methods.shared.maps import difference, require_known, require_same_shape
from understudy.methods.shared.pairs import MapsTerm
from understudy.methods.shared.relations import unit
from understudy.methods.shared.stages import split
from understudy.objective.labels import CE
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.precision import wide
from understudy.taps import Pair, Tap
from understudy.taps.modules import Resize

SLOPE = 0.1  # of the leaky ReLUs
RATE = 0.5


Distance = Literal["l1", "l2"]


def factor_transfer(student: Tensor, teacher: Tensor, *, distance: Distance = "l1") -> Tensor:
    """Factor transfer: distance of the normalised factors, one value per sample.

    ``mean | F_t / |F_t|_2 - F_s / |F_s|_2 |^p`` over all elements, p = 1 or 2

    Args:
        student: the translator's output for the student's last map, (N, ...).
        teacher: the paraphraser's output for the teacher's last map, of the same shape.
        distance: ``"l1"`` as in the authors' code, or ``"l2"`` (the mean of squares).

    The authors' code weighs it by beta = 500, averaged over elements and batch.

    Reference: Kim, Park, Kwak, "Paraphrasing complex network: network compression via factor transfer", NeurIPS 2018.
    Differences: the paper writes the p-norm (a sum over elements), its code averages. CRD's benchmark (weight 200)
    averages squares over the channels first, which is an attention map and not the paper's factor.

    >>> factor_transfer(torch.ones(1, 2, 1, 1), torch.zeros(1, 2, 1, 1))
    tensor([0.7071])
    """
    require_same_shape(student, teacher)
    gap = unit(wide(teacher).flatten(1)) - unit(wide(student).flatten(1))
    return _mean(gap, distance)


def paraphraser_reconstruction(reconstruction: Tensor, features: Tensor, *, distance: Distance = "l2") -> Tensor:
    """How far the paraphraser's reconstruction is from the teacher's features, one value per sample.

    ``mean | x - P(x) |^p`` over all elements, p = 2 or 1

    Args:
        reconstruction: P(x), of the paraphraser's decoder, (N, ...).
        features: x, the teacher's last map, of the same shape.
        distance: ``"l2"`` is the paper's, ``"l1"`` its code's.

    The only loss of the paraphraser's own training, before the student's (the code trains it for five epochs).

    Reference: Kim, Park, Kwak, "Paraphrasing complex network: network compression via factor transfer", NeurIPS 2018.
    Differences: the paper writes the squared norm (a sum over elements); here, as in its code, the mean is taken.

    >>> paraphraser_reconstruction(torch.zeros(1, 2, 1, 1), torch.ones(1, 2, 1, 1))
    tensor([1.])
    """
    return _mean(difference(reconstruction, features).flatten(1), distance)


def _mean(gap: Tensor, distance: Distance) -> Tensor:
    require_known("distance", distance, ("l1", "l2"))
    return gap.abs().mean(1) if distance == "l1" else gap.square().mean(1)


@dataclass(frozen=True)
class Paraphraser(Term):
    """Trains an autoencoder of the teacher's maps, and nothing else: the stage before ``FactorTransfer``.

    ``mean | x - P(x) |``; see ``losses.paraphraser_reconstruction``. A stage of it hands the paraphraser over.

    Args:
        tap: of the teacher, its last maps.
        rate: the factors' channels as a share of the teacher's (code: 0.5; the paper compares 0.5, 0.75 and others).
        distance: ``"l1"`` is its code's, ``"l2"`` the paper's.

    Reference: Kim, Park, Kwak, "Paraphrasing complex network: network compression via factor transfer", NeurIPS 2018.

    >>> print(Paraphraser("layer3"))
    Paraphraser(tap='layer3')
    """

    tap: str
    rate: Positive = RATE
    distance: Literal["l1", "l2"] = "l1"
    trains_student: ClassVar[bool] = False

    def __post_init__(self) -> None:
        Tap.parse(self.tap)

    @property
    def reads(self) -> Reads:
        return Reads(teacher_taps=(Tap.parse(self.tap),))

    def build(self, shapes: Shapes) -> nn.Module:
        return Autoencoder(shapes.teacher[self.tap], self.rate)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, Autoencoder)
        features = reading.teacher[self.tap]
        return paraphraser_reconstruction(owned(features), features, distance=self.distance)


@dataclass(frozen=True)
class FactorTransfer(MapsTerm):
    """The student's maps, translated, are the teacher's, paraphrased: distance of normalised factors.

    ``mean | F_t / |F_t|_2 - F_s / |F_s|_2 |``; see ``losses.factor_transfer``. The code's weight is 500.

    Args:
        maps: ``"teacher.tap -> student.tap"``, the last maps of both.
        rate: as that of the ``Paraphraser``.
        distance: ``"l1"`` as in the code, or ``"l2"``.

    The translator learns with the student. The paraphraser is frozen, as the stage before handed it over; without such
    a stage it is a random projection.

    Reference: Kim, Park, Kwak, "Paraphrasing complex network: network compression via factor transfer", NeurIPS 2018.
    Differences: a student's map of another size is resized to the teacher's grid first (the paper's are equal).

    >>> print(FactorTransfer("layer3 -> layer3"))
    FactorTransfer(maps='layer3 -> layer3')
    """

    rate: Positive = RATE
    distance: Literal["l1", "l2"] = "l1"

    def build(self, shapes: Shapes) -> nn.Module:
        pair = self.taps
        return Factors(shapes.student[pair.student], shapes.teacher[pair.teacher], self.rate)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, Factors)
        pair = self.taps
        own, other = owned(reading.student[pair.student], reading.teacher[pair.teacher])
        return factor_transfer(own, other, distance=self.distance)


class Autoencoder(nn.Module):
    """Three convolutions to the factors, three transposed ones back, each before a leaky ReLU."""

    def __init__(self, maps: Tensor, rate: float):
        super().__init__()
        channels = _channels(maps)
        factors = _factors(channels, rate)
        self.encoder = _convolutions(nn.Conv2d, channels, channels, factors, factors)
        self.decoder = _convolutions(nn.ConvTranspose2d, factors, factors, channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(self.encoder(maps))
        return reconstruction


class Factors(nn.Module):
    """The translator and the teacher's encoder, with the names of the stage before."""

    def __init__(self, student: Tensor, teacher: Tensor, rate: float):
        super().__init__()
        inputs, channels = _channels(student), _channels(teacher)
        factors = _factors(channels, rate)
        grid = (teacher.shape[2], teacher.shape[3])
        self.resize = nn.Identity() if student.shape[2:] == teacher.shape[2:] else Resize(grid)
        self.translator = _convolutions(nn.Conv2d, inputs, inputs, factors, factors)
        self.encoder = _convolutions(nn.Conv2d, channels, channels, factors, factors).requires_grad_(False)

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            other = self.encoder(teacher)
        return self.translator(self.resize(student)), other


def _convolutions(kind: type[nn.Conv2d | nn.ConvTranspose2d], *channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(channels):
        layers += [kind(inputs, outputs, 3, padding=1), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


def _factors(channels: int, rate: float) -> int:
    return max(1, round(channels * rate))


def _channels(maps: Tensor) -> int:
    if maps.ndim != 4:
        raise UserError(f"factor transfer reads maps (N, C, H, W), not {tuple(maps.shape)}: tap another place")
    return maps.shape[1]


def _stages(
    config: TrainConfig,
    *,
    maps: str,
    weight: NonNegative = 500.0,
    rate: Positive = RATE,
    distance: Literal["l1", "l2"] = FactorTransfer.distance,
    paraphraser_epochs: Epochs | None = None,
    paraphraser_lr: Positive | None = None,
    paraphraser_distance: Literal["l1", "l2"] = Paraphraser.distance,
    label_weight: NonNegative = 1.0,
) -> list[Stage]:
    """Stage 1 trains a paraphraser of the teacher's maps, stage 2 labels and its factors.

    Args:
        maps: the last maps of both.
        weight, distance: the authors' code's 500, of normalised factors' mean absolute difference.
        rate: the factors' channels as a share of the teacher's (code: 0.5).
        paraphraser_epochs: of the config's epochs, so many train the paraphraser (a fifth by default). The code takes
            six, against 164 of the student.
        paraphraser_lr: the learning rate of stage 1, where it differs (code: the student's; CRD's benchmark: 0.01).
        paraphraser_distance: ``"l1"`` is the code's reconstruction loss, ``"l2"`` the paper's, which wants the lower
            rate: on a ResNet-56's maps it diverges at 0.1.
        label_weight: of the cross-entropy in stage 2.
    """
    setting = "factor-transfer: paraphraser_epochs"
    first, rest = split(config, paraphraser_epochs, setting=setting, lr=paraphraser_lr)
    paraphraser = Paraphraser(str(Pair.parse(maps).teacher), rate=rate, distance=paraphraser_distance)
    objective = label_weight * CE() + weight * FactorTransfer(maps, rate=rate, distance=distance)
    return [
        Stage("paraphraser", paraphraser, first, hands_over=True),
        Stage("labels and factors", objective, rest),
    ]


METHOD = Method(
    "factor-transfer",
    _stages,
    family="features",
    year=2018,
    paper="Kim, Park and Kwak, Paraphrasing complex network: network compression via factor transfer",
)
