"""Trained weights of timm, torchvision and transformers, and the preprocessing with which they were trained.

The libraries read their own caches, and fetch from the network what is not there: tensors and configurations, no code.
"""

import os
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from understudy.errors import UserError, did_you_mean
from understudy.models import outside
from understudy.models.catalogue import NetworkSpec
from understudy.models.detectors import Detector
from understudy.models.origins import plain_settings
from understudy.models.outside import Which, timm_name, torchvision_weights
from understudy.models.preprocessing import INTERPOLATIONS, Interpolation, Normalized, Preprocessing
from understudy.models.weights import begin_with
from understudy.nested import Nested
from understudy.printable import shown
from understudy.taps import inner

CLOSE = 0.01  # of a mean or std, for images between 0 and 1: configurations are rounded
_TENSORS_ALONE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_HUB = "huggingface.co"
_RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # PIL's numbers
_OF_NETWORK = ("httpx", "requests", "urllib", "urllib3", "huggingface_hub")  # modules whose errors are about fetching


@dataclass(frozen=True)
class InputConfig:
    """The inputs with which a network's weights were trained, as its library states them; None: it does not say.

    Args:
        weights: what the weights are called.
        mean, std: of each channel, for images between 0 and 1.
        size: side of the images.
        interpolation: how images of another size are resized.
        outputs: the names of the classes, or their numbers.

    >>> str(InputConfig("a1_in1k", (0.5,), (0.25,), 224, "bicubic"))
    'mean 0.5, std 0.25, 224 x 224, bicubic'
    """

    weights: str
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None
    interpolation: Interpolation | None = None
    outputs: tuple[str, ...] = ()

    def of_channels(self, channels: int) -> "InputConfig":
        """For images of one channel, the mean of the channels, as timm has it."""
        if self.mean is None or self.std is None or len(self.mean) == channels:
            return self
        if channels != 1:
            raise UserError(
                f"weights {self.weights!r} were trained on images of {len(self.mean)} channels, and these have "
                f"{channels}: give mean and std"
            )
        mean, std = (sum(values) / len(values) for values in (self.mean, self.std))
        return replace(self, mean=(mean,), std=(std,))

    def __str__(self) -> str:
        channels = {"mean": self.mean, "std": self.std}
        said = [f"{name} {' '.join(f'{v:g}' for v in values)}" for name, values in channels.items() if values]
        size = f"{self.size} x {self.size}" if self.size else ""
        return ", ".join(filter(None, [*said, size, self.interpolation]))


@cache
def input_config(name: str, which: Which = True) -> InputConfig:
    """The inputs for which a library's weights were trained; of timm and torchvision without any access to files.

    Args:
        name: ``timm:NAME``, ``torchvision:NAME`` or ``transformers:TYPE``.
        which: True for the library's default weights; of timm a tag, of torchvision the name of the weights, of
            transformers the repository, such as ``"google/vit-base-patch16-224"``, which must be named.
    """
    library, _, what = name.partition(":")
    if library not in _INPUTS:
        raise UserError(
            f"network {shown(name)}: pretrained weights come from timm, torchvision and transformers; for this network "
            "name a file, weights = '...'"
        )
    with _fetching(name):
        outside.require(library, what)
        return _INPUTS[library](what, which)


def library_spec(name: str, settings: Mapping[str, object], which: Which) -> NetworkSpec:
    """The name and settings by which the network of some weights is built again, with fresh ones.

    What transformers calls a type is many networks: the repository's configuration says which one.
    """
    input_config(name, which)  # or a UserError
    if not name.startswith("transformers:") or which is True:
        return NetworkSpec(name, dict(settings))
    from transformers import AutoConfig

    with _fetching(name):
        config: dict[str, object] = AutoConfig.from_pretrained(which, trust_remote_code=False).to_diff_dict()
    return NetworkSpec(name, {**plain_settings(config), **settings})


def library_network(
    name: str, which: Which, settings: Mapping[str, object], *, channels: int | None = None, size: int | None = None
) -> nn.Module:
    """The network with its trained weights, and as many outputs as these have."""
    input_config(name, which)  # or a UserError
    data = {"classes": None, "channels": channels, "size": size}
    own = {key: value for key, value in settings.items() if key not in data}
    with torch.random.fork_rng(devices=[]), _fetching(name):
        network = outside.build(name, data, own, (), which)
    given = {key: value for key, value in data.items() if value is not None}
    spec = library_spec(name, settings, which)
    network.__dict__["built_as"] = NetworkSpec(name, {**spec.settings, **given})
    return network


def own_inputs(network: nn.Module) -> InputConfig | None:
    """The inputs that the library of a network states for its default weights; None where nothing is stated.

    >>> own_inputs(nn.Linear(1, 1)) is None
    True
    """
    if isinstance(network, Detector):
        return InputConfig(
            str(getattr(network.__dict__.get("built_as"), "name", "torchvision")), network.mean, network.std
        )
    spec, config = network.__dict__.get("built_as"), getattr(network, "pretrained_cfg", None)
    if isinstance(config, Mapping) and config.get("mean"):
        return _of_timm_config(str(config.get("architecture")), config)
    if isinstance(spec, NetworkSpec) and spec.name.startswith(("timm:", "torchvision:")):
        try:
            return input_config(spec.name)
        except UserError:  # a network without trained weights
            return None
    return None


def unlike_its_weights(teacher: nn.Module, images: Nested) -> str | None:
    """Why a teacher's images are not normalised as those of its library's weights; None if they are, or none are known.

    Args:
        teacher: with what stands before it.
        images: some of those that it gets; below 0, they were normalised before.

    >>> unlike_its_weights(nn.Linear(1, 1), torch.zeros(1, 1)) is None
    True
    """
    own, front = own_inputs(inner(teacher)), teacher if isinstance(teacher, Preprocessing) else None
    if own is None or not own.mean or not own.std or not isinstance(images, Tensor) or images.ndim != 4:
        return None
    if front is None and images.is_floating_point() and images.min() < 0:
        return None
    own, used = own.of_channels(images.shape[1]), _used_by(front, images.shape[1])
    if used is not None and used.mean and used.std and own.mean and own.std:
        pairs = zip((*used.mean, *used.std), (*own.mean, *own.std), strict=True)
        if all(abs(ours - theirs) <= CLOSE for ours, theirs in pairs):
            return None
    stated = replace(own, size=None, interpolation=None)
    return (
        f"images come to it {f'with {used}' if used else 'whitened'}, and its library's weights {own.weights!r} were "
        f"trained with {stated}: if it was trained as they were, give these (in Python, put "
        "understudy.models.Normalized before it)"
    )


def _used_by(front: nn.Module | None, channels: int) -> InputConfig | None:
    """Mean and std of what stands before a network; None for whitening."""
    if front is None:
        return InputConfig("", (0.0,) * channels, (1.0,) * channels)
    if not isinstance(front, Normalized):
        return None
    return InputConfig("", tuple(front.mean.flatten().tolist()), tuple(front.std.flatten().tolist()))


def pretrained(
    name: str,
    which: Which = True,
    /,
    *,
    classes: int | None = None,
    channels: int | None = None,
    size: int | None = None,
    **settings: object,
) -> nn.Module:
    """A library's network with trained weights, behind its own preprocessing: it takes images between 0 and 1.

    >>> teacher = pretrained("timm:convnext_tiny")  # doctest: +SKIP
    >>> student = pretrained("timm:mobilenetv3_small_100", classes=5)  # doctest: +SKIP

    Args:
        name: ``timm:NAME``, ``torchvision:NAME`` or ``transformers:TYPE``.
        which: see ``input_config``.
        classes: outputs. With another number than the weights have, the head begins with fresh weights, which is a
            warning that names them.
        channels: of the images; by default as the weights have it.
        size: side of the images that the network gets; by default its own. Images of another size are resized.
        settings: further settings of the network.
    """
    own = input_config(name, which).of_channels(channels or 3)
    size = size or own.size
    network = library_network(name, which, settings, channels=channels, size=size)
    if classes is not None:
        state, network = network.state_dict(), library_spec(name, settings, which).build(classes, channels, size)
        if head := begin_with(network, state, own.weights, outputs=classes):
            warnings.warn(f"{name}: {head}; it begins with fresh weights", stacklevel=2)
    if own.mean is None or own.std is None:
        return network
    return Normalized(network, own.mean, own.std, size=size, interpolation=own.interpolation)


@contextmanager
def _fetching(name: str) -> Iterator[None]:
    """Errors of reading and fetching become one line; the Hub's retries are spared where its name is unknown."""
    library, called = name.partition(":")[0], f"network {name!r}"
    try:
        with _tensors_alone(), nullcontext() if _reachable() else _hub_offline():
            yield
    except Exception as error:
        reason = error.__cause__ or error if isinstance(error, UserError) else error
        first = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
        if isinstance(reason, OSError) or type(reason).__module__.partition(".")[0] in _OF_NETWORK:
            raise UserError(
                f"{called}: its trained weights are not in the cache of {library}, and cannot be fetched "
                f"({type(reason).__name__}: {first}): run once with access to the network, or name a file, "
                "weights = '...'"
            ) from error
        if isinstance(error, UserError):
            raise
        raise UserError(f"{called} cannot be built with its trained weights: {first}") from error


@contextmanager
def _tensors_alone() -> Iterator[None]:
    """PyTorch reads tensors and plain values alone, also where a library does not ask for that (torchvision)."""
    before = os.environ.get(_TENSORS_ALONE)
    os.environ[_TENSORS_ALONE] = "1"
    try:
        yield
    finally:
        del os.environ[_TENSORS_ALONE]
        if before is not None:
            os.environ[_TENSORS_ALONE] = before


def _reachable() -> bool:
    if any(name.lower() in ("https_proxy", "all_proxy") for name in os.environ) or "HF_ENDPOINT" in os.environ:
        return True  # names are resolved elsewhere
    try:
        socket.getaddrinfo(_HUB, 443)
    except OSError:
        return False
    return True


@contextmanager
def _hub_offline() -> Iterator[None]:
    """Hugging Face's Hub is asked for what is in its cache alone, as with HF_HUB_OFFLINE=1."""
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError:
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _interpolation(name: object) -> Interpolation | None:
    return next((known for known in INTERPOLATIONS if known == name), None)


def _of_timm_config(name: str, config: Mapping[str, object]) -> InputConfig:
    side = config.get("input_size")
    mean, std = (config.get(key) for key in ("mean", "std"))
    return InputConfig(
        f"{name}.{config['tag']}" if config.get("tag") else name,
        tuple(map(float, mean)) if isinstance(mean, (tuple, list)) else None,
        tuple(map(float, std)) if isinstance(std, (tuple, list)) else None,
        int(side[-1]) if isinstance(side, (tuple, list)) and side[-1] == side[-2] else None,
        _interpolation(config.get("interpolation")),
        tuple(map(str, range(classes))) if isinstance(classes := config.get("num_classes"), int) else (),
    )


def _of_timm(name: str, which: Which) -> InputConfig:
    import timm

    full = timm_name(name, which)
    if not timm.is_model(full) or not timm.is_model_pretrained(full):
        known = timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
        raise UserError(f"timm has no trained weights of {full!r}{did_you_mean(full, known)}")
    return _of_timm_config(name.partition(".")[0], timm.get_pretrained_cfg(full).to_dict())


def _of_torchvision(name: str, which: Which) -> InputConfig:
    from torchvision import models

    known = models.list_models(module=models)
    if hasattr(models, "detection") and name in models.list_models(module=models.detection):
        raise UserError(f"the weights of torchvision's detectors are taken from a file: weights = 'FILE' of {name!r}")
    if name not in known:
        raise UserError(f"torchvision has no classifier {name!r}{did_you_mean(name, known)}")
    members, wanted = dict(models.get_model_weights(name).__members__), torchvision_weights(which)
    if wanted not in members:
        raise UserError(f"torchvision has no weights {wanted!r} of {name!r}{did_you_mean(wanted, members)}")
    weights = members[wanted]
    preset = weights.transforms()
    return InputConfig(
        f"{name}.{weights.name}",
        tuple(preset.mean),
        tuple(preset.std),
        preset.crop_size[0],
        _interpolation(preset.interpolation.value),
        tuple(weights.meta.get("categories", ())),
    )


def _of_transformers(name: str, which: Which) -> InputConfig:
    from transformers import AutoConfig
    from transformers.image_processing_base import ImageProcessingMixin

    if which is True:
        raise UserError(
            f"transformers:{name} is a type of many networks: say whose weights, as in "
            'pretrained = "google/vit-base-patch16-224"'
        )
    config = AutoConfig.from_pretrained(which, trust_remote_code=False)
    kind = config.model_type
    if kind != name:
        raise UserError(f"the weights {which!r} are of a network of the type {kind!r}: write transformers:{kind}")
    processor, _ = ImageProcessingMixin.get_image_processor_dict(which)
    normalised = processor.get("do_normalize", True) and processor.get("image_mean") is not None
    return InputConfig(
        which,
        tuple(processor["image_mean"]) if normalised else None,
        tuple(processor["image_std"]) if normalised else None,
        _side(processor.get("crop_size") if processor.get("do_center_crop") else processor.get("size")),
        _interpolation(_RESAMPLE.get(processor.get("resample", -1))),
        tuple(config.id2label[number] for number in range(config.num_labels)),
    )


def _side(size: object) -> int | None:
    """Of what an image processor calls a size: a number, height and width, or the shortest edge."""
    if isinstance(size, Mapping):
        sides = {size.get(key) for key in ("height", "width", "shortest_edge") if size.get(key) is not None}
        size = sides.pop() if len(sides) == 1 else None
    return size if isinstance(size, int) else None


_INPUTS: Mapping[str, Callable[[str, Which], InputConfig]] = {
    "timm": _of_timm,
    "torchvision": _of_torchvision,
    "transformers": _of_transformers,
}
