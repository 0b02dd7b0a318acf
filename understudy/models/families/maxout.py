"""Maxout networks (Goodfellow et al., 2013): each unit is the maximum of a few linear pieces.

The network of every FitNet and of its teachers is one ``MaxoutNet``; the layer lists are in ``fitnets.py``.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.errors import UserError
from understudy.models.family import too_small
from understudy.taps.modules import Maxout

Init = Literal["modern", "paper"]

# E[max of k independent standard normals]^2: the factor of maxout on the mean square of its pieces.
_SECOND_MOMENT = {1: 1.0, 2: 1.0, 3: 1.2757, 4: 1.5513, 5: 1.8000}


@dataclass(frozen=True)
class Conv:
    """One convolution of a layer list: its output channels, and the pooling after it.

    >>> Conv(16, pool=(4, 2)).kernel
    3
    """

    channels: int
    kernel: int = 3
    padding: int = 1
    pool: tuple[int, int] | None = None  # size and stride
    pieces: int = 2

    def side(self, side: int) -> int:
        """The map's side after this layer. Pooling rounds up, as pylearn2's does."""
        side = side + 2 * self.padding - self.kernel + 1
        if side < 1:
            return 0
        if self.pool is None:
            return side
        size, stride = self.pool
        pooled = -(-(side - size) // stride) + 1
        # A last window that would begin outside of the map is left out.
        return max(1, pooled - 1 if (pooled - 1) * stride >= side else pooled)


class MaxoutConv(nn.Sequential):
    """Convolution, batch normalisation if wanted, maxout over the pieces, then max-pooling with sizes rounded up."""

    def __init__(self, inputs: int, layer: Conv, *, norm: bool = False):
        outputs = layer.channels * layer.pieces
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["conv"] = nn.Conv2d(inputs, outputs, layer.kernel, padding=layer.padding, bias=not norm)
        if norm:
            parts["norm"] = nn.BatchNorm2d(outputs)
        parts["maxout"] = Maxout(layer.pieces)
        if layer.pool:
            parts["pool"] = nn.MaxPool2d(*layer.pool, ceil_mode=True)
        super().__init__(parts)


class MaxoutNet(nn.Module):
    """Maxout convolutions ``conv1``, ``conv2``, ..., a maxout layer ``fc`` (if any), and the logits ``out``.

    A layer is one module with its maxout and its pooling, so that the paper's "hint 11 <- 2" is the pair
    ``"conv2 -> conv11"``, both read after their pooling, as in the paper.

    Args:
        convs: the layer list.
        classes: how many logits.
        inputs: channels of the images.
        size: side of the (square) images.
        fc: units of the fully connected maxout layer; None for a network without one.
        fc_pieces: its pieces.
        norm: a batch normalisation before every convolution's maxout (in place of the bias), for modern training.
        dropout: the chance to drop an input of the first layer, and an input of any other layer.
        init: ``"paper"`` draws all weights from U(-.005, .005); ``"modern"`` keeps the size of the activations from
            layer to layer without a norm. Biases begin at 0.

    >>> network = MaxoutNet([Conv(4), Conv(8, pool=(2, 2))], classes=10, inputs=1, size=8)
    >>> network(torch.rand(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        convs: Sequence[Conv],
        classes: int,
        inputs: int,
        size: int,
        *,
        fc: int | None = None,
        fc_pieces: int = 5,
        norm: bool = False,
        dropout: tuple[float, float] = (0.0, 0.0),
        init: Init = "modern",
    ):
        super().__init__()
        self.dropout = _probabilities(dropout)
        if min(fc_pieces, *(layer.pieces for layer in convs)) < 1:
            raise UserError("maxout needs 1 piece or more (2 is usual)")
        channels, side = inputs, size
        for number, layer in enumerate(convs, 1):
            self.add_module(f"conv{number}", MaxoutConv(channels, layer, norm=norm))
            channels, side = layer.channels, layer.side(side)
            if side < 1:
                raise too_small(size, f"conv{number}")
        features = channels * side * side
        if fc is not None:
            linear = nn.Linear(features, fc * fc_pieces)
            self.fc = nn.Sequential(OrderedDict(linear=linear, maxout=Maxout(fc_pieces)))
            features = fc
        self.out = nn.Linear(features, classes)
        initialise(self, init)

    def forward(self, x: Tensor) -> Tensor:
        drop, drop_hidden = self.dropout
        for layer in self.children():
            if not isinstance(layer, MaxoutConv):
                x = x.flatten(1)
            x = layer(F.dropout(x, drop, self.training) if drop else x)
            drop = drop_hidden
        return x


def _probabilities(dropout: tuple[float, float]) -> tuple[float, float]:
    if len(dropout) != 2 or not all(0 <= chance < 1 for chance in dropout):
        raise UserError(
            f"dropout takes two chances from 0 to below 1, for the input and for hidden layers, not {dropout}"
        )
    return dropout[0], dropout[1]


@torch.no_grad()
def initialise(network: nn.Module, init: Init) -> None:
    """Draws the weights of all convolutions and linear layers anew, each fitted to the maxout that follows it."""
    pieces = 1
    for module in reversed(list(network.modules())):  # so that a maxout comes before the layer that feeds it
        if isinstance(module, Maxout):
            pieces = module.pieces
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            if init == "paper":
                nn.init.uniform_(module.weight, -0.005, 0.005)
            else:
                # The mean square of max(pieces) over that of the inputs is 1: Kaiming's rule, for maxout.
                nn.init.normal_(module.weight, std=(_second_moment(pieces) * module.weight[0].numel()) ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            pieces = 1


def _second_moment(pieces: int) -> float:
    return _SECOND_MOMENT[min(pieces, max(_SECOND_MOMENT))]
