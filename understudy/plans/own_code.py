"""The user's code that a training uses: modules, and all files that these import from the same folder tree.

Imports are parsed, not executed, and followed within the folder tree in which Python finds the module. Installed
packages and the standard library are not followed.
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from functools import cache, partial
from importlib.machinery import ModuleSpec, all_suffixes
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from understudy.models.outside import is_library
from understudy.trusted import current_directory_importable

_INSTALLED = ("site-packages", "dist-packages")
_BY_NAME = {"import_module", "__import__", "iter_modules", "walk_packages"}  # their imports are known only at run time


def source_of(network: str) -> str | None:
    """The code that may change the results of a network by name: a library's version, or the hashes of own files.

    They are not cached, since the user may edit the files.
    """
    library, colon, _ = network.removeprefix("python:").partition(":")
    if not colon:
        return None
    if is_library(network):
        return _version(library) or "missing"
    return _hashed(own_files(library)) or "missing"


def code_of(things: Iterable[object], *, versions: bool = True) -> dict[str, str]:
    """The modules outside this package and PyTorch in which types and functions are defined.

    An installed package counts by its version, other modules by the hashes of their files and of what these import from
    beside them, and what is defined in a script or a notebook by its own source.

    Args:
        versions: false, where installed packages count by the hashes of their files, too.
    """
    hashes: dict[str, str] = {}
    for thing in things:
        while isinstance(thing, partial):
            thing = thing.func
        module = getattr(thing, "__module__", None) or "builtins"
        top = module.partition(".")[0]
        if top in ("understudy", "torch", "builtins") or top in sys.stdlib_module_names - {"__main__"}:
            continue
        if module in ("__main__", "__mp_main__"):
            name = getattr(thing, "__qualname__", type(thing).__name__)
            hashes[f"__main__:{name}"] = hashlib.sha256(_source(thing).encode()).hexdigest()
        elif module not in hashes:
            hashes[module] = (_version(top) if versions else None) or _hashed(own_files(module)) or "unknown"
    return dict(sorted(hashes.items()))


def _source(thing: object) -> str:
    try:
        return inspect.getsource(thing) if callable(thing) else repr(thing)
    except (OSError, TypeError):  # typed at a prompt
        return repr(getattr(getattr(thing, "__code__", None), "co_code", None))


def _version(top: str) -> str | None:
    """The version of an installed package; None for a module in the user's own folder."""
    spec = _spec(top)
    if spec is None or spec.origin is None or not _is_installed(Path(spec.origin).parent.parent):
        return None
    try:
        return version(top)
    except PackageNotFoundError:
        return None


def _hashed(paths: Iterable[Path]) -> str:
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)


def own_files(module: str) -> list[Path]:
    """The files that influence a module, in a fixed order; none where it is not found."""
    spec = _spec(module.partition(".")[0])
    if spec is None:
        return []
    if not spec.has_location or spec.origin is None:  # a folder without __init__.py, or no file at all
        roots = [Path(folder).parent for folder in spec.submodule_search_locations or ()]
        return next((files for root in roots if (files := _followed(root, module))), [])
    origin = Path(spec.origin)
    package = origin.name == "__init__.py"
    root = origin.parent.parent if package else origin.parent
    if _is_installed(root):
        return sorted(origin.parent.rglob("*.py")) if package else [origin]
    return sorted({*([origin] if origin.is_file() else []), *_followed(root, module)})


def _spec(top: str) -> ModuleSpec | None:
    """The place where Python would find the module, as for building the network."""
    importlib.invalidate_caches()  # the file may be new
    with current_directory_importable():
        try:
            return importlib.util.find_spec(top)
        except ValueError:  # a module without a spec
            return None


def _is_installed(root: Path) -> bool:
    return root.name in _INSTALLED or root == Path(sysconfig.get_path("stdlib"))


def _followed(root: Path, module: str) -> list[Path]:
    """The module's files and those of all that they import, directly or not, below ``root``."""
    files: set[Path] = set()
    names, waiting = {module}, set(_files(root, module))
    while waiting:
        path = waiting.pop()
        files.add(path)
        package = path.parent.relative_to(root).parts
        imported, by_name = _imported(path.read_bytes(), package)
        for name in imported - names:
            waiting |= set(_files(root, name)) - files
        names |= imported  # looked for once, however many files import them
        if by_name and package:
            waiting |= set((root / package[0]).rglob("*.py")) - files
    return sorted(files)


def _files(root: Path, module: str) -> Iterator[Path]:
    """The files that are read to import ``a.b.c``: ``a``, ``a.b`` and ``a.b.c``, where they are below ``root``."""
    folder = root
    for part in module.split("."):
        for path in (folder / part / "__init__.py", *(folder / (part + suffix) for suffix in all_suffixes())):
            if path.is_file():
                yield path
                break
        folder = folder / part


@cache
def _imported(source: bytes, package: tuple[str, ...]) -> tuple[frozenset[str], bool]:
    """The modules that a file may import, and whether it imports others by names that are computed at run time."""
    try:
        with warnings.catch_warnings(action="ignore"):  # importing the file shows them as well
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # a compiled module, or an unfinished file
        return frozenset(), False
    modules: set[str] = set()
    called: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            home = ".".join([*above, *([node.module] if node.module else [])])
            modules |= {f"{home}.{alias.name}".removeprefix(".") for alias in node.names}
        elif isinstance(node, ast.Name):
            called.add(node.id)
        elif isinstance(node, ast.Attribute):
            called.add(node.attr)
    ours = {name for name in modules if name.partition(".")[0] == "understudy"}  # where that lies in the same folder
    return frozenset(modules - ours), bool(called & _BY_NAME)
