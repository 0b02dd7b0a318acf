"""Names of a package that are imported when they are first used (PEP 562)."""

import importlib
import sys
from collections.abc import Callable, Mapping


def lazily(package: str, places: Mapping[str, str]) -> Callable[[str], object]:
    """The ``__getattr__`` of a package whose names stand in other modules.

    Type checkers do not run it: the package imports the same names under ``if TYPE_CHECKING``.

    Args:
        package: its ``__name__``.
        places: for each name ``"MODULE:NAME"``, or ``"MODULE"`` where the name stands for the module itself.

    >>> lazily("collections", {"odd": "understudy.errors:UserError"})("even")
    Traceback (most recent call last):
    AttributeError: module 'collections' has no attribute 'even'
    """

    def imported(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = places[name].partition(":")
        value: object = importlib.import_module(module)
        if attribute:
            value = getattr(value, attribute)
        setattr(sys.modules[package], name, value)
        return value

    return imported
