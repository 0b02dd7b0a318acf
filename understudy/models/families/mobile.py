"""Small networks of CRD's CIFAR-100 benchmark (Tian et al., 2020): MobileNetV2, ShuffleNetV1 and ShuffleNetV2.

Their layers are those of the benchmark's code, which differ from the ImageNet networks in strides and first layers.
Weights of that benchmark load by their names.
"""

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from understudy.bounds import Interval, Width
from understudy.errors import UserError
from understudy.models.family import Family

# Channels, blocks and stride of each stage of a MobileNetV2.
_STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
_WIDTHS = {  # of the stages and of the last convolution of a ShuffleNetV2, by its size
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (224, 488, 976, 2048),
}

Scale = Annotated[float, Interval(gt=0, le=100)]  # of the channels of all layers


class InvertedResidual(nn.Module):
    """1x1, depthwise 3x3 and linear 1x1 convolutions, around which the input is added where it fits."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        middle = inputs * expansion
        self.adds = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            *_conv(inputs, middle, 1),
            *_conv(middle, middle, 3, stride, groups=middle),
            *_conv(middle, outputs, 1)[:2],
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """``conv1``, stages ``blocks.0`` to ``blocks.6``, ``conv2``, average over the map, ``classifier``."""

    def __init__(self, width: float, expansion: int, classes: int, inputs: int):
        super().__init__()
        channels = int(32 * width)
        self.conv1 = nn.Sequential(*_conv(inputs, channels, 3, 2))
        self.blocks = nn.ModuleList()
        for number, (outputs, blocks, stride) in enumerate(_STAGES):
            stage = nn.Sequential()
            for block in range(blocks):
                factor = 1 if number == 0 else expansion
                stage.append(InvertedResidual(channels, int(outputs * width), stride if block == 0 else 1, factor))
                channels = int(outputs * width)
            self.blocks.append(stage)
        last = max(1280, int(1280 * width))
        self.conv2 = nn.Sequential(*_conv(channels, last, 1))
        self.classifier = nn.Sequential(nn.Linear(last, classes))
        _initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for stage in self.blocks:
            x = stage(x)
        logits: Tensor = self.classifier(self.conv2(x).mean((2, 3)))
        return logits


class Shuffle(nn.Module):
    """Channels of all groups are dealt out to all groups."""

    def __init__(self, groups: int):
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        grouped = x.view(batch, self.groups, channels // self.groups, height, width)
        return grouped.transpose(1, 2).reshape(batch, channels, height, width)


class ShuffleV1Block(nn.Module):
    """Grouped 1x1, depthwise 3x3 and grouped 1x1 convolutions; a block with stride 2 keeps its pooled input beside."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int):
        super().__init__()
        middle = outputs // 4
        first = 1 if inputs == 24 else groups
        self.conv1 = nn.Conv2d(inputs, middle, 1, groups=first, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu1 = nn.ReLU()
        self.shuffle1 = Shuffle(first)
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, groups=middle, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(middle, outputs, 1, groups=groups, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.AvgPool2d(3, 2, padding=1) if stride == 2 else None
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.shuffle1(self.relu1(self.bn1(self.conv1(x))))
        y = self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(y)))))
        out: Tensor = self.relu3(y + x if self.shortcut is None else torch.cat([y, self.shortcut(x)], 1))
        return out


class ShuffleNetV1(nn.Module):
    """``conv1``, ``bn1``, stages ``layer1`` to ``layer3``, average over the map, ``linear``."""

    def __init__(self, classes: int, inputs: int, groups: int = 3):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 24, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.relu = nn.ReLU()
        channels = 24
        for number, (outputs, blocks) in enumerate(((240, 4), (480, 8), (960, 4)), start=1):
            first = ShuffleV1Block(channels, outputs - channels, 2, groups)
            others = (ShuffleV1Block(outputs, outputs, 1, groups) for _ in range(blocks - 1))
            self.add_module(f"layer{number}", nn.Sequential(first, *others))
            channels = outputs
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for number in (1, 2, 3):
            x = self.get_submodule(f"layer{number}")(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


class ShuffleV2Block(nn.Module):
    """Half of the channels pass three convolutions, the other half stays."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(half, half, 3, padding=1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu3 = nn.ReLU()
        self.shuffle = Shuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        stays, y = x.chunk(2, 1)
        y = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(y)))))
        out: Tensor = self.shuffle(torch.cat([stays, self.relu3(self.bn3(self.conv3(y)))], 1))
        return out


class ShuffleV2Down(nn.Module):
    """Both ways lead through convolutions to half of the size."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        half = outputs // 2
        self.conv1 = nn.Conv2d(inputs, inputs, 3, 2, padding=1, groups=inputs, bias=False)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = nn.Conv2d(inputs, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(inputs, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(half, half, 3, 2, padding=1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)
        self.relu5 = nn.ReLU()
        self.shuffle = Shuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        left = self.relu2(self.bn2(self.conv2(self.bn1(self.conv1(x)))))
        right = self.bn4(self.conv4(self.relu3(self.bn3(self.conv3(x)))))
        right = self.relu5(self.bn5(self.conv5(right)))
        out: Tensor = self.shuffle(torch.cat([left, right], 1))
        return out


class ShuffleNetV2(nn.Module):
    """``conv1``, ``bn1``, stages ``layer1`` to ``layer3``, ``conv2``, ``bn2``, average over the map, ``linear``."""

    def __init__(self, widths: tuple[int, int, int, int], classes: int, inputs: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 24, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.relu1 = nn.ReLU()
        channels = 24
        for number, (width, blocks) in enumerate(zip(widths[:3], (3, 7, 3), strict=True), start=1):
            down = ShuffleV2Down(channels, width)
            self.add_module(f"layer{number}", nn.Sequential(down, *(ShuffleV2Block(width) for _ in range(blocks))))
            channels = width
        self.conv2 = nn.Conv2d(channels, widths[3], 1, bias=False)
        self.bn2 = nn.BatchNorm2d(widths[3])
        self.relu2 = nn.ReLU()
        self.linear = nn.Linear(widths[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.bn1(self.conv1(x)))
        for number in (1, 2, 3):
            x = self.get_submodule(f"layer{number}")(x)
        logits: Tensor = self.linear(self.relu2(self.bn2(self.conv2(x))).mean((2, 3)))
        return logits


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _initialise(network: nn.Module) -> None:
    """Normal weights, by the outputs of each convolution."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            outputs = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0, math.sqrt(2 / outputs))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.01)
            nn.init.zeros_(module.bias)


def mobilenetv2(*, classes: Width = 10, channels: Width = 3, width: Scale = 0.5, expansion: Width = 6) -> nn.Module:
    """A MobileNetV2 for images of 32 pixels.

    Args:
        classes: how many logits.
        channels: channels of the images.
        width: by which all widths are multiplied; the benchmark's is 0.5.
        expansion: of the channels inside a block.

    >>> mobilenetv2(width=0.25)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    if int(16 * width) < 1 or expansion < 1:
        raise UserError(f"mobilenetv2: width is 1/16 at least and expansion 1, not {width} and {expansion}")
    return MobileNetV2(width, expansion, classes, channels)


def shufflenetv1(*, classes: Width = 10, channels: Width = 3) -> nn.Module:
    """A ShuffleNetV1 of 3 groups for images of 32 pixels.

    >>> shufflenetv1()(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    return ShuffleNetV1(classes, channels)


def shufflenetv2(*, classes: Width = 10, channels: Width = 3, width: Scale = 1.0) -> nn.Module:
    """A ShuffleNetV2 for images of 32 pixels.

    Args:
        classes: how many logits.
        channels: channels of the images.
        width: 0.5, 1 (the benchmark's), 1.5 or 2.

    >>> shufflenetv2(width=0.5)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    if width not in _WIDTHS:
        raise UserError(f"no shufflenetv2 of width {width}: there are " + ", ".join(map(str, _WIDTHS)))
    return ShuffleNetV2(_WIDTHS[width], classes, channels)


MOBILENETV2 = Family("mobilenetv2", "MobileNetV2 of CRD's CIFAR-100 benchmark, half as wide as the paper", mobilenetv2)
SHUFFLENETV1 = Family("shufflenetv1", "ShuffleNetV1 of that benchmark, 3 groups", shufflenetv1)
SHUFFLENETV2 = Family("shufflenetv2", "ShuffleNetV2 of that benchmark, size 1", shufflenetv2)
