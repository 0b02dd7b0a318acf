"""The engine of docs/adding-an-engine.md, installed as a package of its own: ``--engine`` and Python use it."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks
from tests.docs.test_plugins_page import install_by_hand, understudy

PAGE = ROOT / "docs" / "adding-an-engine.md"
SMALL = ("teacher.network=plain2", "teacher.train.epochs=1", "train.epochs=1", "data.student_samples=256")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page's package and recipe, and the entry point as pip would install it."""
    folder = tmp_path_factory.mktemp("installed")
    (_, code), (_, in_python) = blocks(PAGE, "python")
    ((_, entry),) = blocks(PAGE, "toml no-recipe")
    groups = tomllib.loads(entry)["project"]["entry-points"]
    module, _, _ = groups["understudy.engines"]["counted"].partition(":")
    file = folder / f"{module.replace('.', '/')}.py"
    file.parent.mkdir()
    (file.parent / "__init__.py").touch()
    file.write_text(code, encoding="utf-8")
    recipe = re.search(r'text = """\n(.*?)"""', in_python, re.DOTALL)
    assert recipe is not None
    (folder / "recipe.toml").write_text(recipe[1], encoding="utf-8")
    install_by_hand(folder, "his-package", "1.0", groups)
    return folder


def test_a_recipe_trains_on_it(installed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    done = understudy(installed, "distill", "recipe.toml", "--engine", "counted", "--no-check", "--out", run, *settings)
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"^training (\d): ", done.stdout, re.MULTILINE)
    assert lines == ["1", "2"]
    assert json.loads((run / "result.json").read_text())["methods"].keys() == {"kd"}


def test_a_wrong_name_is_refused_with_the_nearest(installed: Path, tmp_path: Path) -> None:
    wrong = understudy(installed, "distill", "recipe.toml", "--engine", "count", "--out", tmp_path / "run")
    assert wrong.returncode == 2
    assert "counted" in wrong.stderr
