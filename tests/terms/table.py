"""One row for every term. A new term adds its row to a ``rows_*.py`` here, and every check is then its own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.terms import Term

CLASSES = 4


class Net(nn.Module):
    """Two maps (``maps1``: width x 8 x 8, ``maps2``: 2 width x side x side), dropout, logits (``fc``)."""

    def __init__(self, width: int, stride: int = 2):
        super().__init__()
        self.maps1 = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.maps2 = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU()
        )
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(2 * width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        features = self.maps2(self.maps1(x))
        return self.fc(self.dropout(features.mean((2, 3))))


class Tokens(nn.Module):
    """A transformer on the rows of an image as tokens: layers of the own text family, logits (``fc``)."""

    def __init__(self, width: int, depth: int):
        super().__init__()
        self.embedding = nn.Linear(8, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, width, 0.2, batch_first=True, norm_first=True) for _ in range(depth)
        )
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embedding(x.flatten(1, 2))
        for layer in self.layers:
            tokens = layer(tokens)
        return self.fc(tokens.mean(1))


@dataclass(frozen=True)
class Row:
    """A term and how it is to be seen.

    Args:
        term: on networks such as ``Net``.
        equal: its value where the student is a copy of its teacher; None where that says nothing.
        other_shapes: whether it stands other channel counts and map sizes on the student's side.
        learns: whether what it owns must get a gradient or move.
        attention: whether it reads a transformer such as ``Tokens``.
    """

    term: Term
    equal: float | None = None
    other_shapes: bool = True
    learns: bool = True
    attention: bool = False

    @property
    def name(self) -> str:
        return str(self.term)


def networks(*, alike: bool, attention: bool = False) -> tuple[nn.Module, nn.Module]:
    """Teacher and student."""
    torch.manual_seed(0)
    if attention:
        return Tokens(8, 2).eval(), Tokens(8, 2) if alike else Tokens(4, 1)
    teacher = Net(6).eval()
    return teacher, Net(6) if alike else Net(3, stride=4)
