"""Entry points of other packages: read once, imported when asked for, refused by name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from understudy import plugins
from understudy.errors import UserError
from understudy.plugins import Registry, of_type

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package by hand: a module, and a dist-info folder with its entry points."""
    monkeypatch.syspath_prepend(tmp_path)

    def installed(package: str, code: str, **entries: str) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {package}:{value}" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[understudy.test_colours]\n{lines}\n")
        (tmp_path / f"{package}.py").write_text(code)
        plugins._read.cache_clear()

    return installed


def colours() -> Registry[str]:
    return Registry("colour", "understudy.test_colours", {"red": "own red"}, of_type(str, "lower_name_for_tests"))


def plain() -> Registry[str]:
    return Registry("colour", "understudy.test_colours", {"red": "own red"})


def test_another_packages_things_are_found_by_name(install: Install) -> None:
    install("blue_package", "BLUE = 'their blue'\n", blue="BLUE")
    assert plain().find("blue") == "their blue"
    assert list(plain()) == plain().names() == ["red", "blue"]
    assert dict(plain().items()) == {"red": "own red", "blue": "their blue"}
    assert plugins.group("understudy.test_colours") == {"blue": "their blue"}


def test_names_are_known_without_an_import(install: Install) -> None:
    install("never_imported", "raise AssertionError('imported')\n", blue="BLUE")
    assert "blue" in plain()
    assert plain().names() == ["red", "blue"]
    assert plain()["red"] == "own red"


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        (
            "import_fails",
            "import no_such_module_at_all\n",
            "ModuleNotFoundError: No module named 'no_such_module_at_all'",
        ),
        ("raises", "raise RuntimeError('two\\nlines')\n", "RuntimeError: two lines"),
        ("has_none", "GREEN = 1\n", "has no attribute 'BLUE'"),
    ],
)
def test_a_broken_plugin_is_one_line_where_it_is_asked_for_and_breaks_nothing_else(
    install: Install, name: str, code: str, told: str
) -> None:
    install(name, code, blue="BLUE")
    with pytest.raises(UserError, match=f"the colour 'blue' of the package '{name}' 1.0") as caught:
        plain().find("blue")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert plain().problems() == [str(caught.value)]
    assert list(plain()) == ["red"]
    assert len(plain()) == 1
    assert plain()["red"] == "own red"
    assert plugins.group("understudy.test_colours") == {}


def test_a_name_of_our_own_that_is_taken_is_refused_by_name(install: Install) -> None:
    install("red_package", "RED = 'their red'\n", red="RED")
    with pytest.raises(UserError, match=r"'red' is taken twice, by Understudy itself and by the package 'red_package'"):
        plain().find("red")
    assert list(plain().values()) == ["own red"]
    assert len(plain().problems()) == 1


def test_a_name_that_two_packages_take_is_refused_by_name(install: Install) -> None:
    install("first_blue", "BLUE = 'first'\n", blue="BLUE")
    install("second_blue", "BLUE = 'second'\n", blue="BLUE")
    with pytest.raises(UserError, match=r"taken twice, by the package 'first_blue' .* by the package 'second_blue'"):
        plain().find("blue")
    assert list(plain()) == ["red"]


def test_a_thing_of_another_type_is_refused(install: Install) -> None:
    install("number_package", "BLUE = 3\n", blue="BLUE")
    with pytest.raises(UserError, match=r"it is of type int, not a builtins\.str"):
        colours().find("blue")


def test_a_thing_that_calls_itself_otherwise_is_refused(install: Install) -> None:
    class_code = "class Named(str):\n    lower_name_for_tests = 'navy'\n\nBLUE = Named('x')\n"
    install("navy_package", class_code, blue="BLUE")
    with pytest.raises(UserError, match="it calls itself 'navy'"):
        colours().find("blue")


def test_an_unknown_name_has_its_nearest_ones(install: Install) -> None:
    install("blue_again", "BLUE = 'their blue'\n", blue="BLUE")
    with pytest.raises(UserError, match="there is no colour 'blu'; did you mean 'blue'"):
        plain().find("blu")


def test_a_registry_takes_things_of_ones_own() -> None:
    registry = plain()
    registry["green"] = "my green"
    assert registry.find("green") == "my green"
    del registry["green"]
    assert "green" not in registry
