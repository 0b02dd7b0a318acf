"""The structure of the package: what ``docs/design.md`` says about the order of the imports is true of every file."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import understudy

PACKAGE = Path(understudy.__file__).parent
DESIGN = Path(__file__).parents[1] / "docs" / "design.md"


def listed() -> list[str]:
    """The entries of the top level, from the lowest to the highest, as the design lists them."""
    _, _, rest = DESIGN.read_text(encoding="utf-8").partition("Each line imports only from lines above it.")
    block = rest.split("```")[1]
    return [re.split(r"[./ ]", line)[0] for line in block.splitlines()[1:] if line]


ORDER = {name: place for place, name in enumerate(listed())}
FILES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


DEFERRED = {  # imported inside functions, as the design says
    "runs/distill.py": {"export", "report"},
    "runs/shown.py": {"cli"},
}


def imported(tree: ast.AST) -> Iterator[str]:
    """The parts of the package that a file imports, also inside functions, but not for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "understudy":
            names = node.module.split(".")[1:2] or [alias.name for alias in node.names]
            yield from names
        yield from imported(node)


def test_the_design_lists_every_part():
    parts = {part(path) for path in FILES} | {"py", "demo"}
    assert set(ORDER) == parts


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_what_stands_above_it(path):
    here = part(path)
    if here in ("__init__", "__main__"):
        return
    names = {name for name in imported(ast.parse(path.read_text(encoding="utf-8"))) if name != here}
    higher = {name for name in names if ORDER.get(name, -1) > ORDER[here]}
    assert higher == DEFERRED.get(path.relative_to(PACKAGE).as_posix(), set())


def test_a_line_too_many_is_seen():
    assert list(imported(ast.parse("def f():\n    from understudy.cli import app"))) == ["cli"]
    assert list(imported(ast.parse("from understudy import runs, taps"))) == ["runs", "taps"]
