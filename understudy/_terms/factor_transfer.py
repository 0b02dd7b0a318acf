"""Factor transfer (Kim, Park, Kwak, 2018): a paraphraser of the teacher's maps, a translator of the student's."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from understudy import losses
from understudy.errors import UserError
from understudy.objective.term import Reading, Reads, Shapes, Term
from understudy.regressors import Resize
from understudy.taps import Pair, Tap

SLOPE = 0.1  # of the leaky ReLUs
RATE = 0.5


@dataclass(frozen=True)
class Paraphraser(Term):
    """Trains an autoencoder of the teacher's maps, and nothing else: what comes before ``FactorTransfer``.

    ``mean | x - P(x) |``; see ``losses.paraphraser_reconstruction``. A stage of it hands the paraphraser over.

    Args:
        tap: of the teacher, its last maps.
        rate: the factors' channels as a share of the teacher's (code: 0.5; the paper compares 0.5, 0.75 and others).
        distance: ``"l1"`` is its code's, ``"l2"`` the paper's.

    Reference: Kim, Park, Kwak, "Paraphrasing complex network: network compression via factor transfer", NeurIPS 2018.
    """

    tap: str
    rate: float = RATE
    distance: Literal["l1", "l2"] = "l1"
    trains_student: ClassVar[bool] = False

    def __post_init__(self) -> None:
        Tap.parse(self.tap)
        _check_rate(self.rate)

    @property
    def reads(self) -> Reads:
        return Reads(teacher_taps=(Tap.parse(self.tap),))

    def build(self, shapes: Shapes) -> nn.Module:
        return Autoencoder(shapes.teacher[self.tap], self.rate)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, Autoencoder)
        features = reading.teacher[self.tap]
        return losses.paraphraser_reconstruction(owned(features), features, distance=self.distance)


@dataclass(frozen=True)
class FactorTransfer(Term):
    """The student's maps, translated, are the teacher's, paraphrased: distance of normalised factors.

    ``mean | F_t / |F_t|_2 - F_s / |F_s|_2 |``; see ``losses.factor_transfer``. The code's weight is 500.

    Args:
        pair: ``"teacher.tap -> student.tap"``, the last maps of both.
        rate: as that of the ``Paraphraser``.
        distance: ``"l1"`` as in the code, or ``"l2"``.

    The translator learns with the student. The paraphraser is frozen, as the stage before handed it over; without such
    a stage it is a random projection.

    Reference: Kim, Park, Kwak, "Paraphrasing complex network: network compression via factor transfer", NeurIPS 2018.
    Differences: a student's map of another size is resized to the teacher's grid first (the paper's are equal).
    """

    pair: str
    rate: float = RATE
    distance: Literal["l1", "l2"] = "l1"

    def __post_init__(self) -> None:
        Pair.parse(self.pair)
        _check_rate(self.rate)

    @property
    def reads(self) -> Reads:
        return Reads.pairs((Pair.parse(self.pair),))

    def build(self, shapes: Shapes) -> nn.Module:
        pair = Pair.parse(self.pair)
        return Factors(shapes.student[pair.student], shapes.teacher[pair.teacher], self.rate)

    def loss(self, reading: Reading, owned: nn.Module | None) -> Tensor:
        assert isinstance(owned, Factors)
        pair = Pair.parse(self.pair)
        own, other = owned(reading.student[pair.student], reading.teacher[pair.teacher])
        return losses.factor_transfer(own, other, distance=self.distance)


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
    """The translator beside the teacher's encoder, whose names are those of the stage before."""

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


def _check_rate(rate: float) -> None:
    if rate <= 0:
        raise UserError(f"factor transfer: rate, the factors' share of the channels, is above 0, not {rate}")
