"""A network by name and settings, so that a description in a file rebuilds it.

A family is a function and one line of ``FAMILIES``. Outside networks: ``timm:NAME``, ``torchvision:NAME`` and
``transformers:TYPE`` (never with their weights), and ``MODULE:FACTORY`` for the user's own code, which is imported only
if the user named the module.
"""

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_type_hints

from torch import nn

from understudy.errors import UserError, did_you_mean
from understudy.models import aflw, fitnets, outside
from understudy.models.plain import plain
from understudy.models.resnet import resnet, resnet_of_blocks
from understudy.models.text_encoder import text_encoder
from understudy.models.wrn import wrn


@dataclass(frozen=True)
class Family:
    """Networks made by one function; ``<word>`` in the name stands for the argument of that name.

    ``sizes`` are those that papers step through from large to small, as they stand in the name.
    """

    name: str
    about: str
    make: Callable[..., nn.Module]
    sizes: tuple[str, ...] = ()

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"<(\w+)>", r"(?P<\1>\\w+)", self.name))


_RESNETS = ("110", "56", "44", "32", "26", "20", "14", "8")
_WRNS = ("40-4", "28-4", "16-4", "40-2", "28-2", "16-2", "40-1", "28-1", "16-1")

FAMILIES = (
    Family("resnet<depth>", "CIFAR ResNet of depth 6n+2: resnet8, resnet20, resnet56, ...", resnet, _RESNETS),
    Family("resnet-blocks", "ResNet with blocks, widths and strides as you say, stage by stage", resnet_of_blocks),
    Family("wrn-<depth>-<width>", "wide ResNet of depth 6n+4: wrn-16-2, wrn-40-10, ...", wrn, _WRNS),
    Family("plain<layers>", "TAKD's plain network of 2 to 10 convolutions", plain, ("10", "8", "6", "4", "2")),
    Family("fitnet<which>", "FitNet 1 to 4, for CIFAR and SVHN", fitnets.fitnet),
    Family(
        "fitnet-<budget>-<layers>", "FitNets' depth experiment: budget 30m or 107m, layers 5 to 11", fitnets.depth_net
    ),
    Family("fitnet-mnist", "FitNets' student for MNIST", fitnets.fitnet_mnist),
    Family("maxout-cifar", "FitNets' teacher for CIFAR-10 and CIFAR-100", fitnets.maxout_cifar),
    Family("maxout-svhn", "FitNets' teacher for SVHN", fitnets.maxout_svhn),
    Family("maxout-mnist", "FitNets' teacher for MNIST", fitnets.maxout_mnist),
    Family("aflw-teacher", "FitNets' teacher for faces in 16x16 patches (one logit)", aflw.aflw_teacher),
    Family("aflw-fitnet<which>", "its students 1 and 2", aflw.aflw_fitnet),
    Family("text-encoder", "transformer encoder for texts, of a width, depth and heads as you say", text_encoder),
)


def names() -> list[tuple[str, str]]:
    """Every name that ``build`` knows, with a line about it; ``<...>`` stands for a value."""
    return [(family.name, family.about) for family in FAMILIES] + outside.NAMES


def build(
    name: str,
    /,
    *,
    classes: int | None = None,
    channels: int | None = None,
    size: int | None = None,
    trusted: Collection[str] = (),
    **settings: Any,
) -> nn.Module:
    """The network called ``name``, with fresh weights.

    Args:
        name: one of ``names()``.
        classes: how many logits; left out, the family's own default. Not forced on the user's own code.
        channels: channels of the images, likewise.
        size: side of the images, for networks that depend on it.
        trusted: modules from which ``MODULE:FACTORY`` may run code (with all below them).
        settings: what else the family takes. Settings out of a file go through ``NetworkSpec``, where they cannot
            extend ``trusted``.
    """
    data = {"classes": classes, "channels": channels, "size": size}
    for key, value in data.items():
        if value is not None and value < 1:
            raise UserError(f"network {name!r}: {key} is a number above 0, not {value}")
    if ":" in name:
        network = outside.build(name, data, settings, trusted)
        if outside.is_library(name):
            given = {key: value for key, value in data.items() if value is not None}
            network.__dict__["built_as"] = NetworkSpec(name, {**settings, **given})
        return network
    family, words = family_of(name)
    parameters = inspect.signature(family.make).parameters
    known = [key for key in parameters if key not in words and key not in data]
    for key in settings:
        if key not in known:
            raise UserError(f"network {name!r} has no setting {key!r}{did_you_mean(key, known)}")
    given = {key: value for key, value in data.items() if value is not None and key in parameters}
    network = family.make(**_checked(family.make, {**words, **given, **settings}, f"network {name!r}"))
    network.__dict__["built_as"] = NetworkSpec(name, {**settings, **given})  # so that it can be described
    return network


def resolved(
    name: str, settings: Mapping[str, Any], classes: int, channels: int, size: int
) -> tuple[str, dict[str, Any]]:
    """Name and every setting with which ``NetworkSpec.build`` would make a network, defaults included."""
    data = {"classes": classes, "channels": channels, "size": size}
    if ":" in name:
        return name, {**data, **settings}
    family, words = family_of(name)
    parameters = inspect.signature(family.make).parameters
    given = {key: value for key, value in {**data, **settings}.items() if key in parameters}
    defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    return name, {**defaults, **_checked(family.make, {**words, **given}, f"network {name!r}")}


def family_of(name: str) -> tuple[Family, dict[str, str]]:
    for family in FAMILIES:
        match = family.pattern.fullmatch(name)
        if match:
            return family, match.groupdict()
    raise UserError(f"no network is called {name!r}{did_you_mean(name, [known for known, _ in names()])}")


def _checked(function: Callable[..., Any], arguments: Mapping[str, Any], called: str) -> dict[str, Any]:
    """The arguments as the function's annotations want them (a list becomes a tuple), or what is wrong with one."""
    from pydantic import TypeAdapter, ValidationError  # late: it takes longer to import than all of this package

    types = get_type_hints(function)

    def checked(key: str, value: Any) -> Any:
        try:
            return TypeAdapter(types[key]).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise UserError(f"{called}: {key} = {value!r}: {reason[0].lower()}{reason[1:]}") from None

    return {key: checked(key, value) for key, value in arguments.items()}


@dataclass(frozen=True)
class NetworkSpec:
    """A network's name and settings: all that a file needs to say to rebuild it."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if "trusted" in self.settings:
            raise UserError(f"network {self.name!r}: a description cannot say which code is trusted; use --trust")

    def build(
        self,
        classes: int | None = None,
        channels: int | None = None,
        size: int | None = None,
        trusted: Collection[str] = (),
    ) -> nn.Module:
        """A new network; what the settings say about classes, channels and size goes first."""
        data = {"classes": classes, "channels": channels, "size": size}
        return build(self.name, trusted=trusted, **{**data, **self.settings})

    def __str__(self) -> str:
        return ", ".join([self.name, *(f"{key}={value}" for key, value in self.settings.items())])
