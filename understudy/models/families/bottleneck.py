"""Networks of bottleneck blocks for small images: ImageNet's ResNet-50 behind a 3x3 convolution, and ResNeXt-29.

The ResNet is the teacher "ResNet50" of CRD's CIFAR-100 benchmark (Tian et al., 2020); its weights load by their names.
ResNeXt (Xie et al., 2017) has three stages of blocks with grouped convolutions.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from understudy.bounds import Layers, Width
from understudy.errors import UserError
from understudy.models.family import Family

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (in groups) and 1x1 convolutions, around which the input is added; ReLU after the sum."""

    def __init__(self, inputs: int, middle: int, outputs: int, stride: int, groups: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, middle, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(middle, middle, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(middle, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))
        out: Tensor = self.relu3(self.bn3(self.conv3(y)) + self.shortcut(x))
        return out


class BottleneckNet(nn.Module):
    """``conv1``, ``bn1``, stages ``layer1``, ``layer2``, ..., average over the map, ``linear``."""

    def __init__(
        self,
        blocks: Sequence[int],
        middles: Sequence[int],
        outputs: Sequence[int],
        groups: int,
        classes: int,
        inputs: int,
    ):
        super().__init__()
        channels = 64
        self.conv1 = nn.Conv2d(inputs, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.stages = [f"layer{number}" for number in range(1, len(blocks) + 1)]
        for number, (count, middle, width) in enumerate(zip(blocks, middles, outputs, strict=True)):
            stage = nn.Sequential()
            for block in range(count):
                stage.append(Bottleneck(channels, middle, width, 2 if number and not block else 1, groups))
                channels = width
            self.add_module(self.stages[number], stage)
        self.linear = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def bottleneck(depth: Layers, *, classes: Width = 10, channels: Width = 3, width: Width = 64) -> nn.Module:
    """ImageNet's ResNet of bottlenecks behind a 3x3 convolution of stride 1, for images of 32 pixels.

    Args:
        depth: 50, 101 or 152.
        classes: how many logits.
        channels: channels of the images.
        width: of the first stage's bottlenecks.

    >>> bottleneck(50, width=4)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    if depth not in _BLOCKS:
        raise UserError(f"no bottleneck{depth}: there are " + ", ".join(f"bottleneck{known}" for known in _BLOCKS))
    middles = [width * 2**stage for stage in range(4)]
    return BottleneckNet(_BLOCKS[depth], middles, [_EXPANSION * m for m in middles], 1, classes, channels)


def resnext(
    depth: Layers, *, classes: Width = 10, channels: Width = 3, groups: Width = 8, width: Width = 64
) -> nn.Module:
    """A ResNeXt for images of 32 pixels: three stages of as many blocks.

    Args:
        depth: 29 in the paper, 9n + 2.
        classes: how many logits.
        channels: channels of the images.
        groups: of the 3x3 convolutions (cardinality): 8 or 16 in the paper.
        width: of each group in the first stage, 64 in the paper.

    >>> resnext(11, groups=2, width=4)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    blocks = max(1, round((depth - 2) / 9))
    if depth != 9 * blocks + 2:
        raise UserError(f"no resnext{depth}: the depth is 9n+2; try resnext{9 * blocks + 2}")
    if groups < 1 or width < 1:
        raise UserError(f"resnext{depth}: groups and width are numbers above 0, not {groups} and {width}")
    middles = [groups * width * 2**stage for stage in range(3)]
    return BottleneckNet([blocks] * 3, middles, [256, 512, 1024], groups, classes, channels)


BOTTLENECK = Family(
    "bottleneck<depth>",
    "ImageNet's ResNet-50, 101 or 152 behind a 3x3 convolution, for small images: the CIFAR-100 benchmark's ResNet50",
    bottleneck,
    ("152", "101", "50"),
)
RESNEXT = Family("resnext<depth>", "ResNeXt of small images: resnext29, 8 groups of 64", resnext)
