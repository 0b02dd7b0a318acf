"""Other libraries, one file each: a name, and ``loops(work)``: how its trainings are made, by kind ("kd", "hint").

Each is used as its documentation says and left in its own settings. To measure one more, add a file. What is no package
is measured where a checkout of it is named.
"""

import contextlib
import importlib
import importlib.metadata
import os
import pkgutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.workload import Loop, Work

CHECKOUTS = ("mdistiller", "repdistiller")  # which are no packages
PACKAGES = {"modelopt": "nvidia-modelopt"}  # whose names differ
_CHECKOUT = "BENCHMARKS_CHECKOUT_"  # in the environment, where measurements in processes of their own find it, too


def installed() -> list[str]:
    """The names of those that can be imported here."""
    return [name for name in names() if load(name) is not None]


def names() -> list[str]:
    return sorted(found.name for found in pkgutil.iter_modules(__path__))


def loops(name: str, work: Work) -> dict[str, Loop]:
    """All of its trainings."""
    return {kind: loop(name, work, kind) for kind in kinds(name, work)}


def kinds(name: str, work: Work) -> list[str]:
    return list(_makers(name, work))


def loop(name: str, work: Work, kind: str) -> Loop:
    """One of its trainings; what the others need is not there."""
    with quiet():
        return _makers(name, work)[kind]()


def _makers(name: str, work: Work) -> dict[str, Callable[[], Loop]]:
    module = load(name)
    assert module is not None, name
    found: dict[str, Callable[[], Loop]] = module.loops(work)
    return found


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Their warnings are not what is measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load(name: str) -> Any:
    """Its file, which imports it; None where it is not installed."""
    try:
        with quiet():
            return importlib.import_module(f"{__name__}.{name}")
    except ImportError as error:
        print(f"{name} is left out: {error}", file=sys.stderr)
        return None


def name_checkout(name: str, folder: Path) -> None:
    os.environ[_CHECKOUT + name] = str(folder.resolve())


def from_checkout(name: str, *modules: str) -> list[Any]:
    """Modules of a library that is no package, by their names in its checkout."""
    folder = os.environ.get(_CHECKOUT + name)
    if folder is None:
        raise ImportError(f"no checkout is named (--checkout {name}=FOLDER)")
    if folder not in sys.path:
        sys.path.append(folder)
    return [importlib.import_module(module) for module in modules]


def version(name: str) -> str:
    """Of the package, or the commit of the checkout."""
    folder = os.environ.get(_CHECKOUT + name)
    if folder is None:
        return importlib.metadata.version(PACKAGES.get(name, name))
    commit = subprocess.run(["git", "-C", folder, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return commit.stdout.strip() or "without a commit"
