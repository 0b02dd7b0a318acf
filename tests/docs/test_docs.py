"""The documents are true: their Python runs, their recipes parse, their links lead somewhere, nothing is left out.

Every ```python block of a page runs, one after the other, in one namespace and an empty folder, on a small part of
the demo's images. ```python no-run marks the few that need a package which the tests do not have. Every ```toml block
is read as a recipe; what it leaves out is taken from ``BASE``.
"""

import dataclasses
import re
import subprocess
import sys
import tomllib
import typing
from pathlib import Path

import pytest
import tomli_w
import torch
import typer
from PIL import Image

import understudy
from tests.docs.pages import BLOCK, PAGES, ROOT, blocks, name, pages_with
from understudy import data as datasets
from understudy import recipe as recipes
from understudy.cli._app import app
from understudy.data import Data, Part
from understudy.methods import METHODS
from understudy.methods.method import Method
from understudy.recipe.schema import Recipe
from understudy.runs import Run
from understudy.training import preflight

LINK = re.compile(r"\]\((?!https?://|mailto:)(?P<target>[^)\s]+)\)")
SMALL = 64, 20, 20  # images to train, to select, to test
BASE = {
    "data": {"name": "demo"},
    "teacher": {"network": "resnet8", "weights": "teacher.safetensors"},
    "student": {"network": "resnet8"},
    "methods": {"kd": {}},
}


def small(data: Data) -> Data:
    """The same data set with a few samples of each part."""
    train, validation, test = SMALL
    opened = data.open_test

    def open_test() -> Part:
        assert opened is not None
        part = opened()
        return Part(part.source, part.ids[:test])

    return dataclasses.replace(
        data,
        train=Part(data.train.source, data.train.ids[:train]),
        validation=data.validation and Part(data.validation.source, data.validation.ids[:validation]),
        open_test=opened and open_test,
    )


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    load = datasets.load
    monkeypatch.setattr(datasets, "load", lambda *args, **settings: small(load(*args, **settings)))
    check = preflight.check_teacher  # after so few steps a teacher is at chance level, which would be refused
    monkeypatch.setattr(preflight, "check_teacher", lambda *args, **also: check(*args, **also | {"accept_weak": True}))
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos")
    torch.manual_seed(0)


def photos(folder: Path) -> None:
    """Images of three classes that are easily told apart, in the form in which pages describe a folder of one's own."""
    for part, count in (("train", 30), ("test", 12)):
        for number in range(count):
            place = folder / part / ("bird", "cat", "dog")[number % 3]
            place.mkdir(parents=True, exist_ok=True)
            colour = [40 + number, 40, 40]
            colour[number % 3] += 150
            Image.new("RGB", (16, 16), tuple(colour)).save(place / f"{number}.jpg")


@pytest.mark.parametrize("file", [*ROOT.glob("recipes/*.toml"), *ROOT.glob("understudy/demo/*.toml")], ids=name)
def test_recipes_that_come_along_parse(file):
    recipes.read(file)


@pytest.mark.usefixtures("_small")
@pytest.mark.filterwarnings("ignore:.*stored answers:UserWarning")  # what they save, which is worth a line
@pytest.mark.parametrize("page", pages_with("python"), ids=name)
def test_python_runs(page):
    namespace: dict[str, object] = {"__name__": "example"}
    for line, code in blocks(page, "python"):
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", pages_with("python no-run"), ids=name)
def test_python_that_does_not_run_here_is_python(page):
    for line, code in blocks(page, "python no-run"):
        compile("\n" * (line - 1) + code, str(page), "exec")


@pytest.mark.parametrize("page", pages_with("toml"), ids=name)
def test_recipes_parse(page):
    for line, code in blocks(page, "toml"):
        told = tomllib.loads(code)
        base = {key: table for key, table in BASE.items() if key != "teacher" or "teachers" not in told}
        recipes.parse(tomli_w.dumps(base | told), f"{name(page)}:{line}")


@pytest.mark.usefixtures("_small")
def test_the_recipe_of_the_first_steps_runs(tmp_path):
    code = next(code for _, code in blocks(ROOT / "docs" / "first-steps.md", "toml") if "[data]" in code)
    recipe = recipes.parse(code, overrides=["seeds=[0]", "train.epochs=2", "teacher.train.epochs=2"])
    Run(recipe, tmp_path / "run").execute()
    network = understudy.load(tmp_path / "run")
    assert network(torch.rand(1, 1, 28, 28)).shape == (1, 10)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.finditer(prose):
        path, _, anchor = link["target"].partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)}: {link['target']}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)}: {link['target']}"


def test_the_navigation_names_every_page():
    navigation = re.findall(r"^ +- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(navigation) == sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))


def anchors(page: Path) -> set[str]:
    """The headings of a page as the documentation names them."""
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_every_method_has_its_line():
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    missing = [method for method in METHODS if f"`{method}`" not in text]
    assert not missing
    for method in METHODS.values():
        for setting in method.settings:
            assert f"`{setting}`" in text, f"{method.name}: {setting}"


def test_the_lists_are_those_that_follow_from_the_methods():
    command = [sys.executable, str(ROOT / "scripts" / "lists.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_every_command_has_its_page_with_every_option():
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert commands
    for command in commands.values():
        page = ROOT / "docs" / "commands" / f"{command.name}.md"
        assert page.exists(), command.name
        text = page.read_text(encoding="utf-8")
        for parameter in command.params:
            options = [option for option in parameter.opts if option.startswith("--") and option != "--help"]
            assert all(option in text for option in options), f"{command.name}: {options}"


def test_every_key_of_a_recipe_is_explained():
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    missing = [key for key in sorted(recipe_keys(Recipe)) if f"`{key}`" not in text]
    assert not missing


def recipe_keys(kind: object) -> set[str]:
    """The names of all fields of a recipe, its tables and what they hold."""
    if kind is Method:  # only in Python; a recipe names it
        return set()
    if isinstance(kind, type) and issubclass(kind, recipes.Recipe.__bases__[0]):
        hints = {key: field.annotation for key, field in kind.model_fields.items()}
    elif isinstance(kind, type) and dataclasses.is_dataclass(kind):
        known = typing.get_type_hints(kind, include_extras=True)
        hints = {field.name: known[field.name] for field in dataclasses.fields(kind)}
    else:
        return {key for part in typing.get_args(kind) for key in recipe_keys(part)}
    return {*hints, *(key for hint in hints.values() for key in recipe_keys(hint))}


def test_the_readme_has_room_for_what_the_demo_prints():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.index("<!-- demo-output -->") < text.index("<!-- /demo-output -->")
