"""Which code a training uses: a hash of the source files whose change may change its result.

From the training itself, its terms and networks, the imports are followed through the package. Lists of what
there is (all methods, all terms, all losses) are looked through: a name that is imported from one leads to the file in
which it is defined, so that a new method makes no other one's result stale.
"""

import ast
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import understudy
from understudy import methods
from understudy.models import catalogue
from understudy.models.outside import is_library
from understudy.plans.own_code import own_files
from understudy.stage import Stage

ROOT = Path(understudy.__file__).parent.parent
BEGIN = "understudy.plans.training"
LISTS = {
    "understudy",
    "understudy.data",
    "understudy.data.catalogue",  # what the readers answered with is in the key by its content
    "understudy.losses",
    "understudy.methods",
    "understudy.models",
    "understudy.models.catalogue",
    "understudy.methods.notation",
    "understudy.methods.registry",
    "understudy.terms",
}
APART = (  # decide no weight
    "understudy.errors",
    "understudy.measure",
    "understudy.plans",
    "understudy.recipe",
    "understudy.plans.key",
    "understudy.training.interrupt",
    "understudy.training.preflight",
    "understudy.training.watch",
)


def code_version(method: str, stages: Sequence[Stage], networks: Sequence[str]) -> str:
    """A hash of all code that a training by this method uses, the user's own networks included."""
    whole = hashlib.sha256()
    for module in sorted(modules_used(method, stages, networks)):
        whole.update(f"{module} {_digest(_file(module))} ".encode())
    for name in sorted({name for name in networks if ":" in name}):
        whole.update(f"{name} {_outside(name)} ".encode())
    return whole.hexdigest()


def modules_used(method: str, stages: Sequence[Stage], networks: Sequence[str]) -> set[str]:
    """The modules of this package from the training's own on; what only lists things is left out."""
    chosen = methods.find(method)
    roots = {BEGIN, *([chosen.grafts.__module__] if chosen.grafts else [])}  # its stages say all else that it does
    for part in (part for stage in stages for part in stage.objective.parts):
        roots |= {type(thing).__module__ for thing in (part.term, part.schedule) if thing is not None}
    roots |= {catalogue.family_of(name)[0].make.__module__ for name in networks if ":" not in name}
    found: set[str] = set()
    waiting = {root for root in roots if root.startswith("understudy.")}
    while waiting:
        module = waiting.pop()
        if module not in found | LISTS and not module.startswith(APART):
            found.add(module)
            waiting |= _imports(module)
    return found


@cache
def _imports(module: str) -> frozenset[str]:
    """The modules of this package from which a module takes something, looked for behind the lists."""
    tree = ast.parse(_file(module).read_bytes())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "understudy":
            for alias in node.names:
                home = _home(node.module, alias.name)
                found |= _of_list(home, alias.asname or alias.name, tree) if home in LISTS else {home}
    return frozenset(found)


def _of_list(module: str, called: str, tree: ast.Module) -> set[str]:
    """Where the things are defined that are used as ``called.thing``, as in ``losses.kd``."""
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == called
    }
    return {_home(module, name) for name in used}


@cache
def _home(module: str, name: str) -> str:
    """The module that ``from module import name`` leads to: itself, one within it, or the one behind a list."""
    if _exists(f"{module}.{name}"):
        return f"{module}.{name}"
    if module in LISTS:
        for node in ast.walk(ast.parse(_file(module).read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module != module:
                for alias in node.names:
                    if name == (alias.asname or alias.name):
                        return _home(node.module, alias.name)
    return module


def _exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    alone = path.with_suffix(".py")
    return alone if alone.is_file() else path / "__init__.py"


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _outside(name: str) -> str:
    """A library's version, or the hashes of the user's own module and of what it imports from beside it.

    They are not kept, as the package's own are: the user may be at work on them.
    """
    library, _, _ = name.removeprefix("python:").partition(":")
    if is_library(name):
        try:
            return version(library)
        except PackageNotFoundError:
            return "missing"
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in own_files(library)) or "missing"
