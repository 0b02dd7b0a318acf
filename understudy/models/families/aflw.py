"""The face-or-not networks of FitNets' AFLW experiment (A.4): ReLU convolutions without maxout, on 16x16 patches.

The paper leaves out the padding and the input channels: convolutions are valid here, and inputs have 3 channels by
default. Its sigmoid output is a single logit (``classes=1``, the default).
"""

from collections import OrderedDict

from torch import Tensor, nn

from understudy.bounds import Count, Pixels, Width
from understudy.errors import UserError
from understudy.models.family import Family, too_small

_STUDENTS = {1: (16, 32, 32, 32, 32, 32, 32), 2: (32, 64, 64, 64, 64, 64, 64)}


class ReLUNet(nn.Module):
    """Valid convolutions ``conv1``, ``conv2``, ..., each with its ReLU and pooling, and the logits ``out``."""

    def __init__(self, convs: list[tuple[int, int, bool]], classes: int, inputs: int, size: int):
        super().__init__()
        channels, side = inputs, size
        for number, (outputs, kernel, pooled) in enumerate(convs, 1):
            parts: OrderedDict[str, nn.Module] = OrderedDict(conv=nn.Conv2d(channels, outputs, kernel), relu=nn.ReLU())
            channels, side = outputs, side - kernel + 1
            if pooled:
                parts["pool"] = nn.MaxPool2d(2)
                side //= 2
            if side < 1:
                raise too_small(size, f"conv{number}")
            self.add_module(f"conv{number}", nn.Sequential(parts))
        self.out = nn.Linear(channels * side * side, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x.flatten(1) if layer is self.out else x)
        return x


def aflw_teacher(*, classes: Width = 1, channels: Width = 3, size: Pixels = 16) -> nn.Module:
    """The AFLW teacher; its third convolution is the hint.

    >>> aflw_teacher()(torch.rand(2, 3, 16, 16)).shape
    torch.Size([2, 1])
    """
    return ReLUNet([(128, 3, True), (512, 2, False), (512, 5, False)], classes, channels, size)


def aflw_fitnet(which: Count, *, classes: Width = 1, channels: Width = 3, size: Pixels = 16) -> nn.Module:
    """AFLW's FitNet 1 or 2: 7 convolutions of 3x3 without pooling; the fifth is guided.

    >>> aflw_fitnet(1)(torch.rand(2, 3, 16, 16)).shape
    torch.Size([2, 1])
    """
    if which not in _STUDENTS:
        raise UserError(f"there are FitNets 1 and 2 for AFLW, but no aflw-fitnet{which}")
    return ReLUNet([(outputs, 3, False) for outputs in _STUDENTS[which]], classes, channels, size)


FAMILIES = (
    Family("aflw-teacher", "FitNets' teacher for faces in 16x16 patches (one logit)", aflw_teacher),
    Family("aflw-fitnet<which>", "its students 1 and 2", aflw_fitnet),
)
