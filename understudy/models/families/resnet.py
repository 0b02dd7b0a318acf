"""CIFAR ResNets (He et al., 2016): depth 6n+2, three stages of n basic blocks.

Modules are named as in the widespread PyTorch ports (``conv1``, ``bn1``, ``layer1.0.conv1``, ..., ``linear``), so that
weights trained with them fit: those of akamaster's ``pytorch_resnet_cifar10`` load with ``shortcut="A"``, those of
RepDistiller, mdistiller and chenyaofo's ``pytorch-cifar-models`` with the default, ``"B"``. Each ReLU is a module of
its own, so that a value before it can be tapped: ``layer1.2.relu2:input``.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from understudy.bounds import Layers, Stride, Width
from understudy.errors import UserError
from understudy.models.family import Family

Shortcut = Literal["A", "B"]


class ZeroPadded(nn.Module):
    """Option A: every ``stride``-th pixel, and zeros for the channels that are new; no parameters."""

    def __init__(self, new_channels: int, stride: int):
        super().__init__()
        self.stride = stride
        self.before = new_channels // 2
        self.after = new_channels - self.before

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the input is added; ReLU after the sum."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride, shortcut)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


def _shortcut(inputs: int, outputs: int, stride: int, option: Shortcut) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    if option == "B":
        return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    if outputs < inputs:
        raise UserError(f"shortcut A pads channels and cannot go from {inputs} to {outputs}: use shortcut B")
    return ZeroPadded(outputs - inputs, stride)


class ResNet(nn.Module):
    """``conv1``, ``bn1``, stages ``layer1``, ``layer2``, ..., average over the map, ``linear``."""

    names_elsewhere: ClassVar[dict[str, str]] = {r"^fc\.": "linear.", r"\.downsample\.": ".shortcut."}

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int],
        strides: Sequence[int],
        classes: int,
        inputs: int,
        shortcut: Shortcut,
        stem: tuple[int, int],
    ):
        super().__init__()
        channels, stem_stride = stem
        self.conv1 = nn.Conv2d(inputs, channels, 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.stages = [f"layer{number}" for number in range(1, len(widths) + 1)]
        for name, count, width, stride in zip(self.stages, blocks, widths, strides, strict=True):
            stage = nn.Sequential()
            for block in range(count):
                stage.append(BasicBlock(channels, width, stride if block == 0 else 1, shortcut))
                channels = width
            self.add_module(name, stage)
        self.linear = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for name in self.stages:
            x = getattr(self, name)(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def resnet(
    depth: Layers,
    *,
    classes: Width = 10,
    channels: Width = 3,
    widths: tuple[Width, ...] = (16, 32, 64),
    shortcut: Shortcut = "B",
    stem_stride: Stride = 1,
) -> nn.Module:
    """A CIFAR ResNet of any image size.

    Args:
        depth: 8, 14, 20, ..., 110: two convolutions a block, the same number of blocks in every stage, and 2.
        classes: how many logits.
        channels: channels of the images.
        widths: one width a stage.
        shortcut: where the shape changes, ``"A"`` subsamples and pads with zeros (the paper on CIFAR), ``"B"`` is a
            1x1 convolution with batch normalisation (TAKD, and most later code).
        stem_stride: stride of the first convolution; 2 makes a thin network four times cheaper.

    >>> resnet(8, widths=(4, 8, 16))(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    if not widths or min(widths) < 1 or stem_stride < 1:
        raise UserError(f"resnet{depth}: widths and stem_stride are numbers above 0, not {widths} and {stem_stride}")
    step = 2 * len(widths)
    blocks = max(1, round((depth - 2) / step))
    if depth != step * blocks + 2:
        raise UserError(f"no resnet{depth}: with {len(widths)} stages the depth is {step}n+2; try {step * blocks + 2}")
    strides = [1] + [2] * (len(widths) - 1)
    return ResNet([blocks] * len(widths), widths, strides, classes, channels, shortcut, (widths[0], stem_stride))


def resnet_of_blocks(
    *,
    blocks: tuple[Layers, ...] = (2, 2, 2),
    widths: tuple[Width, ...] = (16, 32, 64),
    strides: tuple[Stride, ...] = (1, 2, 2),
    classes: Width = 10,
    channels: Width = 3,
    shortcut: Shortcut = "B",
    stem: Width = 16,
    stem_stride: Stride = 1,
) -> nn.Module:
    """A ResNet with a given number of blocks in each stage.

    Args:
        blocks, widths, strides: one number for each stage; the stride is that of its first block.
        classes, channels, shortcut: as of ``resnet``.
        stem, stem_stride: width and stride of the first convolution.
    """
    if not len(blocks) == len(widths) == len(strides) or min(*blocks, *widths, *strides, stem, stem_stride, 1) < 1:
        raise UserError(
            f"resnet-blocks: blocks, widths and strides are one number above 0 for each stage, "
            f"not {list(blocks)}, {list(widths)} and {list(strides)}"
        )
    if sum(blocks) > MOST_BLOCKS:
        raise UserError(f"resnet-blocks: {sum(blocks):,} blocks in all are more than {MOST_BLOCKS:,}")
    return ResNet(blocks, widths, strides, classes, channels, shortcut, (stem, stem_stride))


def resnet_x4(depth: Layers, *, classes: Width = 10, channels: Width = 3, shortcut: Shortcut = "B") -> nn.Module:
    """A CIFAR ResNet whose stages are four times as wide: resnet32x4 and resnet8x4 of CRD's CIFAR-100 benchmark.

    Args:
        depth, classes, channels, shortcut: as of ``resnet``.

    >>> resnet_x4(8)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    blocks = max(1, round((depth - 2) / 6))
    if depth != 6 * blocks + 2:
        raise UserError(f"no resnet{depth}x4: the depth is 6n+2; try resnet{6 * blocks + 2}x4")
    return ResNet([blocks] * 3, [64, 128, 256], [1, 2, 2], classes, channels, shortcut, (32, 1))


MOST_BLOCKS = 10_000
_SIZES = ("110", "56", "44", "32", "26", "20", "14", "8")
_OF_IMAGENET = ("50", "152")  # depths of CIFAR's networks, too; most readers mean ImageNet's

RESNET = Family(
    "resnet<depth>",
    "CIFAR ResNet of depth 6n+2: resnet8, resnet20, resnet56, ...",
    resnet,
    _SIZES,
    more=tuple(str(depth) for depth in range(164, 7, -6) if str(depth) not in (*_SIZES, *_OF_IMAGENET)),
    widths=tuple({"widths": [width, 2 * width, 4 * width]} for width in (64, 48, 32, 24, 16, 12, 8, 4)),
    refused={
        f"resnet{depth}": f"for ImageNet's network write torchvision:resnet{depth} or timm:resnet{depth}, "
        f"for the CIFAR network of this depth cifar-resnet{depth}"
        for depth in _OF_IMAGENET
    },
)
CIFAR_RESNET = Family("cifar-resnet<depth>", "the same, under a name that is never ImageNet's", resnet)
FOUR_TIMES = Family(
    "resnet<depth>x4",
    "CIFAR ResNet four times as wide: resnet32x4, resnet8x4",
    resnet_x4,
    ("110", "56", "32", "20", "14", "8"),
)
BLOCKS = Family("resnet-blocks", "ResNet with blocks, widths and strides as you say, stage by stage", resnet_of_blocks)
