"""The methods' entries, read from the source of their modules without importing it.

The list of methods therefore needs neither PyTorch nor a second place that names them: a method is found in its file as
``NAME = Method(...)`` or ``NAME = one_stage(...)``. A test compares this list with the methods themselves.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from understudy import plugins

_MAKERS = {"Method": "stages", "one_stage": "term"}  # and the name of their second argument


@dataclass(frozen=True)
class Listed:
    """The entries of a method in a table."""

    name: str
    family: str
    year: int
    paper: str
    summary: str


def listed() -> list[Listed]:
    """The methods of this package, in the order of family, year and name.

    >>> [method.name for method in listed() if method.year < 2015]
    ['alone', 'pseudo-labels', 'logit-regression']
    """
    paths = sorted(Path(__file__).parent.glob("*.py"))
    methods = [method for path in paths for method in _methods_in(path)]
    return sorted(methods, key=lambda method: (method.family, method.year, method.name))


def added() -> bool:
    """Whether other packages register methods, which are known only when they are imported."""
    return bool(plugins.registered(plugins.METHODS))


def _methods_in(path: Path) -> Iterator[Listed]:
    source = path.read_text(encoding="utf-8")
    if not any(f"{maker}(" in source for maker in _MAKERS):
        return
    module = ast.parse(source)
    for statement in module.body:
        call = statement.value if isinstance(statement, ast.Assign) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in _MAKERS:
            yield _method(call, call.func.id, module, path)


def _method(call: ast.Call, maker: str, module: ast.Module, path: Path) -> Listed:
    constants = _constants(module)
    given: dict[str, ast.expr] = {word.arg: word.value for word in call.keywords if word.arg}
    given |= dict(zip(("name", _MAKERS[maker]), call.args, strict=False))

    def text(name: str) -> str:
        return str(_value(given[name], constants))

    doc = text("doc") if "doc" in given else _described(given, module, path)
    year = _value(given["year"], constants)
    return Listed(text("name"), text("family"), int(str(year)), text("paper"), inspect.cleandoc(doc).partition("\n")[0])


def _described(given: dict[str, ast.expr], module: ast.Module, path: Path) -> str:
    """The docstring of the function of stages, or that of the module that defines the term or the stages."""
    functions = {one.name: ast.get_docstring(one) for one in module.body if isinstance(one, ast.FunctionDef)}
    stages = given.get("stages")
    if isinstance(stages, ast.Name) and (doc := functions.get(stages.id)):
        return doc
    made_of = given.get("term", stages)
    for statement in (one for one in module.body if isinstance(one, ast.ImportFrom)):
        names = [alias.asname or alias.name for alias in statement.names]
        if isinstance(made_of, ast.Name) and made_of.id in names:
            other = path.parent.parent.joinpath(*str(statement.module).split(".")[1:]).with_suffix(".py")
            return ast.get_docstring(ast.parse(other.read_text(encoding="utf-8"))) or ""
    return ast.get_docstring(module) or ""


def _constants(module: ast.Module) -> dict[str, object]:
    """Names of the module that are bound to plain values, such as the title of a paper."""
    constants: dict[str, object] = {"__doc__": ast.get_docstring(module, clean=False) or ""}
    for statement in module.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            constants |= {name.id: statement.value.value for name in statement.targets if isinstance(name, ast.Name)}
    return constants


def _value(node: ast.expr, constants: dict[str, object]) -> object:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(_value(part, constants)) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _value(node.value, constants)
    return constants[node.id] if isinstance(node, ast.Name) else ast.literal_eval(node)
