"""A network by name and settings, so that a description in a file rebuilds it.

A family is a file in ``families``, or registered by another package. Outside networks: ``timm:NAME``,
``torchvision:NAME`` and ``transformers:TYPE`` (never with their weights), and ``MODULE:FACTORY`` for the user's own
code, which is imported only if the user named the module.
"""

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, get_type_hints

from torch import nn

from understudy.errors import UserError, did_you_mean, nearest
from understudy.models import outside
from understudy.models.families import FAMILIES
from understudy.models.family import Family
from understudy.printable import shown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_SIZES = re.compile(r"<\w+>|\d+")  # in names of networks
_OF_DATA = ("classes", "channels", "size")  # what a network takes from the data, where its settings do not say it


def names() -> list[tuple[str, str]]:
    """Every name that ``build`` accepts, with a one-line description; ``<...>`` is a placeholder for a value.

    >>> any(name.startswith("resnet") for name, _ in names())
    True
    """
    return [(family.name, family.about) for family in FAMILIES.values()] + outside.NAMES


def build(
    name: str,
    /,
    *,
    classes: int | None = None,
    channels: int | None = None,
    size: int | None = None,
    trusted: Collection[str] = (),
    **settings: object,
) -> nn.Module:
    """The network called ``name``, with fresh weights.

    Args:
        name: one of ``names()``.
        classes: how many logits; left out, the family's own default. Not forced on the user's own code.
        channels: channels of the images, likewise.
        size: side of the images, for networks that depend on it.
        trusted: modules from which ``MODULE:FACTORY`` may run code (with all below them).
        settings: further settings of the family. Settings from a file go through ``NetworkSpec``, where they cannot
            extend ``trusted``.

    >>> student = build("resnet8", channels=1, widths=(4, 8, 16))
    >>> student(torch.rand(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    data = {"classes": classes, "channels": channels, "size": size}
    for key, value in data.items():
        if value is not None and value < 1:
            raise UserError(f"network {shown(name)}: {key} is a number above 0, not {shown(value)}")
    if ":" in name:
        network = outside.build(name, data, settings, trusted)
        if outside.is_library(name):
            given = {key: value for key, value in data.items() if value is not None}
            network.__dict__["built_as"] = NetworkSpec(name, {**settings, **given})
        return network
    family, words = family_of(name)
    _refuse_unknown(name, family, words, settings)
    parameters = inspect.signature(family.make).parameters
    given = {key: value for key, value in data.items() if value is not None and key in parameters}
    arguments = _checked(family.make, {**words, **given, **settings}, f"network {shown(name)}")
    try:
        network = family.make(**arguments)
    except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError, MemoryError, RecursionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"network {shown(name)} cannot be built with these settings: {reason}") from error
    network.__dict__["built_as"] = NetworkSpec(name, {**settings, **given})  # so that it can be described
    return network


def check(name: str, settings: Mapping[str, object]) -> None:
    """A ``UserError`` for a name or a setting that no family of this package or a plugin takes, without building it.

    >>> check("resnet8", {"widths": [4, 8, 16]})
    """
    if ":" in name:
        return
    family, words = family_of(name)
    own = {key: value for key, value in settings.items() if key not in _OF_DATA}
    _refuse_unknown(name, family, words, own)
    _checked(family.make, {**words, **own}, f"network {shown(name)}")


def _refuse_unknown(name: str, family: Family, words: Mapping[str, str], settings: Mapping[str, object]) -> None:
    parameters = inspect.signature(family.make).parameters
    known = [key for key in parameters if key not in words and key not in _OF_DATA]
    for key in settings:
        if key not in known:
            raise UserError(f"network {shown(name)} has no setting {key!r}{did_you_mean(key, known)}")


def resolved(
    name: str, settings: Mapping[str, object], classes: int, channels: int, size: int
) -> tuple[str, dict[str, object]]:
    """The name and all settings with which ``NetworkSpec.build`` makes a network, defaults included."""
    data = {"classes": classes, "channels": channels, "size": size}
    if ":" in name:
        return name, {**data, **settings}
    family, words = family_of(name)
    parameters = inspect.signature(family.make).parameters
    given = {key: value for key, value in {**data, **settings}.items() if key in parameters}
    defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty}
    return name, {**defaults, **_checked(family.make, {**words, **given}, f"network {shown(name)}")}


def _suggestions(name: str) -> str:
    """The most similar names, compared without the sizes in them."""
    known = {_SIZES.sub("", pattern): pattern for pattern, _ in names()}
    close = [known[match] for match in nearest(_SIZES.sub("", name), known)]
    return did_you_mean(name, known.values()) if not close else f"; did you mean {', '.join(map(shown, close))}?"


def family_of(name: str) -> tuple[Family, dict[str, str]]:
    """The family of a network's name, and the arguments in the name."""
    matches = matching(name)
    if not matches:
        if "/" in name:
            raise UserError(f"there is no folder {shown(name)}, and no network is called {shown(name)} either")
        raise UserError(f"no network is called {shown(name)}{_suggestions(name)}")
    if len(matches) > 1:
        owners = " and ".join(f"{family.name!r} ({family.make.__module__})" for family, _ in matches)
        raise UserError(f"the network's name {name!r} is taken twice, by {owners}: uninstall one of the packages")
    family, match = matches[0]
    if name in family.refused:
        raise UserError(f"network {shown(name)}: {family.refused[name]}")
    return family, match.groupdict()


def matching(name: str) -> list[tuple[Family, re.Match[str]]]:
    """The families whose pattern fits a name, those that spell out most of it: ``resnet<depth>x4`` for resnet8x4."""
    found = [(family, match) for family in candidates(name) if (match := family.pattern.fullmatch(name))]
    spelled = [len(name) - sum(map(len, match.groups())) for _, match in found]
    return [both for both, letters in zip(found, spelled, strict=True) if letters == max(spelled)]


def candidates(name: str) -> list[Family]:
    """The families that a network may belong to; of other packages only those with a matching prefix."""
    return [FAMILIES[known] for known in FAMILIES.names() if name.startswith(known.partition("<")[0])]


def _checked(function: Callable[..., object], arguments: Mapping[str, object], called: str) -> dict[str, object]:
    """The arguments converted to the function's annotations, or a ``UserError`` if one is wrong."""
    from pydantic import ValidationError  # late: it takes longer to import than all of this package

    def checked(key: str, value: object) -> object:
        try:
            return _adapter(function, key).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise UserError(f"{called}: {key} = {shown(value)}: {reason[0].lower()}{reason[1:]}") from None

    return {key: checked(key, value) for key, value in arguments.items()}


@cache
def _adapter(function: Callable[..., object], key: str) -> "TypeAdapter[object]":
    """What converts a value to an argument's annotation; kept, since a plan has many nodes of few networks."""
    from pydantic import TypeAdapter

    return TypeAdapter(get_type_hints(function, include_extras=True)[key])


@dataclass(frozen=True)
class NetworkSpec:
    """A network's name and settings: what a file needs to rebuild it.

    >>> NetworkSpec("resnet8", {"widths": [4, 8, 16]}).name
    'resnet8'
    """

    name: str
    settings: dict[str, object] = field(default_factory=dict, hash=False)

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
        """A new network; classes, channels and size in the settings take precedence."""
        data = {"classes": classes, "channels": channels, "size": size}
        make: Callable[..., nn.Module] = build
        return make(self.name, trusted=trusted, **{**data, **self.settings})

    def __str__(self) -> str:
        return ", ".join([self.name, *(f"{key}={value}" for key, value in self.settings.items())])
