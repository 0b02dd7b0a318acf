"""``understudy report`` on the command line: bounds as people write them, JSON, and a line for what is no run."""

import json
import os
import sys

import pytest
import typer

from understudy.cli import main
from understudy.cli._bounds import budget, value
from understudy.measure import Budget, Candidate, choose
from understudy.tasks import Figure

SHARE = Figure("accuracy", "accuracy", unit="share")


@pytest.fixture
def report(monkeypatch, capsys, tmp_path):
    """Runs the command; answers with exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["understudy", "report", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return caught.value.code or 0, shown.out, shown.err

    return run


@pytest.mark.parametrize(
    ("latency", "size", "reach", "expected"),
    [
        (None, None, None, Budget()),
        ("3ms", "2MB", "90", Budget(3.0, 2_000_000, 0.9)),
        ("0.003 s", "500 kb", "90%", Budget(3.0, 500_000, 0.9)),
        ("500us", "1.5MiB", "99.5 %", Budget(0.5, 1_572_864, 0.995)),
        ("3", "2000", "5", Budget(3.0, 2000, 0.05)),
    ],
)
def test_bounds_are_read_with_their_units(latency, size, reach, expected):
    found = budget(latency, size)
    assert (found.latency_ms, found.bytes) == (pytest.approx(expected.latency_ms), expected.bytes)
    assert value(reach, SHARE) == pytest.approx(expected.value)
    assert value("0.05", Figure("error", "error", "lower")) == 0.05


def test_a_value_that_is_equal_to_its_bound_is_allowed():
    assert [percent for percent in range(1, 100) if value(str(percent), SHARE) != percent / 100] == []
    assert budget("128us", "1.001MB") == Budget(0.128, 1_001_000)
    assert choose([Candidate("kd", 0.57)], SHARE, Budget(value=value("57", SHARE))).chosen is not None


@pytest.mark.parametrize(
    "words",
    [("3 parsecs", None, None), (None, "-2MB", None), (None, None, "101"), ("", None, None), (None, "MB", None)],
)
def test_what_is_no_bound_is_a_mistake(words):
    with pytest.raises(typer.BadParameter):
        (budget(*words[:2]), value(words[2], SHARE))


def test_several_runs_print_the_choice_and_its_reason_as_json_too(report, several, tmp_path):
    runs = several(accuracies=(0.8, 0.9), methods=("kd",))
    code, out, _ = report(*runs, "--max-latency", "0.6ms", "--sort", "latency", "--out", "page.html")
    assert code == 0
    assert out.splitlines()[0].startswith("width0 has the highest accuracy, 80.")
    assert out.splitlines()[1] == "page.html"
    code, out, _ = report(*runs, "--json", "--figures", "drawn")
    told = json.loads(out)
    assert (code, told["chosen"], told["chosen_by"]) == (0, "width1", "validation")
    assert [row["name"] for row in told["students"]] == ["width1", "width0"]
    assert told["students"][0]["latency_ms"] == 1.0
    assert {path.name for path in (tmp_path / "drawn").iterdir()} == {"frontier.svg", "frontier.png"}
    table = report(*runs, "--markdown")[1]
    assert table.count("| student, kd |") == 2
    verdict = json.loads((runs[0] / "result.json").read_text())["verdicts"]["kd"]
    assert f"| {verdict['gain']:+.2f}, {verdict['verdict']} |" in table
    table = report(*runs, "--latex")[1]
    assert table.count(r"student, kd & ") == table.count(r"\\bottomrule".replace("\\\\", "\\")) == 2


def test_what_cannot_be_compared_is_said_in_the_terminal_and_in_json(report, several):
    one, other = several(accuracies=(0.8, 0.9), methods=("kd",))
    assert json.loads(report(one, other, "--json")[1])["caveats"] == []
    content = json.loads((other / "result.json").read_text())
    content["data"]["measured"] = 100
    content["methods"]["kd"]["trainings"][0]["broken"] = ["it gives one answer for 100 % of the samples"]
    (other / "result.json").write_text(json.dumps(content))
    _, out, err = report(one, other)
    assert out.startswith("width1 has the highest accuracy")
    broken, samples = err.splitlines()
    assert broken == "width1: 1 of 3 trainings are broken."
    assert "were not measured on the same samples" in samples
    assert json.loads(report(one, other, "--json")[1])["caveats"] == [broken, samples]


def test_the_page_of_several_runs_may_be_written_again_by_the_same_pattern(report, several):
    runs = several(accuracies=(0.8, 0.7))
    folder = runs[0].parent
    assert report(*runs, "--sort", "size")[0] == 0
    pages = list(folder.glob("comparison.html"))
    assert pages
    assert report(*runs, *pages, "--sort", "size")[0] == 0


def test_one_run_is_its_own_page_and_with_a_budget_a_choice_of_methods(report, several, tmp_path):
    run = several(accuracies=(0.8,))[0]
    assert json.loads(report(run, "--json", "--out", "one.html")[1])["kept"] == "kd-2"
    assert (tmp_path / "one.html").exists()
    assert report(run, "--min-accuracy", "99")[1].startswith(
        "Nothing fits (accuracy at least 99 %): nearest is kd, which reaches"
    )
    assert (tmp_path / "comparison.html").exists()
    assert report(run, "--reach", "0")[0] == 0
    code, _, said = report(run, "--min-accuracy", "0.9")
    assert code == 2
    assert "in percent, as in 90" in said


def damaged(run, how):
    result = run / "result.json"
    if how == "cut short":
        result.write_text(result.read_text()[:200])
    elif how == "binary":
        result.write_bytes(os.urandom(4000))
    elif how == "a folder":
        result.unlink()
        result.mkdir()
    elif how == "another program's":
        result.write_text('{"status": "ok", "accuracy": 0.5, "stages": 3}')
    elif how == "a list":
        result.write_text("[1, 2]")
    elif how == "of wrong types":
        result.write_text('{"format": 1, "methods": {"kd": {"trainings": "none"}}}')
    elif how == "of another format":
        result.write_text(result.read_text().replace('"format": 1', '"format": 99'))
    elif how == "nested without end":
        result.write_text("[" * 100_000)
    elif how == "an unfinished run":
        result.unlink()
    elif how == "no run":
        for path in (result, run / "recipe.toml"):
            path.unlink()


def test_of_several_folders_those_without_a_finished_run_are_left_out_with_a_line(report, several):
    one, other, unfinished, foreign = several(accuracies=(0.8, 0.7, 0.6, 0.5), methods=("kd",))
    damaged(unfinished, "an unfinished run")
    damaged(foreign, "no run")
    code, out, err = report(one, other, unfinished, foreign, "--json")
    assert (code, {row["run"] for row in json.loads(out)["students"]}) == (0, {str(one), str(other)})
    assert [line.split(": ")[0] for line in err.splitlines()] == ["left out", "left out"]
    assert str(unfinished) in err
    assert str(foreign) in err
    assert report(unfinished, foreign)[0] == 2
    assert report(one, one.with_name("misspelt"))[0] == 2


@pytest.mark.parametrize("options", [[], ["--markdown"], ["--max-size", "1MB"]], ids=["page", "markdown", "choice"])
@pytest.mark.parametrize(
    "how",
    [
        "cut short",
        "binary",
        "a folder",
        "another program's",
        "a list",
        "of wrong types",
        "of another format",
        "nested without end",
        "an unfinished run",
        "no run",
    ],
)
def test_damaged_and_foreign_folders_are_one_clear_line(report, several, how, options):
    run = several(accuracies=(0.8,), methods=("kd",))[0]
    damaged(run, how)
    code, out, err = report(run, *options)
    assert (code, out) == (2, "")
    assert err.startswith("understudy: ")
    assert err.count("\n") == 1
    assert str(run) in err
    assert not (run / "report.html").exists()


def test_what_is_only_partly_damaged_is_left_out(report, several):
    run = several(accuracies=(0.8,), methods=("kd",))[0]
    (run / "recipe.toml").write_bytes(b"\xff\xfe\x00")
    (run / "metrics.jsonl").write_text('{"training": "kd-0", "epoch": 1, "terms": {"ce": 1}}\nnonsense\n[]\n')
    (run / "trainings/kd-0/result.json").write_text("{")
    (run / "samples/1.png").write_bytes(b"")
    assert report(run)[0] == 0
    assert "2 lines of metrics.jsonl could not be read" in (run / "report.html").read_text(encoding="utf-8")
