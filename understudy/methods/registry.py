"""Which methods and terms there are: they are found in the modules beside this one and in installed packages."""

import pkgutil
from collections.abc import Iterator, MutableMapping
from functools import cache
from importlib import import_module
from types import ModuleType

from understudy import methods as package
from understudy.errors import UserError, did_you_mean
from understudy.methods.method import Method
from understudy.objective.labels import CE
from understudy.objective.term import Term

_NO_METHODS = {"costs", "method", "notation", "registry", "shared"}


class Methods(MutableMapping[str, Method]):
    """All methods by name: by family, then year, then name.

    They are looked for at the first question. A program may add one of its own, or take one out:
    ``METHODS["mine"] = Method(...)``.
    """

    def __init__(self) -> None:
        self._known: dict[str, Method] | None = None

    def __getitem__(self, name: str) -> Method:
        return self._all()[name]

    def __setitem__(self, name: str, method: Method) -> None:
        self._all()[name] = method

    def __delitem__(self, name: str) -> None:
        del self._all()[name]

    def __iter__(self) -> Iterator[str]:
        known = self._all()
        return iter(sorted(known, key=lambda name: (known[name].family, known[name].year, name)))

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Method]:
        if self._known is None:
            own = {method.name: method for module in own_modules() for method in _defined(module, Method)}
            self._known = own | _of_other_packages(own)
        return self._known


METHODS = Methods()


def find(name: str) -> Method:
    """A method by its name.

    >>> find("fitnets").year
    2015
    """
    if name not in METHODS:
        raise UserError(f"there is no method {name!r}{did_you_mean(name, METHODS)}")
    return METHODS[name]


def known_terms() -> dict[str, type[Term]]:
    """The terms by the names that recipes write: those of this package, and those of the methods that were added."""
    from understudy import _terms  # until every term stands with its method

    old = (import_module(f"{_terms.__name__}.{module.name}") for module in pkgutil.iter_modules(_terms.__path__))
    modules = (*own_modules(), *old)
    terms = {term.__name__: term for term in (CE, *(t for module in modules for t in _terms_in(module)))}
    added = {method.term.__name__: method.term for method in METHODS.values() if method.term}
    return dict(sorted({**added, **terms}.items()))


@cache
def own_modules() -> tuple[ModuleType, ...]:
    """The modules of the methods of this package."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in _NO_METHODS]
    return tuple(import_module(f"{package.__name__}.{name}") for name in sorted(names))


def _of_other_packages(own: dict[str, Method]) -> dict[str, Method]:
    """The methods of installed packages: entry points of the group ``understudy.methods``."""
    return {}


def _defined(module: ModuleType, kind: type[Method]) -> Iterator[Method]:
    return (thing for thing in vars(module).values() if isinstance(thing, kind))


def _terms_in(module: ModuleType) -> Iterator[type[Term]]:
    for name, thing in vars(module).items():
        own = isinstance(thing, type) and issubclass(thing, Term) and thing.__module__ == module.__name__
        if own and not name.startswith("_"):
            yield thing
