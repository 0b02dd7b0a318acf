"""A family of networks as a function from size to network, for paths from large to small."""

import contextlib
import functools
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from understudy.errors import UserError, did_you_mean
from understudy.models.catalogue import NetworkSpec, matching
from understudy.models.families import FAMILIES
from understudy.models.family import Family

Size = int | str


@dataclass(frozen=True)
class Sized:
    """Networks that differ in their size.

    >>> Sized.of("plain").network(4).name
    'plain4'

    Args:
        pattern: a network's name with ``<size>`` in place of the size; or, with ``by``, a complete name.
        by: the setting that is the size, as in ``Sized("mynets:student", by="depth")``.
    """

    pattern: str
    by: str | None = None

    @classmethod
    def of(cls, name: str, by: str | None = None) -> "Sized":
        """``plain``, ``resnet``, ``wrn`` (sizes such as ``"16-2"``), a name with ``<size>``, or one with ``by``."""
        if "<size>" in name or by is not None:
            return cls(name, by)
        if ":" in name:
            raise UserError(
                f"family {name!r}: say where the size goes: {name}<size>, or by = the setting that is the size"
            )
        sized = [family for family in FAMILIES.values() if "<" in family.name]
        whole = [family for family in sized if family.sized.endswith("<size>")]
        short = {family.begins.rstrip("-"): family.begins for family in reversed(whole)}
        if name not in short:
            raise UserError(f"there is no family {name!r}{did_you_mean(name, short)}")
        return cls(f"{short[name]}<size>")

    @classmethod
    def to_which_belongs(cls, network: str) -> "Sized | None":
        """The family of a network's name; None for one that has no sizes."""
        if ":" in network:
            return None
        family = next((family for family, _ in matching(network)), None)
        return cls(family.sized) if family and "<" in family.name else None

    def network(self, size: Size, settings: Mapping[str, object] | None = None) -> NetworkSpec:
        """The network of a size."""
        others = dict(settings or {})
        if self.by is not None:
            return NetworkSpec(self.pattern, {**others, self.by: size})
        return NetworkSpec(self.pattern.replace("<size>", str(size)), others)

    def size_of(self, network: NetworkSpec) -> Size | None:
        """The size of a network of this family, None for others."""
        if self.by is not None:
            size = network.settings.get(self.by)
            return size if network.name == self.pattern and isinstance(size, (int, str)) else None
        before, _, after = self.pattern.partition("<size>")
        match = re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", network.name)
        return None if match is None else int(match[1]) if match[1].isdigit() else match[1]

    @property
    def published(self) -> tuple[Size, ...]:
        """The sizes that papers step through, from large to small; none for families that are not of the catalogue."""
        return self._listed(lambda family: family.sizes)

    @property
    def others(self) -> tuple[Size, ...]:
        """Further sizes, from large to small."""
        return self._listed(lambda family: family.more)

    @property
    def widths(self) -> tuple[Mapping[str, object], ...]:
        """Settings that change the width alone, from wide to narrow; none where the size says it, or nothing does."""
        return self._family.widths if self._family else ()

    @property
    def _family(self) -> Family | None:
        return next((one for one in FAMILIES.values() if one.sized == self.pattern), None)

    def _listed(self, sizes: Callable[[Family], tuple[str, ...]]) -> tuple[Size, ...]:
        family = self._family
        return tuple(int(size) if size.isdigit() else size for size in sizes(family)) if family else ()


def between(
    student: NetworkSpec, smallest: int, largest: int, shape: tuple[int, ...], classes: int, most: int = 4
) -> list[NetworkSpec]:
    """Networks of the student's family with parameters between two numbers: at most ``most``, evenly chosen.

    If none of the sizes of papers is between them, the family's further sizes are used.
    """
    family = Sized.to_which_belongs(student.name)
    fitting: list[NetworkSpec] = []
    for sizes in (family.published, family.others) if family else ():
        for size in () if fitting else sizes:
            spec = family.network(size, student.settings) if family else student
            with contextlib.suppress(UserError):  # images too small for this one
                if smallest < parameters(spec, shape, classes) < largest:
                    fitting.append(spec)
    if len(fitting) <= most:
        return fitting
    return [fitting[round(place * (len(fitting) - 1) / (most - 1))] for place in range(most)]


def recognised(network: nn.Module, shape: tuple[int, ...], classes: int) -> NetworkSpec | None:
    """The name of a network that was built already, by the names and shapes of its weights."""
    wanted = _shapes(network)
    for family in FAMILIES.values():
        for size in (*family.sizes, *family.more):
            name = family.sized.replace("<size>", size)
            if _shapes_of(name, shape, classes) == wanted:
                return NetworkSpec(name)
    return None


@functools.cache
def _shapes_of(name: str, shape: tuple[int, ...], classes: int) -> dict[str, torch.Size] | None:
    """The shapes of a network by its name; None where the images are too small for it."""
    with contextlib.suppress(UserError):
        return _shapes(outline(NetworkSpec(name), shape, classes))
    return None


def parameters(spec: NetworkSpec, shape: tuple[int, ...], classes: int, trusted: Collection[str] = ()) -> int:
    """How many a network has, without making its weights."""
    return sum(p.numel() for p in outline(spec, shape, classes, trusted).parameters())


def outline(spec: NetworkSpec, shape: tuple[int, ...], classes: int, trusted: Collection[str] = ()) -> nn.Module:
    """A network without its weights: its tensors have shapes and no values."""
    with torch.device("meta"):
        return spec.build(classes, shape[0], shape[-1], trusted)


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}
