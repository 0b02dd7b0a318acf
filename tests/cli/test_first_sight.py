"""What answers before PyTorch is imported: help, version, the list of methods, completion."""

import os
import subprocess
import sys

import pytest
import typer

import understudy
from understudy.cli import export
from understudy.cli._app import app
from understudy.export import FORMATS
from understudy.methods import METHODS
from understudy.methods.listing import Listed, listed

RUN = "import sys; from understudy.cli import main; sys.argv = ['understudy', *sys.argv[1:]]; main()"
ASK = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr)); "
COMMANDS = sorted(typer.main.get_command(app).commands)
SLOW = ("torch", "pydantic", "optuna", "matplotlib", "jinja2")


def answer(code, *arguments, **environment):
    command = [sys.executable, "-c", ASK + code, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    return ran.stdout, ran.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["methods"]], ids=" ".join)
def test_these_answer_without_importing_torch(arguments):
    out, err = answer(RUN, *arguments)
    assert out
    assert err == "False\n"


def test_import_understudy_imports_no_torch_until_a_name_is_used():
    assert answer("import understudy; understudy.UserError") == ("", "False\n")
    assert answer("import understudy; understudy.losses.kd") == ("", "True\n")


def test_no_command_imports_torch_before_it_runs():
    modules = ", ".join(f"understudy.cli.{name}" for name in COMMANDS)
    out, err = answer(f"import {modules}; print(*(name for name in {SLOW} if name in sys.modules))")
    assert (out, err) == ("\n", "False\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("understudy dis", "distill"),
        ("understudy methods fit", "fitnets-joint"),
        ("understudy export x --to o", "onnx"),
    ],
)
def test_a_shell_completes_without_importing_torch(words, expected):
    place = str(len(words.split()) - 1)
    surroundings = {"_UNDERSTUDY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": place}
    out, err = answer(RUN, **surroundings)
    assert expected in out.split()
    assert err == "False\n"


def test_taps_are_completed_for_the_networks_of_the_line():
    words = "understudy distill --teacher resnet20 --student resnet8 --set methods.kd.pair="
    place = str(len(words.split()) - 1)
    surroundings = {"_UNDERSTUDY_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": words, "COMP_CWORD": place}
    out, _ = answer(RUN, **surroundings)
    assert "methods.kd.pair=layer2 -> layer2" in out


def test_every_public_name_is_there_and_listed():
    assert set(understudy.__all__) <= set(dir(understudy))
    assert all(getattr(understudy, name) is not None for name in understudy.__all__)
    with pytest.raises(AttributeError, match="module 'understudy' has no attribute 'distil'"):
        understudy.distil  # noqa: B018


def test_the_list_that_is_read_from_source_is_that_of_the_methods():
    assert listed() == [Listed(m.name, m.family, m.year, m.paper, m.summary) for m in METHODS.values()]


def test_the_formats_that_help_names():
    assert list(export.FORMATS) == list(FORMATS)
