"""Other libraries, one file each: a name, and ``loops(work)`` with its trainings by kind ("kd", "hint", "stored kd").

Each is used as its documentation says and left in its own settings. To measure one more, add a file.
"""

import contextlib
import importlib
import pkgutil
import sys
import warnings
from collections.abc import Iterator

from benchmarks.workload import Loop, Work


def installed() -> list[str]:
    """The names of those that can be imported here."""
    return [name for name in _files() if load(name) is not None]


def loops(name: str, work: Work) -> dict[str, Loop]:
    module = load(name)
    assert module is not None, name
    with quiet():
        found: dict[str, Loop] = module.loops(work)
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Their warnings are not what is measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _files() -> list[str]:
    return sorted(found.name for found in pkgutil.iter_modules(__path__))


def load(name: str):  # type: ignore[no-untyped-def]
    """Its file, which imports it; None where it is not installed."""
    try:
        with quiet():
            return importlib.import_module(f"{__name__}.{name}")
    except ImportError as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return None
