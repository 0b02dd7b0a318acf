"""The plain convolutional networks of teacher assistants (TAKD, Mirzadeh et al., 2020; odd sizes: DGKD, Son et al.).

A network's size is its number of convolutions. The lists follow the authors' code, which has one for CIFAR-10 and
one for CIFAR-100; the odd sizes exist for CIFAR-100 only and serve both here (DGKD's copies for CIFAR-10 end in 100
classes by mistake).
"""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn

from understudy.bounds import Layers, Pixels, Width
from understudy.errors import UserError
from understudy.models.family import Family, too_small

# A number is a convolution of so many channels, P a 2x2 pooling, F a hidden fully connected layer.
_CIFAR10 = {
    2: "16 P 16 P",
    4: "16 16 P 32 32 P",
    6: "16 16 P 32 32 P 64 64 P",
    8: "16 16 P 32 32 P 64 64 P 128 128 P F64",
    10: "32 32 P 64 64 P 128 128 P 256 256 256 256 P F128",
}
_CIFAR100 = {
    2: "32 P 32 P",
    3: "32 32 P 64 P",
    4: "32 32 P 64 64 P",
    5: "32 32 P 64 64 P 128",
    6: "32 32 P 64 64 P 128 128",
    7: "32 32 P 64 64 P 128 128 P 256 P F64",
    8: "32 32 P 64 64 P 128 128 P 256 256 P F64",
    9: "32 32 P 64 64 P 128 128 P 256 256 256 P F512",
    10: "32 32 P 64 64 P 128 128 P 256 256 256 256 P F512",
}


class PlainNet(nn.Module):
    """Convolutions ``conv1``, ``conv2``, ..., each with its norm, ReLU and pooling; ``fc`` (if any); ``out``."""

    def __init__(self, layers: str, classes: int, inputs: int, size: int):
        super().__init__()
        features, side, number = inputs, size, 0
        for word, following in zip(layers.split(), [*layers.split()[1:], ""], strict=True):
            if word.isdigit():
                number += 1
                pooled = following == "P"
                self.add_module(f"conv{number}", _conv(features, int(word), pooled))
                features, side = int(word), side // 2 if pooled else side
            elif word.startswith("F"):
                units = int(word[1:])
                linear = nn.Linear(features * side * side, units)
                self.fc = nn.Sequential(OrderedDict(linear=linear, relu=nn.ReLU()))
                features, side = units, 1
            if side < 1:
                raise too_small(size, f"conv{number}")
        self.out = nn.Linear(features * side * side, classes)

    def forward(self, x: Tensor) -> Tensor:
        for name, layer in self.named_children():
            x = layer(x if name.startswith("conv") else x.flatten(1))
        return x


def _conv(inputs: int, outputs: int, pooled: bool) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = nn.Conv2d(inputs, outputs, 3, padding=1)
    parts["norm"] = nn.BatchNorm2d(outputs)
    parts["relu"] = nn.ReLU()
    if pooled:
        parts["pool"] = nn.MaxPool2d(2)
    return nn.Sequential(parts)


def plain(
    layers: Layers,
    *,
    classes: Width = 10,
    channels: Width = 3,
    size: Pixels = 32,
    like: Literal["cifar10", "cifar100"] | None = None,
) -> nn.Module:
    """A plain network with 2 to 10 convolutions.

    Args:
        layers: how many convolutions.
        classes: how many logits.
        channels: channels of the images.
        size: side of the (square) images.
        like: the data set of the layer list; by default CIFAR-100 for more than 10 classes, and for its other sizes.

    >>> plain(2, channels=1, size=28)(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    if like is None:
        like = "cifar10" if classes <= 10 and layers in _CIFAR10 else "cifar100"
    lists = _CIFAR10 if like == "cifar10" else _CIFAR100
    if layers not in lists:
        raise UserError(f"no plain{layers} like {like}: there are " + ", ".join(f"plain{known}" for known in lists))
    return PlainNet(lists[layers], classes, channels, size)


PLAIN = Family(
    "plain<layers>",
    "TAKD's plain network of 2 to 10 convolutions",
    plain,
    ("10", "8", "6", "4", "2"),
    more=("9", "7", "5", "3"),
)
