"""Plugins of other packages: methods, networks, data sets, tasks and engines, registered as entry points.

A package registers a method in its ``pyproject.toml``::

    [project.entry-points."understudy.methods"]
    turned = "his_package.turned:METHOD"

The names of a group are read once, without imports; an object is imported when it is looked up by its name. A plugin
that cannot be imported raises an error when it is looked up, and is one line in the lists.
"""

import importlib
import pkgutil
import sys
from collections.abc import Callable, ItemsView, Iterator, Mapping, MutableMapping, ValuesView
from functools import cache, cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from understudy.errors import UserError, did_you_mean

METHODS = "understudy.methods"
NETWORKS = "understudy.networks"
DATASETS = "understudy.datasets"
TASKS = "understudy.tasks"
ENGINES = "understudy.engines"

T = TypeVar("T")


def group(name: str) -> dict[str, object]:
    """Everything that other packages register in a group and that can be imported, by its name.

    >>> group("understudy.no_such_group")
    {}
    """
    things: dict[str, object] = {}
    for known, entries in _entries(name).items():
        if len(entries) == 1 and not isinstance(thing := _loaded(entries[0]), Exception):
            things[known] = thing
    return things


def registered(name: str) -> list[str]:
    """The names that other packages register in a group; imports nothing.

    >>> registered("understudy.no_such_group")
    []
    """
    return list(_entries(name))


class Registry(MutableMapping[str, T], Generic[T]):
    """Objects of one kind by name: the package's own, and those of other packages.

    A name leads to exactly one thing. ``registry[name]`` raises a ``UserError`` for a plugin that cannot be imported,
    is of another type, or has the name of something else; iteration leaves it out, and ``problems`` tells why.

    Args:
        kind: the name of the kind in messages, for example ``"method"``.
        group: the group of entry points, for example ``"understudy.methods"``.
        own: the package's own things, or a function that finds them at the first question.
        wrong: the reason why an object under a name is not valid; None if it is.
        order: the key by which tables list the things; left out, the package's own come first.

    >>> colours = Registry("colour", "understudy.no_such_group", {"red": 1})
    >>> colours["red"], "blue" in colours, list(colours)
    (1, False, ['red'])
    """

    def __init__(
        self,
        kind: str,
        group: str,
        own: Mapping[str, T] | Callable[[], Mapping[str, T]],
        wrong: Callable[[str, object], str | None] = lambda name, thing: None,
        order: Callable[[T], tuple[str | int, ...]] | None = None,
    ):
        self.kind, self.group = kind, group
        self._given, self._wrong, self._order = own, wrong, order

    @cached_property
    def _own(self) -> dict[str, T]:
        return dict(self._given() if callable(self._given) else self._given)

    def find(self, name: str) -> T:
        """The thing of this name; a ``UserError`` with the nearest names if there is none."""
        if name not in self:
            raise UserError(f"there is no {self.kind} {name!r}{did_you_mean(name, self.names())}")
        return self[name]

    def names(self) -> list[str]:
        """Every name, also of plugins that cannot be imported; imports nothing."""
        return [*self._own, *(name for name in _entries(self.group) if name not in self._own)]

    def problems(self) -> list[str]:
        """One line for each plugin that cannot be used."""
        return [str(thing) for name in _entries(self.group) if isinstance(thing := self._looked_up(name), Exception)]

    def __getitem__(self, name: str) -> T:
        thing = self._looked_up(name)
        if isinstance(thing, UserError):
            raise thing
        return thing

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in _entries(self.group)

    def __iter__(self) -> Iterator[str]:
        return iter(self._usable())

    def __len__(self) -> int:
        return len(self._usable())

    def values(self) -> ValuesView[T]:
        return self._usable().values()

    def items(self) -> ItemsView[str, T]:
        return self._usable().items()

    def __setitem__(self, name: str, thing: T) -> None:
        self._own[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._own[name]

    def _usable(self) -> dict[str, T]:
        """The package's own things, then those of other packages that can be used."""
        usable = dict(self._own)
        for name in _entries(self.group):
            if name not in usable and not isinstance(thing := self._looked_up(name), UserError):
                usable[name] = thing
        order = self._order
        return dict(sorted(usable.items(), key=lambda item: order(item[1]))) if order else usable

    def _looked_up(self, name: str) -> T | UserError:
        entries = _entries(self.group).get(name, ())
        if len(entries) + (name in self._own) > 1:
            return self._clash(name, entries)
        if not entries:
            return self._own[name]
        thing = _loaded(entries[0])
        if isinstance(thing, Exception):
            reason = f"cannot be imported ({type(thing).__name__}: {' '.join(str(thing).split())})"
        elif (complaint := self._wrong(name, thing)) is not None:
            reason = f"cannot be used: {complaint}"
        else:
            return thing  # type: ignore[return-value]  # `wrong` has checked its type
        return UserError(f"the {self.kind} {name!r} of {_origin(entries[0])} {reason}; mend or uninstall that package")

    def _clash(self, name: str, entries: tuple[EntryPoint, ...]) -> UserError:
        owners = [*(["Understudy itself"] if name in self._own else []), *map(_origin, entries)]
        return UserError(
            f"the name of the {self.kind} {name!r} is taken twice, by {' and by '.join(owners)}: "
            "a name leads to one thing, so rename one or uninstall its package"
        )


def defined_in(package: str, kind: type[T]) -> dict[str, T]:
    """The things of a type that stand at the top of a package's modules, alone or in a tuple, by their ``name``.

    So a file is all that is to be added to a package for a further thing. Modules whose names begin with an underscore
    are left out.
    """
    things: dict[str, T] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not module.name.startswith("_"):
            values = vars(importlib.import_module(f"{package}.{module.name}")).values()
            for thing in (one for value in values for one in (value if isinstance(value, tuple) else (value,))):
                if isinstance(thing, kind):
                    name: str = thing.name  # type: ignore[attr-defined]
                    if things.setdefault(name, thing) is not thing:
                        raise RuntimeError(f"two things of {package} are called {name!r}")
    return things


def of_type(expected: type, attribute: str = "name") -> Callable[[str, object], str | None]:
    """A check for ``Registry``: instances of a type whose name is the one under which they are registered."""

    def wrong(name: str, thing: object) -> str | None:
        if not isinstance(thing, expected):
            article = "an" if expected.__name__[0] in "AEIOU" else "a"
            return f"it is of type {type(thing).__name__}, not {article} {expected.__module__}.{expected.__name__}"
        called = getattr(thing, attribute)
        return None if called == name else f"it calls itself {called!r}"

    return wrong


def _entries(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    return _read(group, tuple(sys.path))


@cache
def _read(group: str, path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of a group by name; several of one name are kept, so that they can be refused by it."""
    entries: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, entry.value)):
        known = entries.get(entry.name, ())
        if all(_origin(entry) != _origin(other) or entry.value != other.value for other in known):
            entries[entry.name] = (*known, entry)
    return entries


@cache
def _loaded(entry: EntryPoint) -> object:
    """The object, or the exception that its import raised."""
    try:
        return entry.load()
    except Exception as error:
        return error


def _origin(entry: EntryPoint) -> str:
    package = f"the package {entry.dist.name!r} {entry.dist.version}" if entry.dist else "a package"
    return f"{package} ({entry.value})"
