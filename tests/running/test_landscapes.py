"""The landscapes of a run: every student's, on samples that are never those of the test part."""

import json
import re
from dataclasses import replace

import pytest

from understudy.errors import UserError
from understudy.report import write_report
from understudy.running.landscapes import survey

BOTH = "\n[methods.alone]\n"


def test_every_student_is_surveyed_and_drawn_on_one_scale(make_run, tmp_path):
    from tests.conftest import RECIPE

    run = make_run("train.epochs=1", "seeds=[0, 3]", text=RECIPE.split("pair =")[0].replace("fitnets", "kd") + BOTH)
    run.execute()

    def refuse():
        raise AssertionError("the test part was opened")

    run.cast.data = replace(run.cast.data, open_test=refuse)
    found = survey(run, grid=5, samples=12)
    assert [student["training"] for student in found["students"]] == ["kd-0", "alone-0", "kd-3", "alone-3"]
    assert (found["part"], found["samples"]) == ("train", 12)
    assert found == json.loads((tmp_path / "run/landscape.json").read_text())
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "All maps share one scale" in page
    assert page.count("<h2>The loss around each student</h2>") == 1
    drawn = (tmp_path / "run/figures/landscapes.svg").read_text()
    for student in found["students"]:
        assert f"{student['sharpness']:.3g}" in page
        assert student["training"] in drawn
    inlined = re.search(r"<svg[^>]*mean rise.*?</svg>", page, re.DOTALL)[0]
    assert "var(--s1)" in inlined
    assert not re.findall(r"#[0-9a-f]{6}", re.sub(r'(?:href="|url\()#\w+', "", inlined))
    assert write_report(tmp_path / "run").read_text(encoding="utf-8") == page
    other = survey(run, grid=3, samples=999, part="validation")
    assert (other["samples"], len(other["students"][0]["losses"])) == (15, 3)


def test_a_damaged_survey_is_told(make_run, tmp_path):
    run = make_run()
    run.execute()
    survey(run, grid=3, samples=6)
    path = tmp_path / "run/landscape.json"
    content = json.loads(path.read_text())
    for broken in ("{", json.dumps(content | {"students": []}), json.dumps(content).replace("[[", "[[1,")):
        path.write_text(broken)
        with pytest.raises(UserError, match=r"landscape\.json is damaged") as caught:
            write_report(tmp_path / "run")
        assert "\n" not in str(caught.value)
    content["students"][0]["losses"][0][0] = None  # a loss that was no number
    path.write_text(json.dumps(content))
    assert "The loss around each student" in write_report(tmp_path / "run").read_text(encoding="utf-8")
