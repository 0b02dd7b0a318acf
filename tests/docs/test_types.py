"""The Python of the documents passes ``mypy --strict`` in a user's project, where Understudy is an installed package.

Every page becomes one module in a folder of its own, outside of the repository: what mypy knows about Understudy is
what ``understudy/py.typed`` lets it read.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, name, pages_with

CONFIG = """\
[mypy]
strict = True
# The blocks of a page are examples one after the other: a later one may use a name for something else.
allow_redefinition = True
# Parts of torch have no types, and of packages that are not installed here mypy knows none.
untyped_calls_exclude = torch
disallow_subclassing_any = False
[mypy-timm.*,torchvision.*,transformers.*,lightning.*,accelerate.*]
ignore_missing_imports = True
"""
PENDING: list[str] = []


def module(page: Path) -> str:
    """The code of a page, on the lines on which it stands there."""
    lines: list[str] = []
    for line, code in blocks(page, "python", "python no-run"):
        lines += [""] * (line - 1 - len(lines)) + code.splitlines()
    return "\n".join(lines) + "\n"


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "understudy" / "py.typed").is_file()
    assert "Typing :: Typed" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_python_of_the_documents_passes_mypy_strict(tmp_path: Path) -> None:
    (tmp_path / "mypy.ini").write_text(CONFIG)
    files = {}
    for page in pages_with("python", "python no-run"):
        if name(page) in PENDING:
            continue
        file = tmp_path / (name(page).removesuffix(".md").replace("/", "_").replace("-", "_").lower() + "_md.py")
        file.write_text(module(page))
        files[file.name] = name(page)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache" / "documents"), *files]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    report = run.stdout
    for file, page in files.items():
        report = report.replace(file, page)
    assert run.returncode == 0, report + run.stderr
