"""The landscapes of a run: every student's, on samples that are never those of the test part."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from markupsafe import Markup

from tests.runs.test_assistants import AUTO
from tests.runs.test_path import SEARCH
from understudy import recipe as recipes
from understudy.errors import UserError
from understudy.files import sealed, write_json
from understudy.report import write_report
from understudy.report.reading import read
from understudy.runs.landscape import survey
from understudy.runs.path import PathRun
from understudy.training.evaluate import figures

BOTH = "\n[methods.alone]\n"


def test_every_student_is_surveyed_and_drawn_on_one_scale(make_run, tmp_path):
    from tests.conftest import RECIPE

    run = make_run("train.epochs=1", "seeds=[0, 3]", text=RECIPE.split("pair =")[0].replace("fitnets", "kd") + BOTH)
    run.execute()

    def refuse():
        raise AssertionError("the test part was opened")

    run.builder.data = replace(run.builder.data, open_test=refuse)
    found = survey(run, grid=5, samples=12)
    assert [student.training for student in found.students] == ["kd-0", "alone-0", "kd-3", "alone-3"]
    assert (found.part, found.samples) == ("train", 12)
    assert found.text() == (tmp_path / "run/landscape.json").read_text()
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "All maps share one scale" in page
    assert page.count("<h2>The loss around each student</h2>") == 1
    drawn = (tmp_path / "run/figures/landscapes.svg").read_text()
    for student in found.students:
        assert f"{student.sharpness:.3g}" in page
        assert student.training in drawn
    inlined = re.search(r"<svg[^>]*mean rise.*?</svg>", page, re.DOTALL)[0]
    assert "var(--s1)" in inlined
    assert not re.findall(r"#[0-9a-f]{6}", re.sub(r'(?:href="|url\()#\w+', "", inlined))
    assert write_report(tmp_path / "run").read_text(encoding="utf-8") == page
    other = survey(run, grid=3, samples=999, part="validation")
    assert (other.samples, len(other.students[0].losses)) == (15, 3)


NUMBERS = """
seeds = [0]
[data]
name = "numpy"
root = "numbers.npz"
validation = 6
task = "regression"
[student]
network = "resnet8"
settings = { widths = [4, 4, 4] }
[train]
epochs = 1
batch = 12
[settings]
threads = 1
[methods.alone]
"""


def test_the_loss_is_that_of_the_task(make_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    x, y = (generator.random(shape, np.float32) for shape in ((30, 3, 8, 8), (30, 2)))
    np.savez("numbers.npz", x_train=x, y_train=y, x_test=x[:6], y_test=y[:6])
    run = make_run(text=NUMBERS)
    run.execute()
    part, task = run.student_data.train, run.builder.data.task
    (student,) = survey(run, grid=3, samples=len(part)).students
    found = figures(run.trained("alone-0"), part, task, run.recipe.settings)
    assert student.centre == pytest.approx(found["loss"], rel=1e-4)


def test_a_student_whose_assistant_was_chosen_on_the_way_is_surveyed(make_run):
    auto = AUTO.replace("plain5", "plain6").replace("seeds = [0, 1]", "seeds = [0]")
    make_run(text=auto).execute()
    found = survey(make_run(text=auto), grid=3, samples=6)  # which knows nothing of the choice
    assert [(student.training, student.method) for student in found.students] == [("takd-0", "takd")]


@pytest.mark.parametrize(
    ("strategy", "students"), [("rule", {"alone-0", "best-path-0"}), ("every", {"alone-0", "kd-0", "best-path-0"})]
)
def test_of_a_search_the_best_path_and_what_it_is_compared_with_are_surveyed(make_run, tmp_path, strategy, students):
    changes = ["seeds=[0]", "path.alone=true", f"path.strategy={strategy}"]
    recipe = recipes.parse(SEARCH, "recipe.toml", changes)
    result = PathRun(recipe, tmp_path / "run", trusted=["smallnets"]).execute()
    found = survey(make_run(*changes, text=SEARCH), grid=3, samples=6)
    surveyed = [student.training for student in found.students]
    assert surveyed == [f"{method}-0" for method in result.methods]
    assert set(surveyed) == (students if len(result.path.best) > 2 else students - {"best-path-0"})
    drawn = write_report(tmp_path / "run").parent / "figures/landscapes.svg"
    assert all(training in drawn.read_text() for training in surveyed)


def test_a_survey_of_nobody_is_refused_and_leaves_nothing(make_run, tmp_path):
    run = make_run()
    with pytest.raises(UserError, match="holds no finished run with students") as caught:
        survey(run, grid=3, samples=6)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_damaged_survey_is_left_out_of_the_report_with_a_line(make_run, tmp_path):
    run = make_run()
    run.execute()
    survey(run, grid=3, samples=6)
    path = tmp_path / "run/landscape.json"
    content = json.loads(path.read_text())
    for broken in (
        "{",
        "[" * 100_000,
        json.dumps(content | {"students": []}),
        json.dumps(content).replace("[[", "[[1,"),
    ):
        path.write_text(broken)
        told: list[str] = []
        page = write_report(tmp_path / "run", warn=told.append).read_text(encoding="utf-8")
        (line,) = told
        assert line.startswith("landscape.json is damaged")
        assert "\n" not in line
        assert f"<li>{Markup.escape(line)}</li>" in page
        assert "All maps share one scale" not in page
    content["students"][0]["losses"][0][0] = None  # a loss that was no number
    write_json(path, sealed(content))
    assert "All maps share one scale" in write_report(tmp_path / "run", warn=told.append).read_text(encoding="utf-8")
    assert told == [line]


def test_the_surface_of_a_student_that_was_replaced_is_left_out_of_the_report(make_run, tmp_path):
    from tests.conftest import RECIPE

    run = make_run("train.epochs=1", text=RECIPE.split("pair =")[0].replace("fitnets", "kd") + BOTH)
    run.execute()
    content = json.loads(survey(run, grid=3, samples=6).text())
    assert [read(tmp_path / "run").left_out, len(read(tmp_path / "run").landscapes.students)] == ["", 2]
    for place, left in ((0, ["alone-0"]), (1, [])):
        content["students"][place]["student"] = "0" * 64
        write_json(tmp_path / "run/landscape.json", sealed(content))
        found = read(tmp_path / "run")
        assert [one.training for one in found.landscapes.students] == left if left else found.landscapes is None
        assert found.left_out == "landscape.json is of students that were replaced: run understudy landscape again"
