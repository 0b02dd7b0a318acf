"""Which methods and terms there are: they are found in the modules beside this one and in installed packages.

Methods are listed by family, then year, then name. A program may add one of its own, ``METHODS["mine"] = Method(...)``,
and take one out.
"""

import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import ModuleType

from understudy import methods as package
from understudy import plugins
from understudy.methods.method import Method
from understudy.objective.labels import CE
from understudy.objective.term import Term
from understudy.plugins import Registry

_NO_METHODS = {"costs", "method", "notation", "registry", "shared"}


def _own() -> dict[str, Method]:
    things = (thing for module in own_modules() for thing in vars(module).values())
    return {thing.name: thing for thing in things if isinstance(thing, Method)}


def _place(method: Method) -> tuple[str, int, str]:
    return method.family, method.year, method.name


METHODS = Registry("method", plugins.METHODS, _own, plugins.of_type(Method), order=_place)


def find(name: str) -> Method:
    """A method by its name.

    >>> find("fitnets").year
    2015
    """
    return METHODS.find(name)


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


def _terms_in(module: ModuleType) -> Iterator[type[Term]]:
    for name, thing in vars(module).items():
        if not isinstance(thing, type) or name.startswith("_"):
            continue
        if issubclass(thing, Term) and thing.__module__ == module.__name__:
            yield thing
