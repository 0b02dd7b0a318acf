"""Write the lists that follow from the methods: the imports of losses.py and terms.py, and their pages of the API.

Usage: python scripts/lists.py [--check]

A method is one file; these lists are made from it. With ``--check`` nothing is written, and the exit code is 1 where a
list is not up to date.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "understudy"
FIRST = ("CE", "Labels", "KD", "Hint")  # the terms that the page begins with
HELPERS = ("bn_margin", "select_neurons")  # functions with a reference that are no losses
FURTHER = {
    "cross_entropy": "understudy.objective.labels",
    "feature_mse": "understudy.methods.shared.maps",
    "output_distance": "understudy.methods.outputs",
}
OF_THE_TERM = ("Expression", "Facts", "Reading", "Reads", "Shapes", "Sum", "Term", "as_sum")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, and exit with 1 where a list is old")
    check = parser.parse_args().check
    old = [path for path, text in texts().items() if path.read_text(encoding="utf-8") != text]
    for path in old:
        print(f"{path.relative_to(ROOT)}: {'not up to date: run python scripts/lists.py' if check else 'written'}")
        if not check:
            path.write_text(texts()[path], encoding="utf-8")
    return int(check and bool(old))


def texts() -> dict[Path, str]:
    """Each file and what it ought to hold."""
    losses, terms = dict(public_losses()) | FURTHER, dict(public_terms())
    imported = terms | dict.fromkeys(OF_THE_TERM, "understudy.objective.term")
    pages = ROOT / "docs" / "api"
    return {
        PACKAGE / "losses.py": with_imports(PACKAGE / "losses.py", losses),
        PACKAGE / "terms.py": with_imports(PACKAGE / "terms.py", imported),
        pages / "losses.md": with_members(pages / "losses.md", sorted(losses)),
        pages / "terms.md": with_entries(pages / "terms.md", terms),
    }


def public_losses() -> Iterator[tuple[str, str]]:
    """Losses and their modules: functions that name their reference and give tensors."""
    for module, node in definitions():
        gives_tensor = isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns) == "Tensor"
        if gives_tensor and "Reference:" in (ast.get_docstring(node) or "") and node.name not in HELPERS:
            yield node.name, module


def public_terms() -> Iterator[tuple[str, str]]:
    """Terms and their modules: classes with a ``loss``, outside of what several methods share."""
    for module, node in definitions():
        has_loss = any(isinstance(part, ast.FunctionDef) and part.name == "loss" for part in node.body)
        shared = module.startswith("understudy.methods.shared")
        if isinstance(node, ast.ClassDef) and not shared and (has_loss or node.name == "CE"):
            yield node.name, module


def definitions() -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """The public functions and classes of the methods and of the labels."""
    for path in (PACKAGE / "objective" / "labels.py", *sorted((PACKAGE / "methods").rglob("*.py"))):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                yield module, node


def with_imports(path: Path, names: dict[str, str]) -> str:
    """The file with one import for each name, in the order of the formatter."""
    lines = path.read_text(encoding="utf-8").splitlines()
    places = [number for number, line in enumerate(lines) if line.startswith("from understudy.")]
    ordered = sorted(names.items(), key=lambda item: (item[1], _rank(item[0])))
    imports = [f"from {module} import {name} as {name}" for name, module in ordered]
    return "\n".join([*lines[: places[0]], *imports, *lines[places[-1] + 1 :]]) + "\n"


def _rank(name: str) -> tuple[int, str]:
    """As the formatter sorts imported names: constants, classes, functions."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


def with_members(path: Path, names: list[str]) -> str:
    text = path.read_text(encoding="utf-8")
    return re.sub(r"members: \[[^\]]*\]", f"members: [{', '.join(names)}]", text, count=1)


def with_entries(path: Path, terms: dict[str, str]) -> str:
    """The page with one entry for each term, before the contract of a term."""
    text = path.read_text(encoding="utf-8")
    entries = "\n\n".join(f"::: understudy.terms.{name}" for name in (*FIRST, *sorted(set(terms) - set(FIRST))))
    return f"{text[: text.index('::: ')]}{entries}\n\n{text[text.index('## The contract') :]}"


if __name__ == "__main__":
    sys.exit(main())
