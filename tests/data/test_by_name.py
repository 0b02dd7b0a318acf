"""Data by name in recipes: a data set's own settings with their lines, and functions of the user's own."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from understudy import data, recipe
from understudy.errors import UserError
from understudy.recipe.build import named_data

REST = '[student]\nnetwork = "resnet8"\n[methods.alone]\n'
CODE = """
import torch

def make(samples: int = 20, root=None, workers=0):
    return torch.arange(samples * 12.0).view(samples, 3, 2, 2), torch.arange(samples) % 2

def fails():
    raise RuntimeError("no data today")

def whole():
    from understudy.data import from_tensors
    return from_tensors(make(), validation=4)

def nothing():
    return 3
"""
IMAGES = """
import torch

def images():
    x = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(20) % 2
"""
ROOT = str(Path(__file__).resolve().parents[2])
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ROOT}


@pytest.mark.parametrize(
    ("table", "line", "words"),
    [
        ('name = "svhn"\nextra = "much"', 3, "data.extra: input should be a valid boolean"),
        ('name = "svhn"\nroot = "/data"\nsize = 3', 4, "data.size: data set 'svhn' has no such setting"),
        ('name = "folder"\nchannels = 2', 3, "data.channels: input should be 1 or 3"),
        ('name = "svnh"', 2, "data.name: there is no data set 'svnh'; did you mean 'svhn'"),
        ('name = "svhn"\nvalidatoin = 3', 3, "did you mean 'validation'"),
        ('name = "demo"\nvalidation = -1', 3, "data.validation"),
    ],
)
def test_settings_are_those_of_the_data_set_and_mistakes_have_their_lines(table: str, line: int, words: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe.parse(f"[data]\n{table}\n{REST}", "recipe.toml")
    assert f"recipe.toml:{line}: " in str(caught.value)
    assert words in str(caught.value)


def test_settings_are_completed_written_beside_the_others_and_read_again() -> None:
    read = recipe.parse(f'[data]\nname = "svhn"\nextra = true\n{REST}')
    assert read.data.settings == {"extra": True}
    written = recipe.write(read)
    assert "extra = true\n" in written
    assert recipe.parse(written) == read
    assert recipe.parse(f'[data]\nname = "svhn"\n{REST}').data.settings == {"extra": False}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"datamodule_{abs(hash(tmp_path)):x}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_function_of_the_users_own(module: str) -> None:
    read = recipe.parse(f'[data]\nname = "{module}:make"\nsamples = 12\nvalidation = 2\n{REST}')
    assert recipe.parse(recipe.write(read)) == read
    loaded = named_data(read.data, [module])
    assert (len(loaded.train), len(loaded.validation), loaded.name) == (10, 2, f"{module}:make")
    assert torch.equal(loaded.train.source.samples[1], torch.arange(12.0, 24.0).view(3, 2, 2))


def test_a_data_keeps_its_parts_and_root_is_passed_on(module: str, tmp_path: Path) -> None:
    assert len(data.load(f"{module}:whole", validation=1, trusted=[module]).validation) == 4
    assert len(data.load(f"{module}:make", tmp_path, trusted=[module]).train) == 18
    with pytest.raises(UserError, match="no parameter 'root'"):
        data.load(f"{module}:whole", tmp_path, trusted=[module])


@pytest.mark.parametrize(
    ("function", "settings", "words"),
    [
        ("make", {"sample": 3}, r"no setting 'sample'; did you mean 'samples'"),
        ("fails", {}, r"RuntimeError: no data today \(.*, line 8\)"),
        ("nothing", {}, "int has no numbered items"),
        ("mkae", {}, "has no factory 'mkae'; did you mean 'make'"),
    ],
)
def test_what_is_wrong_with_a_function_is_one_line(module: str, function: str, settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        data.load(f"{module}:{function}", trusted=[module], **settings)
    with pytest.raises(UserError, match=f"--trust {module}"):
        data.load(f"{module}:{function}")


def test_worker_processes_call_the_function_again_and_the_cache_knows_its_samples(module: str, tmp_path: Path) -> None:
    common = f"{REST}[train]\nepochs = 1\nbatch = 4\n[settings]\nthreads = 1\n"
    table = f'seeds = [0, 1]\n[data]\nname = "{module}:images"\nvalidation = 4\n'
    (tmp_path / f"{module}.py").write_text(IMAGES)
    (tmp_path / "recipe.toml").write_text(table + common)
    command = [sys.executable, "-m", "understudy", "distill", "recipe.toml", "--trust", module, "--workers", "2"]
    run = partial(subprocess.run, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    first = run([*command, "--no-check", "--out", "one", "--cache", "cache"])
    assert first.returncode == 0, first.stderr
    again = run([*command, "--no-check", "--out", "two", "--cache", "cache"])
    assert again.returncode == 0, again.stderr
    students = [(tmp_path / out / "student.safetensors").read_bytes() for out in ("one", "two")]
    assert students[0] == students[1]
    planned = [*command, "--cache", "cache", "--out", "three", "--dry-run", "--json"]
    assert json.loads(run(planned).stdout)["to train"] == 0
    (tmp_path / f"{module}.py").write_text(IMAGES.replace("manual_seed(0)", "manual_seed(1)"))
    assert json.loads(run(planned).stdout)["to train"] == 2
