"""The methods and terms of the modules beside this one, and of installed packages."""

import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import ModuleType

from understudy import methods as package
from understudy import plugins
from understudy.methods.method import Method
from understudy.objective.labels import CE, Labels
from understudy.objective.term import Term
from understudy.tasks.task import Task

_NO_METHODS = {"costs", "listing", "method", "notation", "registry", "shared"}


def _own_methods() -> dict[str, Method]:
    return {method.name: method for module in own_modules() for method in _defined(module, Method)}


METHODS: plugins.Registry[Method] = plugins.Registry(
    "method",
    plugins.METHODS,
    _own_methods,
    plugins.of_type(Method),
    order=lambda method: (method.family, method.year, method.name),
)
"""All methods by name, in the order of family, year and name; looked for at the first question.

A program may add one of its own, or take one out: ``METHODS["mine"] = Method(...)``.
"""


FIRST = 8  # methods that a message proposes


def find(name: str | Method) -> Method:
    """A method by its name; a method itself is returned as it is.

    >>> find("fitnets").year
    2015
    """
    return name if isinstance(name, Method) else METHODS.find(name)


def fitting(task: Task) -> list[str]:
    """The names of the methods that have a meaning for a task, at their defaults.

    >>> from understudy.tasks import Regression
    >>> "fitnets-joint" in fitting(Regression()), "kd" in fitting(Regression())
    (True, False)
    """
    return [name for name, method in METHODS.items() if method.family != "own" and method.unfit(task) is None]


def proposed(task: Task) -> str:
    """The first methods that have a meaning for a task, and the command that lists all of them.

    >>> from understudy.tasks import Regression
    >>> proposed(Regression()).startswith("alone, fitnets")
    True
    """
    names = fitting(task)
    more = f", and {len(names) - FIRST} more (understudy methods --task {task.name})" if len(names) > FIRST else ""
    return ", ".join(names[:FIRST]) + more


def known_terms() -> dict[str, type[Term]]:
    """The terms by the names that recipes write: those of this package, and those of the methods that were added."""
    own: list[type[Term]] = [CE, Labels, *(term for module in own_modules() for term in _terms_in(module))]
    terms = {term.__name__: term for term in own}
    added = {method.term.__name__: method.term for method in METHODS.values() if method.term}
    return dict(sorted({**added, **terms}.items()))


def notation(part: str) -> str:
    """What recipes call a part of an objective, which records name in small letters.

    >>> notation("rkddistance"), notation("hint2"), notation("of a plugin")
    ('RKDDistance', 'Hint 2', 'of a plugin')
    """
    names = {name.lower(): name for name in known_terms()}
    stem = part.rstrip("0123456789")
    if part in names:
        return names[part]
    return f"{names[stem]} {part.removeprefix(stem)}" if stem in names else part


@cache
def own_modules() -> tuple[ModuleType, ...]:
    """The modules of the methods of this package."""
    names = [module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in _NO_METHODS]
    return tuple(import_module(f"{package.__name__}.{name}") for name in sorted(names))


def _defined(module: ModuleType, kind: type[Method]) -> Iterator[Method]:
    return (thing for thing in vars(module).values() if isinstance(thing, kind))


def _terms_in(module: ModuleType) -> Iterator[type[Term]]:
    for name, thing in vars(module).items():
        own = isinstance(thing, type) and issubclass(thing, Term) and thing.__module__ == module.__name__
        if own and not name.startswith("_"):
            yield thing
