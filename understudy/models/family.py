"""What a family of networks is: networks made by one function, with an argument or two in their names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from torch import nn


@dataclass(frozen=True)
class Family:
    """Networks made by one function; ``<word>`` in the name stands for the argument of that name.

    Args:
        name: such as ``"resnet<depth>"``.
        about: one line for people.
        make: the function; its annotations check the settings, and ``classes``, ``channels`` and ``size`` are given to
            it as far as it takes them.
        sizes: those that papers step through from large to small, as they stand in the name.
        more: further sizes from large to small, which are looked at where none of ``sizes`` fits.
        refused: names that mean something else to most readers, each with the way out.

    >>> Family("tiny<width>", "one layer", lambda width: nn.Linear(width, 2)).pattern.fullmatch("tiny8").groupdict()
    {'width': '8'}
    """

    name: str
    about: str
    make: Callable[..., nn.Module]
    sizes: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict, hash=False)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"<(\w+)>", r"(?P<\1>\\w+)", self.name))

    @property
    def begins(self) -> str:
        """The name up to its first argument."""
        return self.name.partition("<")[0]
