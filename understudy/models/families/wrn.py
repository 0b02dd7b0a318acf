"""Wide residual networks (Zagoruyko and Komodakis, 2016) for small images, as CAN (Xu et al., 2018) uses them.

Weights of CRD's CIFAR-100 benchmark (RepDistiller, mdistiller) load, whose names are ``block1.layer.0`` and ``fc``.
"""

from typing import ClassVar

from torch import Tensor, nn

from understudy.bounds import Layers, ShareBelowOne, Width
from understudy.errors import UserError
from understudy.models.family import Family


class WideBlock(nn.Module):
    """Batch norm and ReLU come before each of the two convolutions, dropout between them."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if stride > 1 or inputs != outputs else None
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu1(self.bn1(x))
        y: Tensor = self.relu2(self.bn2(self.conv1(activated)))
        if self.dropout is not None:
            y = self.dropout(y)
        # A shortcut with weights reads the activated input, a plain one the input itself.
        shortcut: Tensor = x if self.shortcut is None else self.shortcut(activated)
        y = self.conv2(y)
        return shortcut + y


class WideResNet(nn.Module):
    """``conv1``, groups ``block1`` to ``block3``, ``bn1``, ``relu``, average over the map, ``linear``."""

    names_elsewhere: ClassVar[dict[str, str]] = {
        r"^fc\.": "linear.",
        r"^(block\d)\.layer\.": r"\1.",
        r"\.convShortcut\.": ".shortcut.",
    }

    def __init__(self, blocks: int, width: int, classes: int, inputs: int, dropout: float):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 16, 3, padding=1, bias=False)
        self.block1 = _group(16, 16 * width, 1, blocks, dropout)
        self.block2 = _group(16 * width, 32 * width, 2, blocks, dropout)
        self.block3 = _group(32 * width, 64 * width, 2, blocks, dropout)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU()
        self.linear = nn.Linear(64 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        logits: Tensor = self.linear(self.relu(self.bn1(x)).mean((2, 3)))
        return logits


def _group(inputs: int, outputs: int, stride: int, blocks: int, dropout: float) -> nn.Sequential:
    first = WideBlock(inputs, outputs, stride, dropout)
    return nn.Sequential(first, *(WideBlock(outputs, outputs, 1, dropout) for _ in range(blocks - 1)))


def wrn(
    depth: Layers, width: Width, *, classes: Width = 10, channels: Width = 3, dropout: ShareBelowOne = 0.0
) -> nn.Module:
    """WRN-depth-width, of any image size.

    Args:
        depth: 10, 16, 22, 28, 34, 40: six convolutions for each block of a group, and 4.
        width: how many times wider than a CIFAR ResNet.
        classes: how many logits.
        channels: channels of the images.
        dropout: the chance to drop a value inside a block; CAN trains all its networks with .3.

    >>> wrn(10, 1)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    blocks = max(1, round((depth - 4) / 6))
    if depth != 6 * blocks + 4:
        raise UserError(f"no wrn-{depth}-{width}: the depth is 6n+4; try wrn-{6 * blocks + 4}-{width}")
    if width < 1:
        raise UserError(f"no wrn-{depth}-{width}: the width is a number above 0")
    if not 0 <= dropout < 1:
        raise UserError(f"wrn-{depth}-{width}: dropout is a chance from 0 to below 1, not {dropout}")
    return WideResNet(blocks, width, classes, channels, dropout)


_SIZES = ("40-4", "28-4", "16-4", "40-2", "28-2", "16-2", "40-1", "28-1", "16-1")
_ALL = sorted(((depth, width) for depth in range(10, 41, 6) for width in range(1, 11)), key=lambda s: -s[0] * s[1] ** 2)

WRN = Family(
    "wrn-<depth>-<width>",
    "wide ResNet of depth 6n+4: wrn-16-2, wrn-40-10, ...",
    wrn,
    _SIZES,
    more=tuple(size for depth, width in _ALL if (size := f"{depth}-{width}") not in _SIZES),
)
