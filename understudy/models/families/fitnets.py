"""The maxout networks of FitNets (Romero et al., 2015): its teachers, FitNet 1 to 4, the depth experiment, MNIST.

Kernels and paddings that the paper leaves out are those of the authors' and of pylearn2's published configurations.
Where sources disagree, a setting offers both, and the paper's text is the default:

- ``fc_pieces``: 5 in the text and in the released code; every parameter count that the paper prints comes out
  exactly with 2.
- ``pieces`` of the last MNIST layers: 2 in the paper, 4 in the released code.
- The counts printed for FitNet 3 (1.6M parameters, 392M multiplications) do not follow from its layer list with
  either reading: 1.50M or 1.70M, and 324M.
"""

from typing import Literal

from torch import nn

from understudy.bounds import Count, Layers, Pieces, Pixels, ShareBelowOne, Width
from understudy.errors import UserError
from understudy.models.families.maxout import Conv, Init, MaxoutNet
from understudy.models.family import Family

_FC_UNITS = 500

# Channels of the 3x3 convolutions, block by block; the maps are 32, 16 and 8 wide.
_Blocks = tuple[tuple[int, ...], ...]
FITNETS: dict[int, _Blocks] = {
    1: ((16, 16, 16), (32, 32, 32), (48, 48, 64)),
    2: ((16, 32, 32), (48, 64, 80), (96, 96, 128)),
    3: ((32, 48, 64, 64), (80, 80, 80, 80), (128, 128, 128)),
    4: ((32, 32, 32, 48, 48), (80, 80, 80, 80, 80, 80), (128, 128, 128, 128, 128, 128)),
}
DEPTH_NETS: dict[tuple[str, int], _Blocks] = {
    ("30m", 5): ((64,), (64,), (64,)),
    ("30m", 7): ((16, 32), (32, 64), (64,)),
    ("30m", 9): ((16, 32), (32, 32, 32), (48, 64)),
    ("30m", 11): FITNETS[1],
    ("107m", 5): ((128,), (128,), (128,)),
    ("107m", 7): ((32, 64), (80, 80), (128,)),
    ("107m", 9): ((32, 32), (64, 80, 80), (96, 128)),
    ("107m", 11): FITNETS[2],
}

# The paper's hint and guided layers, by the student's name in the catalogue. The first pair is from the text beside
# the network; if the paper contradicts itself, the other pair follows.
PAIRS: dict[str, tuple[str, ...]] = {
    "fitnet1": ("conv2 -> conv6", "conv2 -> conv7"),  # table 7, table 6
    "fitnet2": ("conv2 -> conv6", "conv2 -> conv7"),
    "fitnet3": ("conv2 -> conv8",),
    "fitnet4": ("conv2 -> conv11",),
    "fitnet-mnist": ("conv2 -> conv4",),
    "fitnet-30m-5": ("conv2 -> conv2",),
    "fitnet-30m-7": ("conv2 -> conv4",),
    "fitnet-30m-9": ("conv2 -> conv5",),
    "fitnet-30m-11": ("conv2 -> conv7", "conv2 -> conv6"),
    "fitnet-107m-5": ("conv2 -> conv2",),
    "fitnet-107m-7": ("conv2 -> conv4",),
    "fitnet-107m-9": ("conv2 -> conv5",),
    "fitnet-107m-11": ("conv2 -> conv7", "conv2 -> conv6"),
    "aflw-fitnet1": ("conv3 -> conv5",),
    "aflw-fitnet2": ("conv3 -> conv5",),
}


def fitnet(
    which: Count,
    *,
    classes: Width = 10,
    channels: Width = 3,
    size: Pixels = 32,
    fc_pieces: Pieces = 5,
    norm: bool = False,
    dropout: tuple[ShareBelowOne, ShareBelowOne] = (0.0, 0.0),
    init: Init = "modern",
) -> nn.Module:
    """FitNet 1 to 4 (table 7): 11, 11, 13 and 19 layers for CIFAR-10, CIFAR-100 and SVHN.

    >>> fitnet(1, size=16)(torch.rand(2, 3, 16, 16)).shape
    torch.Size([2, 10])
    """
    if which not in FITNETS:
        raise UserError(f"there are FitNets 1 to 4 for CIFAR and SVHN, but no fitnet{which}")
    convs = _thin(FITNETS[which])
    return MaxoutNet(
        convs, classes, channels, size, fc=_FC_UNITS, fc_pieces=fc_pieces, norm=norm, dropout=dropout, init=init
    )


def depth_net(
    budget: Literal["30m", "107m"],
    layers: Layers,
    *,
    classes: Width = 10,
    channels: Width = 3,
    size: Pixels = 32,
    fc_pieces: Pieces = 5,
    norm: bool = False,
    dropout: tuple[ShareBelowOne, ShareBelowOne] = (0.0, 0.0),
    init: Init = "modern",
) -> nn.Module:
    """A student of the depth experiment (table 6): a budget of multiplications, spent on 5, 7, 9 or 11 layers.

    >>> depth_net("30m", 5, size=16)(torch.rand(2, 3, 16, 16)).shape
    torch.Size([2, 10])
    """
    if (budget, layers) not in DEPTH_NETS:
        raise UserError(
            f"the depth experiment has 5, 7, 9 and 11 layers for budgets 30m and 107m, not {budget}-{layers}"
        )
    convs = _thin(DEPTH_NETS[budget, layers])
    return MaxoutNet(
        convs, classes, channels, size, fc=_FC_UNITS, fc_pieces=fc_pieces, norm=norm, dropout=dropout, init=init
    )


def fitnet_mnist(
    *,
    classes: Width = 10,
    channels: Width = 1,
    size: Pixels = 28,
    pieces: Pieces = 2,
    norm: bool = False,
    dropout: tuple[ShareBelowOne, ShareBelowOne] = (0.0, 0.0),
    init: Init = "modern",
) -> nn.Module:
    """The MNIST student: 6 convolutions and no fc; ``pieces`` are those of its last two (paper 2, code 4).

    >>> fitnet_mnist()(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    convs = (
        Conv(16, kernel=5, padding=0),
        Conv(16, kernel=3, padding=0, pool=(4, 2)),
        Conv(16, kernel=5, padding=3),
        Conv(16, kernel=3, padding=0, pool=(4, 2)),
        Conv(12, kernel=3, padding=3, pieces=pieces),
        Conv(12, kernel=3, padding=0, pool=(2, 2), pieces=pieces),
    )
    return MaxoutNet(convs, classes, channels, size, norm=norm, dropout=dropout, init=init)


def maxout_cifar(
    *,
    classes: Width = 10,
    channels: Width = 3,
    size: Pixels = 32,
    fc_pieces: Pieces = 5,
    norm: bool = False,
    dropout: tuple[ShareBelowOne, ShareBelowOne] = (0.0, 0.0),
    init: Init = "modern",
) -> nn.Module:
    """The teacher for CIFAR-10 and CIFAR-100; it was trained with dropout (.2, .5).

    >>> len(list(maxout_cifar(size=16).parameters()))
    10
    """
    convs = (
        Conv(96, kernel=8, padding=4, pool=(4, 2)),
        Conv(192, kernel=8, padding=3, pool=(4, 2)),
        Conv(192, kernel=5, padding=3, pool=(2, 2)),
    )
    return MaxoutNet(
        convs, classes, channels, size, fc=_FC_UNITS, fc_pieces=fc_pieces, norm=norm, dropout=dropout, init=init
    )


def maxout_svhn(
    *,
    classes: Width = 10,
    channels: Width = 3,
    size: Pixels = 32,
    fc_pieces: Pieces = 5,
    norm: bool = False,
    dropout: tuple[ShareBelowOne, ShareBelowOne] = (0.0, 0.0),
    init: Init = "modern",
) -> nn.Module:
    """The teacher for SVHN; it was trained with dropout (.2, .5).

    >>> len(list(maxout_svhn(size=16).parameters()))
    10
    """
    convs = (
        Conv(64, kernel=5, padding=4, pool=(3, 2)),
        Conv(128, kernel=5, padding=3, pool=(3, 2)),
        Conv(128, kernel=5, padding=3, pool=(3, 2)),
    )
    return MaxoutNet(convs, classes, channels, size, fc=400, fc_pieces=fc_pieces, norm=norm, dropout=dropout, init=init)


def maxout_mnist(
    *,
    classes: Width = 10,
    channels: Width = 1,
    size: Pixels = 28,
    pieces: Pieces = 2,
    norm: bool = False,
    dropout: tuple[ShareBelowOne, ShareBelowOne] = (0.0, 0.0),
    init: Init = "modern",
) -> nn.Module:
    """The teacher for MNIST; ``pieces`` are those of its last convolution (paper 2, code 4); dropout was (.2, .5).

    >>> maxout_mnist()(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    convs = (
        Conv(48, kernel=8, padding=0, pool=(4, 2)),
        Conv(48, kernel=8, padding=3, pool=(4, 2)),
        Conv(24, kernel=5, padding=3, pool=(2, 2), pieces=pieces),
    )
    return MaxoutNet(convs, classes, channels, size, norm=norm, dropout=dropout, init=init)


def _thin(blocks: _Blocks) -> list[Conv]:
    """3x3 convolutions; 2x2 pooling ends the first two blocks, pooling over the whole 8x8 map the last."""
    pools = ((2, 2), (2, 2), (8, 8))
    return [
        Conv(channels, pool=pool if last else None)
        for block, pool in zip(blocks, pools, strict=True)
        for channels, last in zip(block, [False] * (len(block) - 1) + [True], strict=True)
    ]


FAMILIES = (
    Family("fitnet<which>", "FitNet 1 to 4, for CIFAR and SVHN", fitnet),
    Family("fitnet-<budget>-<layers>", "FitNets' depth experiment: budget 30m or 107m, layers 5 to 11", depth_net),
    Family("fitnet-mnist", "FitNets' student for MNIST", fitnet_mnist),
    Family("maxout-cifar", "FitNets' teacher for CIFAR-10 and CIFAR-100", maxout_cifar),
    Family("maxout-svhn", "FitNets' teacher for SVHN", maxout_svhn),
    Family("maxout-mnist", "FitNets' teacher for MNIST", maxout_mnist),
)
