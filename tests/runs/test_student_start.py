"""A recipe whose student starts from layers of its teacher, by every method."""

import pytest
import torch

from understudy import recipe as recipes
from understudy.errors import UserError
from understudy.recipe.build import Builder
from understudy.runs import Run
from understudy.runs.compile import compiled
from understudy.runs.preview import Preview
from understudy.taps import inner

RECIPE = """
data = {{ name = "sst2", root = "{root}", length = 8, validation = 8 }}
train = {{ epochs = 1, batch = 8 }}
methods = {{ alone = {{}}, kd = {{}} }}
[teacher]
network = "text-encoder"
settings = {{ width = 8, depth = 3, heads = 2 }}
accept_weak = true
train = {{ epochs = 1 }}
[student]
network = "text-encoder"
settings = {{ width = {width}, depth = 1, heads = 2 }}
from_teacher = {{ layers = [{layer}] }}
"""


@pytest.fixture
def text(tmp_path):
    folder = tmp_path / "SST-2"
    folder.mkdir()
    lines = [f"{word} film \t{label}" for _ in range(16) for word, label in (("fine", 1), ("dull", 0))]
    for part in ("train", "dev"):
        (folder / f"{part}.tsv").write_text("sentence\tlabel\n" + "\n".join(lines) + "\n")
    return lambda layer=2, width=8: RECIPE.format(root=tmp_path, layer=layer, width=width)


def test_every_student_starts_from_the_layer_and_says_so(text, tmp_path):
    recipe = recipes.parse(text())
    plan = compiled(recipe)
    assert plan["alone-0"].learns_from == plan["kd-0"].learns_from == ["teacher-0"]
    preview = Preview(recipe, Builder.of(recipe.data))
    student = inner(preview.training(plan["alone-0"]).student)
    (teacher,) = preview.networks(["teacher-0"])
    assert torch.equal(student.layers[0].linear1.weight, inner(teacher).layers[2].linear1.weight)
    run = Run(recipe, tmp_path / "run")
    texts = [finding.text for finding in run.check()]
    assert "starts from layers 2 of the teacher: 18 weights are copied, all" in texts
    result = run.execute()
    assert Run(recipe, tmp_path / "run").execute() == result  # taken from the folder, whatever is in it


def test_another_layer_is_another_training(text, tmp_path):
    def key(**changes):
        run = Run(recipes.parse(text(**changes)), tmp_path / "run")
        return run.execution.key("alone-0")

    assert key() == key() != key(layer=1)


def test_what_does_not_fit_is_said_before_anything_is_trained(text, tmp_path):
    findings = list(Run(recipes.parse(text(width=4)), tmp_path / "run").check())
    (error,) = [finding.text for finding in findings if finding.level == "error"]
    assert "from_teacher: the student's 'positions' has shape (8, 4), the teacher's (8, 8)" in error
    head, _, student = text().partition("[student]")
    without = head.partition("[teacher]")[0].replace(", kd = {}", "") + "[student]" + student
    with pytest.raises(UserError, match="there is no teacher to start from"):
        recipes.parse(without)
