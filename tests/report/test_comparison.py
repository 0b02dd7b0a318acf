"""The page of several runs: complete, in every order, and the student to choose is the one that the table shows."""

import itertools
import json
import re

import pytest

from tests.report.conftest import spread
from understudy.errors import UserError
from understudy.measure import Budget
from understudy.report import write_comparison
from understudy.report.comparison import caveats
from understudy.report.figures.frontier import undominated
from understudy.report.reading import read
from understudy.report.students import SORTS, Students, short_names
from understudy.report.text import as_markdown

ERROR = {
    "name": "landmarks",
    "figures": [{"name": "accuracy", "title": "landmark error", "better": "lower", "chance": 0.4}],
}


def test_the_page_tells_of_every_student_and_is_self_contained(several, tmp_path):
    runs = several()
    page, students, choice = write_comparison(runs)
    assert page == tmp_path / "comparison.html"
    html = page.read_text(encoding="utf-8")
    assert len(students.all) == 12
    for student in students.all:
        assert f">{student.name}<" in html
        assert f"{100 * student.measured.mean:.2f}" in html
    assert choice.chosen.name == "width5 · kd"
    assert "understudy distill demo.toml --out runs/demo" in html
    assert "7.6\N{MULTIPLICATION SIGN}</small>" in html  # the teacher takes 3.81 ms, the first student 0.5
    assert "on validation" in choice.reason
    assert html.count("<svg") == 1
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert write_comparison(runs)[0].read_text(encoding="utf-8") == html


@pytest.mark.parametrize(
    "budget",
    [
        Budget(latency_ms=1.0),
        Budget(bytes=130_000),
        Budget(value=0.9, latency_ms=2.6),
        Budget(latency_ms=2.0, bytes=100_000, value=0.8),
    ],
)
def test_the_choice_is_the_first_row_of_the_table_that_fits(several, budget):
    page, students, choice = write_comparison(several(), budget)
    html = page.read_text(encoding="utf-8")
    shown = re.findall(r'<th scope="row" role="rowheader">([^<]+)', html)  # the most accurate first
    fitting = [
        name
        for name in shown
        if (budget.latency_ms is None or students.named(name).latency_ms <= budget.latency_ms)
        and (budget.bytes is None or students.named(name).network.bytes <= budget.bytes)
        and (budget.value is None or students.worth(students.named(name)) >= budget.value)
    ]
    assert choice.chosen.name == fitting[0]
    assert html.count("the student to choose</small>") == 1
    assert budget.text(students.figure) in html


def test_where_nothing_fits_the_page_says_so(several):
    page, _, choice = write_comparison(several(), Budget(latency_ms=0.1))
    assert choice.chosen is None
    html = page.read_text(encoding="utf-8")
    assert "✕ none fits" in html
    assert "takes 0.4 ms too long (0.5 ms)" in html
    assert "the student to choose</small>" not in html


@pytest.mark.parametrize("sort", SORTS)
def test_rows_stand_in_the_order_that_is_asked_for_and_know_their_place_in_the_others(several, sort):
    page, students, _ = write_comparison(several(), sort=sort)
    html = page.read_text(encoding="utf-8")
    shown = re.findall(r'<th scope="row" role="rowheader">([^<]+)', html)
    assert shown == [student.name for student in students.sorted(sort)]
    assert f'value="{sort}" checked' in html
    values = [SORTS[sort](students, student) for student in students.sorted(sort)]
    assert values == sorted(values)
    for key in SORTS:
        places = [int(place) for place in re.findall(rf"--{key}: (\d+)", html)]
        assert sorted(places) == list(range(1, len(shown) + 1))


def test_the_test_part_chooses_only_where_there_is_no_validation(several):
    runs = several(accuracies=(0.8, 0.7))
    for run, validation in zip(runs, (0.6, 0.9), strict=True):
        content = json.loads((run / "result.json").read_text())
        for found in content["methods"].values():
            for row in found["trainings"]:
                row["validation"] = {"accuracy": validation}
        (run / "result.json").write_text(json.dumps(content))
    _, students, choice = write_comparison(runs)
    assert (students.chosen_by, choice.chosen.name.split(" ")[0]) == ("validation", "width1")
    content["methods"]["kd"]["trainings"][0]["validation"] = {}
    (runs[1] / "result.json").write_text(json.dumps(content))
    _, students, choice = write_comparison(runs)
    assert (students.chosen_by, choice.chosen.name.split(" ")[0]) == ("test", "width0")


def test_what_cannot_be_compared_is_said(several, finished, make_result):
    runs = several(accuracies=(0.8, 0.9))
    other = make_result(("kd",))
    other["data"]["measured"] = 100
    page, students, _ = write_comparison([*runs, finished(other, name="other")])
    assert "were not measured on the same samples" in page.read_text(encoding="utf-8")
    assert "other" in [student.name for student in students.all]  # its only method needs no name


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"data": {"digest": "1f"}}, "were not measured on the same samples"),
        ({"data": {"validation": 1000}}, "Validation, which decides, has 500 and 1,000 samples"),
        ({"networks": {"student": {"latency_ms": {"threads": 1}}}}, "different devices or numbers of threads"),
        (
            {"networks": {"student": {"latency_ms": {"others": 1.3}}}},
            "other: Other programs took 1.3 cores meanwhile: the lat",
        ),
        ({"seeds": [0]}, "The runs have different seeds (0, 1, 2 in 1 run; 0 in 1 run): a difference may be one"),
        ({"machine": {"processor": "Another"}}, "different devices or numbers of threads"),
        ({"machine": {"accelerator": "H200"}}, "different devices or numbers of threads"),
        ({"machine": {"accelerator": "H200"}, "settings": {"device": "cpu"}}, None),
    ],
)
def test_runs_that_were_measured_in_different_ways_are_told_apart(several, finished, make_result, changes, told):
    def changed(content, others):
        for key, value in others.items():
            content[key] = changed(content.get(key, {}), value) if isinstance(value, dict) else value
        return content

    runs = [finished(make_result(), name="one"), finished(changed(make_result(), changes), name="other")]
    sentences = caveats(Students.of({run: read(run) for run in runs}))
    assert [told in sentence for sentence in sentences] == [True] if told else not sentences


def test_results_without_costs_are_compared_as_well(finished, make_result):
    whole, bare = make_result(), make_result(("kd",))
    bare["networks"], bare["teacher"], bare["verdicts"] = {"student": {"network": "unmeasured"}}, None, {}
    bare["methods"]["kd"] |= {"figures": {"accuracy": spread([0.5] * 3)}}
    for row in bare["methods"]["kd"]["trainings"]:
        row["figures"], row["validation"] = {"accuracy": 0.5}, {"accuracy": 0.5}
    runs = [finished(whole, name="whole"), finished(bare, name="bare", metrics=False)]
    page, students, choice = write_comparison(runs, Budget(latency_ms=50))
    assert [student.name for student in students.sorted("value")][-1] == "bare"
    assert choice.chosen.name == "whole · fitnets"
    assert "nan" not in page.read_text(encoding="utf-8").split("</style>")[1]


def test_where_less_is_better_the_least_is_chosen(several):
    runs = several(accuracies=(0.2, 0.1), task=ERROR)
    page, students, choice = write_comparison(runs, Budget(value=0.12))
    assert choice.chosen.name.startswith("width1")
    assert "has the lowest landmark error" in choice.reason
    assert "landmark error at most 0.12" in choice.reason
    assert students.sorted("value")[0].name.startswith("width1")
    assert "%" not in choice.reason
    assert "accuracy" not in page.read_text(encoding="utf-8").split("</style>")[1]


def test_a_small_gain_of_a_figure_without_a_unit_has_its_digits(several):
    run = several(accuracies=(0.2,), task=ERROR)[0]
    content = json.loads((run / "result.json").read_text())
    content["verdicts"]["kd"] |= {"gain": 0.0000725, "verdict": "ties"}
    (run / "result.json").write_text(json.dumps(content))
    page, _, _ = write_comparison([run])
    assert "+7.25e-05 <span" in page.read_text(encoding="utf-8")
    assert "| +7.25e-05, ties |" in as_markdown(run)


def test_runs_of_different_tasks_are_not_compared(several, finished, make_result):
    other = finished(make_result() | {"task": ERROR}, name="other")
    with pytest.raises(UserError, match="runs of different tasks cannot be compared"):
        write_comparison([*several(accuracies=(0.8,)), other])


def test_a_run_that_is_none_is_an_error_before_anything_is_written(several, tmp_path):
    with pytest.raises(UserError, match="there is no run folder"):
        write_comparison([*several(accuracies=(0.8,)), tmp_path / "nowhere"])
    assert not (tmp_path / "comparison.html").exists()


def test_the_only_method_of_a_single_run_has_its_name(finished, make_result):
    run = finished(make_result(("kd",)))
    students = Students.of({run: read(run)})
    assert [student.name for student in students.all] == ["kd"]
    assert students.choice(Budget(latency_ms=50)).reason.startswith("kd has the highest accuracy")


def test_names_tell_runs_apart(tmp_path):
    assert list(short_names([tmp_path / "a/run", tmp_path / "b/run"]).values()) == ["a/run", "b/run"]
    assert list(short_names([tmp_path / "a", tmp_path / "b"]).values()) == ["a", "b"]
    assert list(short_names([tmp_path / "a"]).values()) == [""]


def test_nothing_on_the_line_is_beaten_by_what_is_as_cheap():
    points = [(1.0, 0.5), (1.0, 0.6), (2.0, 0.6), (3.0, 0.9), (4.0, 0.8)]
    for order in itertools.permutations(points):
        assert undominated(order) == [(1.0, 0.6), (3.0, 0.9)]
