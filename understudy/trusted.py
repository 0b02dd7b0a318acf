"""The user's own code by name: ``MODULE:FACTORY``, imported only if the user named the module.

A recipe may come from somebody else: it must not run code. Each function here takes the modules that the
user trusts, given by ``--trust MODULE``.
"""

import importlib
import os
import sys
import traceback
import types
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

from understudy.errors import UserError, did_you_mean

T = TypeVar("T")


USED: set[str] = set()  # the names that were given and asked for in this process


def call_factory(name: str, trusted: Collection[str], subject: str, use: Callable[[Callable[..., object]], T]) -> T:
    """``use(factory)`` for the factory of ``MODULE:FACTORY``, while the current directory can be imported from.

    Args:
        name: ``MODULE:FACTORY``.
        trusted: modules whose code may run (with all below them).
        subject: the kind of object in messages, such as ``network``.
        use: called with the factory; what it raises becomes a ``UserError`` with file and line.
    """
    called = f"{subject} {name!r}"
    module_name, _, factory_name = name.partition(":")
    if not module_name or not factory_name.isidentifier() or factory_name.startswith("_"):
        raise UserError(f"{called}: write MODULE:FACTORY, as in 'mypackage.mymodule:make'")
    ask_for_trust(module_name, trusted, f"{called} is code of the module {module_name!r}")
    with current_directory_importable():
        module = _imported(module_name, called)
        factory = getattr(module, factory_name, None)
        if not callable(factory):
            factories = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise UserError(
                f"module {module_name!r} has no factory {factory_name!r}{did_you_mean(factory_name, factories)}"
            )
        # Otherwise a recipe could call everything that the trusted module imports, os.system included.
        if isinstance(factory, (types.FunctionType, types.BuiltinFunctionType, type)):
            home = factory.__module__
            ask_for_trust(home, trusted, f"{called} comes from the module {home!r}")
        return answered(called, lambda: use(factory))


def ask_for_trust(module: str, trusted: Collection[str], fact: str) -> None:
    """A ``UserError`` that starts with ``fact`` and names the option, unless the module is trusted."""
    matching = [name for name in trusted if module == name or module.startswith(f"{name}.")]
    USED.update(matching)
    if not matching:
        raise UserError(
            f"{fact}, and a recipe runs no code that you have not named; if you trust it, add: --trust {module}"
        )


@contextmanager
def current_directory_importable() -> Iterator[None]:
    """As with ``python -m``: for an installed command, the current directory is not on the path."""
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def answered(called: str, make: Callable[[], T]) -> T:
    """The result of ``make``; an exception becomes a ``UserError`` with its file and line."""
    try:
        return make()
    except UserError:
        raise
    except Exception as error:
        raise _failed(called, error) from error


def _imported(module: str, called: str) -> types.ModuleType:
    importlib.invalidate_caches()  # the file may be new
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and (module == error.name or module.startswith(f"{error.name}.")):
            raise UserError(f"{called}: no module {module!r}, neither installed nor in {os.getcwd()}") from error
        raise _failed(called, error) from error
    except Exception as error:
        raise _failed(called, error) from error


def _failed(called: str, error: Exception) -> UserError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return UserError(f"{called}: {type(error).__name__}: {error} ({last.filename}, line {last.lineno})")
