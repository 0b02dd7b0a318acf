"""The package of docs/plugins.md, installed: a recipe, ``--method``, Python and the list of methods use it."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
FILE = re.compile(r'^```\w+ title="(?P<name>[^"]+)"\n(?P<text>.*?)^```$', re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the package lies as pip leaves it: modules, and a dist-info folder with the entry points."""
    folder = tmp_path_factory.mktemp("installed")
    files = {file["name"]: file["text"] for file in FILE.finditer(PAGE.read_text(encoding="utf-8"))}
    project = tomllib.loads(files.pop("pyproject.toml"))["project"]
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "understudy_shapes" / "__init__.py").touch()
    install_by_hand(folder, project["name"], project["version"], project["entry-points"])
    return folder


def install_by_hand(folder: Path, name: str, version: str, groups: dict[str, dict[str, str]]) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [line for group, entries in groups.items() for line in (f"[{group}]", *map(" = ".join, entries.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


def understudy(installed: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own that sees the package."""
    paths = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "understudy", *map(str, arguments)]
    return subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True, check=False)


def test_a_recipe_trains_by_all_of_it(installed: Path, tmp_path: Path) -> None:
    done = understudy(installed, "distill", "recipe.toml", "--out", tmp_path / "run", "--no-check")
    assert done.returncode == 0, done.stderr
    described = json.loads((tmp_path / "run" / "student.json").read_text())
    assert "turtle4" in json.dumps(described)


def test_the_method_goes_by_its_name_and_is_listed(installed: Path, tmp_path: Path) -> None:
    listed = understudy(installed, "methods", "--json")
    assert "sharpened" in [method["name"] for method in json.loads(listed.stdout)]
    shown = understudy(installed, "methods", "sharpened")
    assert "temperature = 0.5" in shown.stdout
    wrong = understudy(installed, "distill", "--method", "sharpend", "--out", tmp_path / "run")
    assert "did you mean 'sharpened'" in wrong.stderr


def test_the_check_knows_the_data_sets_own_settings(installed: Path) -> None:
    assert understudy(installed, "check", "recipe.toml").returncode == 0
    wrong = understudy(installed, "check", "recipe.toml", "--set", "data.samples=2")
    assert wrong.returncode == 2
    assert "data.samples: input should be greater than or equal to 8 (it is 2)" in wrong.stderr


def test_the_task_goes_by_its_name(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)
    from understudy import data, tasks

    assert "stripes" in tasks.names()
    loaded = data.load("stripes", samples=16, validation=4)
    images, labels = loaded.train.source.samples, loaded.train.source.targets
    assert data.from_tensors((images, labels), task="stripes", validation=4).task.name == "stripes"


def test_a_broken_plugin_is_one_line_and_the_list_goes_on(installed: Path, tmp_path: Path) -> None:
    install_by_hand(tmp_path, "broken", "2.0", {"understudy.methods": {"bent": "no_such_module:BENT"}})
    listed = understudy(tmp_path, "methods")
    assert listed.returncode == 0
    assert "fitnets" in listed.stdout
    line = "the method 'bent' of the package 'broken' 2.0 (no_such_module:BENT) cannot be imported"
    assert line in " ".join(listed.stderr.split())
    asked = understudy(tmp_path, "methods", "bent")
    assert asked.returncode == 2
    assert line in " ".join(asked.stderr.split())
