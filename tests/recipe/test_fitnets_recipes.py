"""The recipes of FitNets' networks pass the pre-flight check, on a few images in place of the data sets.

CIFAR's teacher needs 725 million multiplications for an image; that of MNIST takes its place, whose layers have the
same names but for the fully connected one, and the recipe's own is built.
"""

from fnmatch import fnmatch
from pathlib import Path

import pytest
import torch

from understudy import data as datasets
from understudy import recipe as recipes
from understudy.models import NetworkSpec
from understudy.models.sizes import outline
from understudy.plans.training import Builders
from understudy.recipe.build import Builder
from understudy.runs import Run

FOLDER = Path(__file__).parents[2] / "recipes"
FEW = ("train.batch=2", "teacher.train.batch=2", "settings={threads=1}")
STUDENTS = {"fitnet1": "conv6", "fitnet2": "conv6", "fitnet3": "conv8", "fitnet4": "conv11"}


def findings(name, tmp_path, *changes, shape=(3, 32, 32)):
    recipe = recipes.read(FOLDER / name, [*FEW, *changes])
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(count, *shape, generator=generator) for count in (30, 10)]
    labels = [torch.arange(len(part)) % 10 for part in images]
    data = datasets.from_tensors((images[0], labels[0]), (images[1], labels[1]), validation=10)
    builders = Builders()
    builders.known[recipe.data.model_dump_json()] = Builder(data, data, None, ())
    return recipe, list(Run(recipe, tmp_path, builders=builders).check())


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("recipe", ["fitnets_cifar10_paper.toml", "fitnets_cifar10_modern.toml"])
def test_fitnets_on_cifar10_are_ready(recipe, student, tmp_path):
    pair = f"methods.fitnets.pair=conv2 -> {STUDENTS[student]}"
    small = ("teacher.network=maxout-mnist", "teacher.train.max_norm={}")
    read, found = findings(recipe, tmp_path, f"student.network={student}", pair, *small)
    own = recipes.read(FOLDER / recipe).teacher
    names = [
        name for name, _ in outline(NetworkSpec(own.network, dict(own.settings)), (3, 32, 32), 10).named_parameters()
    ]
    assert all(any(fnmatch(name, pattern) for name in names) for pattern in (*own.train.max_norm, *own.train.lr_scale))
    assert [finding for finding in found if finding.level == "error"] == []
    assert set(read.methods) == ({"fitnets"} if "paper" in recipe else {"alone", "kd", "fitnets"})


def test_mnist_by_the_recipe_of_2015_is_ready(tmp_path):
    read, found = findings("fitnets_mnist_paper.toml", tmp_path, shape=(1, 28, 28))
    assert [finding for finding in found if finding.level == "error"] == []
    assert read.methods["fitnets"].train.epochs == 1000
    assert read.methods["alone"].train.patience == read.methods["fitnets"].train.patience == 100
