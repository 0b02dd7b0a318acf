"""By which name an object of timm, torchvision or transformers can be built again.

timm's networks know their architecture, transformers' their configuration; torchvision's are recognised among the
networks of their module. A name counts only if the network that it builds has the same layers and weights of the same
shapes; settings that change nothing once a network is trained (rates of dropout) are not compared.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from understudy.errors import UserError
from understudy.models.catalogue import NetworkSpec
from understudy.models.outside import LIBRARIES

_RATES = re.compile(r"\b(p|drop_prob|drop_path|prob)=[\d.e-]+|drop_prob=\d+\.\d+|\(drop_path\d*\): \w+(\([^)]*\))?")
_NOT_IN_A_CONFIG = (
    "id2label", "label2id", "architectures", "transformers_version", "dtype", "torch_dtype", "model_type",
)  # fmt: skip


def named(network: nn.Module, prepare: Callable[[nn.Module], None] | None = None) -> NetworkSpec | None:
    """The name and settings of a library's network, by which ``build`` makes one of the same layers; None if none does.

    Args:
        network: the object.
        prepare: what was done to it since it was made (a graft), to be done to the network that is built.

    >>> named(nn.Linear(1, 1)) is None
    True
    """
    library = library_of(network)
    if library is None:
        return None
    wanted = _outline(network)
    for spec in _CANDIDATES[library](network):
        try:
            with torch.random.fork_rng(devices=[]), torch.device("cpu" if prepare else "meta"):
                built = spec.build()
            if prepare:
                prepare(built)
        except (UserError, RuntimeError, NotImplementedError):
            continue
        if _outline(built) == wanted:
            return spec
    return None


def library_of(network: nn.Module) -> str | None:
    """The library whose class a network is; None for a class of anybody else's."""
    top = type(network).__module__.partition(".")[0]
    return top if top in LIBRARIES else None


def needs_arguments(network: nn.Module) -> bool:
    """Whether the class of a network does not make it when it is called without arguments, as ``nn.Sequential``.

    >>> needs_arguments(nn.Sequential(nn.Linear(1, 1)))
    True
    """
    if type(network).__module__.startswith("torch."):
        return True
    parameters = inspect.signature(type(network)).parameters.values()
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(p.default is p.empty and p.kind not in free for p in parameters)


def _outline(network: nn.Module) -> tuple[str, dict[str, torch.Size]]:
    """Layers without rates of dropout, and the shapes of all tensors."""
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    return _RATES.sub("", repr(network)), shapes


def _of_timm(network: nn.Module) -> Iterator[NetworkSpec]:
    config = getattr(network, "pretrained_cfg", None) or getattr(network, "default_cfg", None) or {}
    name = config.get("architecture")
    if not isinstance(name, str):
        return
    settings: dict[str, object] = {"classes": getattr(network, "num_classes", None), "channels": _channels(network)}
    yield NetworkSpec(f"timm:{name}", settings)
    size = getattr(getattr(network, "patch_embed", None), "img_size", None)
    if size is not None:
        yield NetworkSpec(f"timm:{name}", {**settings, "img_size": list(size)})


def _of_torchvision(network: nn.Module) -> Iterator[NetworkSpec]:
    from torchvision import models

    known = models.list_models(module=models)
    here = [name for name in known if models.get_model_builder(name).__module__ == type(network).__module__]
    settings: dict[str, object] = {"classes": _outputs(network)}
    if type(network).__name__ in ("GoogLeNet", "Inception3"):
        settings |= {"aux_logits": getattr(network, "aux_logits", False), "init_weights": False}
    size = getattr(network, "image_size", None)
    for name in here:
        yield NetworkSpec(f"torchvision:{name}", settings)
        if isinstance(size, int):
            yield NetworkSpec(f"torchvision:{name}", {**settings, "image_size": size})


def _of_transformers(network: nn.Module) -> Iterator[NetworkSpec]:
    config = getattr(network, "config", None)
    kind = getattr(config, "model_type", None)
    if config is None or not isinstance(kind, str):
        return
    differing: dict[str, object] = config.to_diff_dict()
    settings: dict[str, object] = {"classes": config.num_labels, **plain_settings(differing)}
    yield NetworkSpec(f"transformers:{kind}", settings)
    if type(network).__name__.endswith("ForTokenClassification"):
        yield NetworkSpec(f"transformers:{kind}", {**settings, "head": "tokens"})


def plain_settings(config: Mapping[str, object]) -> dict[str, object]:
    """What a configuration of transformers says of the network, in plain values."""
    own = {key: value for key, value in config.items() if key not in _NOT_IN_A_CONFIG and not key.startswith("_")}
    return {key: value for key, value in own.items() if isinstance(value, (int, float, str, bool, list, type(None)))}


def _channels(network: nn.Module) -> int | None:
    """Of the images, by the first convolution."""
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    return None if first is None else first.in_channels * (1 if first.groups == 1 else first.groups)


def _outputs(network: nn.Module) -> int | None:
    """Of the last layer."""
    last = [module for module in network.modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1:]
    return next((m.out_features if isinstance(m, nn.Linear) else m.out_channels for m in last), None)


_CANDIDATES: dict[str, Callable[[nn.Module], Iterator[NetworkSpec]]] = {
    "timm": _of_timm,
    "torchvision": _of_torchvision,
    "transformers": _of_transformers,
}
