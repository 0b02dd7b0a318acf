"""The short recipes of the three papers' tables pass the pre-flight check, on a few images in place of the data sets.

A ResNet-8 or a small maxout network with fresh weights takes the teacher's place.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from understudy import data as datasets
from understudy import recipe as recipes
from understudy.models import build
from understudy.plans.training import Builders
from understudy.recipe.build import Builder
from understudy.runs import Run

FOLDER = Path(__file__).parents[2] / "recipes"
SMALL = {
    "teacher.network": "resnet8",
    "train.batch": "2",
    "settings": "{threads=1}",
    "data.validation": "10",
    "data.student_samples": "20",
}
GIVEN = {"teacher.accept_weak": "true", "teacher.accuracy": "0.0"}
MAXOUT = {"teacher.network": "maxout-mnist", "teacher.settings": "{norm=true}"}
RECIPES: dict[str, tuple[dict[str, str], set[str]]] = {
    "can_cifar10.toml": (GIVEN, {"alone", "kd", "gan", "labels-gan", "labels-l1", "can", "can-1", "can-2", "can-4"}),
    "can_cifar100_paper.toml": (
        {"teacher.network": "wrn-10-1", "student.network": "wrn-10-1"},
        {"alone", "kd-1", "kd-2", "kd-5", "kd-10", "can"},
    ),
    "fitnets_depth_cifar10.toml": (GIVEN, {"alone", "kd", "fitnets"}),
    "fitnets_few_cifar10.toml": (GIVEN, {"alone", "kd", "fitnets", "fitnets-joint"}),
    "fitnets_cifar10_fitnet1.toml": (MAXOUT, {"alone", "kd", "fitnets"}),
    "takd_cifar100_plain.toml": ({"teacher.network": "plain10"}, {"alone", "blkd", "takd-8", "takd-6", "takd-4"}),
    "takd_resnet_paper.toml": (
        {"methods.takd-56.assistants": '["resnet14"]', "methods.takd-32.assistants": '["resnet14"]'},
        {"alone", "blkd", "takd-56", "takd-32", "takd-20", "takd-14"},
    ),
    "takd_figure6_cifar10.toml": ({}, {"alone", "blkd", "fitnets", "at", "fsp", "bss", "dml", "takd"}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_short_recipes_of_the_papers_are_ready(name, tmp_path):
    changed, methods = RECIPES[name]
    changes = SMALL | changed
    if changed is GIVEN:
        weights = tmp_path / "teacher.safetensors"
        save_file(build("resnet8", shortcut="A").state_dict(), weights)
        changes |= {"teacher.weights": str(weights)}
    recipe = recipes.read(FOLDER / name, [f"{key}={value}" for key, value in changes.items()])
    assert set(recipe.methods) == methods
    classes, images = 100 if "cifar100" in name else 10, torch.rand(120, 3, 32, 32)
    labels = torch.arange(len(images)) % classes
    data = datasets.from_tensors((images, labels), (images[:20], labels[:20]), validation=10)
    builders = Builders()
    whole = recipe.data.model_copy(update={"student_samples": None})
    builders.known[whole.model_dump_json()] = Builder(data, data, None, ())
    findings = list(Run(recipe, tmp_path, builders=builders).check())
    assert [finding for finding in findings if finding.level == "error"] == []


def test_the_text_of_a_recipe_says_what_was_measured():
    for name in RECIPES:
        text = (FOLDER / name).read_text(encoding="utf-8").replace("\n#", "")
        assert "no figure of it is claimed" in text or "results/" in text
