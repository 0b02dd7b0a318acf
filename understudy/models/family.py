"""A family of networks: one function makes them, and their names hold one or two of its arguments."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import nn

from understudy.errors import UserError


@dataclass(frozen=True)
class Family:
    """Networks made by one function; ``<word>`` in the name is a placeholder for the argument of that name.

    Args:
        name: such as ``"resnet<depth>"``.
        about: one line for people.
        make: the function; its annotations check the settings, and ``classes``, ``channels`` and ``size`` are given to
            it as far as it takes them.
        sizes: the sizes that papers use, from large to small, as written in the name.
        more: further sizes from large to small, for a search in which none of ``sizes`` fits.
        widths: settings that change the width alone, from wide to narrow, where the name says only the depth.
        refused: names with another usual meaning, each with the text of the error.

    >>> Family("tiny<width>", "one layer", lambda width: nn.Linear(width, 2)).pattern.fullmatch("tiny8").groupdict()
    {'width': '8'}
    """

    name: str
    about: str
    make: Callable[..., nn.Module]
    sizes: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    widths: tuple[Mapping[str, object], ...] = field(default=(), hash=False)
    refused: Mapping[str, str] = field(default_factory=dict, hash=False)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"<(\w+)>", r"(?P<\1>\\w+)", self.name))

    @property
    def sized(self) -> str:
        """The name with one placeholder for all that its arguments say: ``wrn-<size>``, ``resnet<size>x4``."""
        return f"{self.begins}<size>{self.name.rpartition('>')[2]}"

    @property
    def begins(self) -> str:
        """The name up to its first argument."""
        return self.name.partition("<")[0]


def too_small(size: int, layer: str) -> UserError:
    """The error for images that a network's pooling and valid convolutions reduce to nothing."""
    return UserError(f"images of {size} x {size} are too small for this network: nothing is left at {layer}")
