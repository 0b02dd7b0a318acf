"""The recipes of the CIFAR-100 benchmark: written by their script, and checked on small data."""

import importlib.util
import json
import re
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from understudy import data as datasets
from understudy import methods
from understudy import recipe as recipes
from understudy.data import from_tensors
from understudy.runs import Run
from understudy.tasks import Classification

ROOT = Path(__file__).resolve().parents[2]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cifar100", ROOT / "scripts" / "cifar100.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cifar100"] = module
    spec.loader.exec_module(module)
    return module


BENCHMARK = script()
FILES = BENCHMARK.recipes()


def test_the_files_are_those_that_the_script_writes():
    assert {path: path.read_text(encoding="utf-8") for path in BENCHMARK.FOLDER.glob("*.toml")} == FILES
    pairs = BENCHMARK.pairs()
    assert [pair.alike for pair in pairs] == [True] * 7 + [False] * 7
    assert {head for pair in pairs for head in pair.reported} - {"teacher"} <= {
        *BENCHMARK.METHODS,
        *BENCHMARK.OF_EQUAL_WIDTHS,
    }


def test_all_methods_for_classes_and_one_teacher_are_in_it():
    left_out = {
        "several-teachers",
        "ca-mkd",
        "ca-mkd-maps",
        "dgkd",
        "takd",
        "encoder",
        "tinybert",
        "minilm",
        "patient-kd",
        "pseudo-labels",
    }
    named = {*BENCHMARK.METHODS, *BENCHMARK.OF_EQUAL_WIDTHS}
    assert named | left_out == set(methods.fitting(Classification(("a", "b"))))
    assert not named & left_out
    assert len(BENCHMARK.FIRST) == 10


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda path: path.stem)
def test_each_recipe_has_all_methods(path: Path):
    assert len(recipes.read(path).methods) >= 70


@pytest.mark.parametrize("name", ["short-resnet56-resnet20", "vgg13-mobilenetv2"])
def test_recipes_pass_the_check(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two of them and three methods; ``make test-cifar100`` checks all of them with all methods."""
    path = BENCHMARK.FOLDER / f"{name}.toml"
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(120, 3, 32, 32, generator=generator), torch.arange(120) % 100
    data = from_tensors((images, labels), test=(images[:20], labels[:20]))
    monkeypatch.setattr(datasets, "load", lambda *args, **settings: data)
    kept = re.sub(r"\n\[methods\.(?!alone\]|kd\]|review\]).*\n(seeds = .*\n)?", "", path.read_text(encoding="utf-8"))
    recipe = recipes.parse(kept, path.name, ["train.batch=2", "data.validation=20", "data.student_samples=20"])
    assert set(recipe.methods) == {"alone", "kd", "review"}
    findings = list(Run(recipe, tmp_path).check())
    assert {finding.level for finding in findings} <= {"ok", "warning"}


def test_the_table_has_what_others_report_beside_what_was_measured(tmp_path: Path):
    arguments = Namespace(out=tmp_path, only=["vgg13-vgg8", "vgg13-mobilenetv2"], short=False)
    trainings = [{"figures": {"accuracy": value}} for value in (0.71, 0.73)]
    result = {
        "teacher": {"figures": {"accuracy": {"values": [0.75], "mean": 0.75, "sd": None}}},
        "methods": {"kd": {"trainings": trainings}, "byot": {"trainings": trainings[:1]}},
    }
    (tmp_path / "vgg13-vgg8").mkdir()
    (tmp_path / "vgg13-vgg8" / "result.json").write_text(json.dumps(result))
    text = "\n".join(BENCHMARK.table(arguments))
    assert "| `kd` | 72.00 ± 1.41 | 2 | 72.98 |" in text
    assert "| `byot` | 71.00 | 1 |  |" in text
    assert "| teacher | 75.00 | 1 | 74.64 |" in text
    assert "vgg13-mobilenetv2: no result yet" in text
