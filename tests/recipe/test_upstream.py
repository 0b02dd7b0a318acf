"""Recipes for data that are not to be had here: each passes the check on small files of the upstream form."""

from pathlib import Path

import pytest
import safetensors.torch
from typer.testing import CliRunner

from tests.data.test_birds_and_imagenet32 import birds
from tests.data.test_boxes import coco, voc  # noqa: F401 - fixtures
from tests.data.test_glue import glue  # noqa: F401 - a fixture
from tests.tasks.test_tags import wordpiece
from understudy.cli._app import app

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = ["seeds=[0]", "train.batch=4", "teacher.train.batch=4"]


def checked(recipe: str, *changes: str) -> str:
    words = [word for change in (*SMALL, *changes) for word in ("--set", change)]
    called = CliRunner().invoke(app, ["check", str(RECIPES / recipe), *words, "--verbose"])
    assert called.exit_code == 0, called.output + called.stderr
    return called.output + called.stderr


def test_birds(tmp_path):
    birds(tmp_path)
    networks = [f"{role}.{key}" for role in ("teacher", "student") for key in ('network="resnet8"', "pretrained=false")]
    said = checked("kd_cub200.toml", f'data.root="{tmp_path}"', "data.size=32", "data.validation=2", *networks)
    assert "2 classes" in said


@pytest.mark.parametrize(("recipe", "name"), [("kd_voc2007.toml", "voc"), ("kd_coco.toml", "coco")])
def test_boxes(recipe, name, request):
    root = request.getfixturevalue(name)
    small = ["data.size=64", "data.validation=1", "teacher.settings.width=8", "student.settings.width=4"]
    small += ["train.batch=1", "teacher.train.batch=1"]
    assert "boxes of" in checked(recipe, f'data.root="{root}"', *small)


@pytest.mark.parametrize(("recipe", "name"), [("kd_mnli.toml", "mnli"), ("kd_stsb.toml", "stsb")])
def test_pairs_of_sentences(recipe, name, glue, tmp_path):  # noqa: F811
    transformers = pytest.importorskip("transformers")
    glue(name)
    sizes = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 8}
    config = transformers.BertConfig(vocab_size=11, num_hidden_layers=6, **sizes)
    safetensors.torch.save_file(transformers.BertModel(config).state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text(wordpiece())
    files = [f'data.root="{tmp_path}"', f'data.vocabulary="{tmp_path}/tokenizer.json"', "data.validation=4"]
    small = [f"{role}.settings.{key}={value}" for role in ("teacher", "student") for key, value in sizes.items()]
    said = checked(recipe, *files, f'teacher.weights="{tmp_path}/model.safetensors"', *small, "data.length=12")
    assert "starts from layers 0, 2, 4 of the teacher" in said.replace("\n", " ")
