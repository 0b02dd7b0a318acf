"""VGG for small images (Simonyan and Zisserman, 2015), as the CIFAR-100 benchmark of CRD (Tian et al., 2020) has it.

Batch norm after every convolution, no fully connected layers but the classifier. Weights of that benchmark load by
their names (``block0.0``, ..., ``classifier``).
"""

import math

from torch import Tensor, nn

from understudy.bounds import Layers, Width
from understudy.errors import UserError
from understudy.models.family import Family

# The widths of the convolutions, block by block; the blocks are joined by 2x2 poolings.
_LAYERS = {
    8: ((64,), (128,), (256,), (512,), (512,)),
    11: ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    13: ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
    16: ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    19: ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}
_LARGE = 64  # images of this height or more are pooled once more


class VGG(nn.Module):
    """``block0`` to ``block4``, a pooling after each (the fourth for images of 64 pixels or more), ``classifier``."""

    def __init__(self, blocks: tuple[tuple[int, ...], ...], classes: int, inputs: int):
        super().__init__()
        channels = inputs
        for number, widths in enumerate(blocks):
            self.add_module(f"block{number}", _block(channels, widths))
            channels = widths[-1]
        for number in range(len(blocks) - 1):
            self.add_module(f"pool{number}", nn.MaxPool2d(2))
        self.classifier = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                spread = math.sqrt(2 / (9 * module.out_channels))
                nn.init.normal_(module.weight, 0, spread)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier.weight, 0, 0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        large = x.shape[2] >= _LARGE
        for number in range(4):
            x = self.get_submodule(f"block{number}")(x)
            if number < 3 or large:
                x = self.get_submodule(f"pool{number}")(x)
        x = self.get_submodule("block4")(x)
        logits: Tensor = self.classifier(x.mean((2, 3)))
        return logits


def _block(inputs: int, widths: tuple[int, ...]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for width in widths:
        parts += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*parts)


def vgg(layers: Layers, *, classes: Width = 10, channels: Width = 3) -> nn.Module:
    """A VGG for images of 32 pixels or more.

    Args:
        layers: 8, 11, 13, 16 or 19 layers with weights.
        classes: how many logits.
        channels: channels of the images.

    >>> vgg(8)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    if layers not in _LAYERS:
        raise UserError(f"no vgg{layers}: there are " + ", ".join(f"vgg{known}" for known in _LAYERS))
    return VGG(_LAYERS[layers], classes, channels)


_OF_IMAGENET = (11, 16, 19)

VGGS = Family(
    "vgg<layers>",
    "VGG of CRD's CIFAR-100 benchmark, with batch norm: vgg8, vgg13",
    vgg,
    ("13", "8"),
    refused={
        f"vgg{layers}": f"for ImageNet's network write torchvision:vgg{layers}_bn or timm:vgg{layers}_bn, "
        f"for the CIFAR network of this depth cifar-vgg{layers}"
        for layers in _OF_IMAGENET
    },
)
CIFAR_VGG = Family(
    "cifar-vgg<layers>", "the same, under a name that is never ImageNet's", vgg, ("19", "16", "13", "11", "8")
)
