"""The Python of the documents passes ``mypy --strict`` in a user's project, where Understudy is an installed package.

Every page becomes one module in a folder of its own, outside of the repository: what mypy knows about Understudy is
what ``understudy/py.typed`` lets it read.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.docs.pages import ROOT, blocks, name, pages_with

# The blocks of a page are examples one after the other: a later one may use a name for something else. Of packages that
# are not installed here mypy knows no types.
PAGES = """
[mypy-{modules}]
allow_redefinition = True
disallow_subclassing_any = False
"""


def configuration() -> str:
    """The project's own options, from pyproject.toml."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    lines = ["[mypy]", f"strict = {options['strict']}", f"allow_untyped_calls = {options['allow_untyped_calls']}"]
    for section in options["overrides"]:
        lines += [
            f"[mypy-{','.join(section['module'])}]",
            f"ignore_missing_imports = {section['ignore_missing_imports']}",
        ]
    return "\n".join(lines)


def module(page: Path) -> str:
    """The code of a page, on the lines on which it stands there."""
    lines: list[str] = []
    for line, code in blocks(page, "python", "python no-run"):
        lines += [""] * (line - 1 - len(lines)) + code.splitlines()
    return "\n".join(lines) + "\n"


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "understudy" / "py.typed").is_file()
    assert "Typing :: Typed" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_python_of_the_documents_passes_mypy_strict(tmp_path: Path) -> None:
    files = {}
    for page in pages_with("python", "python no-run"):
        file = tmp_path / (name(page).removesuffix(".md").replace("/", "_").replace("-", "_").lower() + "_md.py")
        file.write_text(module(page))
        files[file.name] = name(page)
    modules = ",".join(file.removesuffix(".py") for file in files)
    (tmp_path / "mypy.ini").write_text(configuration() + PAGES.format(modules=modules))
    # What `make types` has found out about the package is read, not found out again.
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache"), *files]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    report = run.stdout
    for file, page in files.items():
        report = report.replace(file, page)
    assert run.returncode == 0, report + run.stderr
