"""The page of a run: complete, self-contained, escaped, the same when written again."""

import io
import json
import re
from xml.etree import ElementTree

import pytest
from PIL import Image
from rich.console import Console

from tests.report.conftest import result
from understudy.errors import UserError
from understudy.report import page as pages
from understudy.report import tables, write_report
from understudy.report.figures import answers, cost, method_colours
from understudy.report.reading import read
from understudy.report.text import as_latex, as_markdown, show
from understudy.runs.records import Result

LOADED = re.compile(
    r"""(?:\b(?:src|href|action|data|srcset|poster)\s*=\s*|url\()["']?([^"')\s>]*)|(@import|<link|<base)"""
)


def written(run):
    path = write_report(run)
    assert path == run / "report.html"
    return path.read_text(encoding="utf-8")


def test_the_page_tells_everything(finished, content):
    run = finished(content)
    page = written(run)
    for text in (
        "The demo&#39;s student",
        "beats the student alone by 1.18 points",
        "▲ beats",
        "87.05 ± 0.11 %",
        "34.2\N{MULTIPLICATION SIGN}",
        "691,674",
        "20,218",
        "98.7 M",
        "2.77 MB",
        "80.9 KB",
        "24.6\N{MULTIPLICATION SIGN}",
        "3.81 ms",
        "4.25 ms",
        "310 ms",
        "+1.49",
        "90.10 ± 0.10 %",
        "1 min 02 s",
        "fitnets-2",
        "5,000 of the test part",
        "4,500",
        "A processor",
        "2.13.0",
        "Hint(pair=&#39;layer2 -&gt; layer2&#39;)",
        "30 epochs, the best is epoch 28",
        "network = &#34;resnet14&#34;",
        "understudy distill demo.toml --out runs/demo",
    ):
        assert text in page, text
    for name, found in content["methods"].items():
        assert f"{name}</th>" in page
        for row in found["trainings"]:
            assert f"{100 * row['figures']['accuracy']:.2f} %" in page
    assert re.search(r'<html lang="en">.*name="viewport".*<title>[^<]+</title>', page, re.DOTALL)


def test_figures_are_in_the_page_and_beside_it(finished):
    run = finished()
    page = written(run)
    names = sorted(path.name for path in (run / "figures").iterdir())
    assert names == [
        "cost.svg",
        "first.svg",
        "losses-1-alone.svg",
        "losses-2-kd.svg",
        "losses-3-fitnets.svg",
        "validation.svg",
    ]
    assert page.count("<svg") == page.count("</svg>") == page.count('role="img" aria-label="') == len(names)
    for path in (run / "figures").iterdir():
        ElementTree.parse(path)
        assert "<text" in path.read_text()
    inlined = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert "var(--ink)" in "".join(inlined)
    assert not re.findall(r"#[0-9a-f]{6}", re.sub(r'(?:href="|url\()#\w+', "", "".join(inlined)))
    ids = [name for svg in inlined for name in re.findall(r'\bid="([^"]+)"', svg)]
    assert len(ids) == len(set(ids))
    referred = [name for svg in inlined for name in re.findall(r'(?:href="|url\()#([\w-]+)', svg)]
    assert set(referred) <= set(ids)


def test_the_page_is_self_contained(finished, whole):
    page = written(finished(whole))
    embedded = [found[0] for found in LOADED.findall(page) if found[0].startswith("data:image/png;base64,")]
    assert len(embedded) == 2
    assert {found[0][:1] for found in LOADED.findall(page) if found[0] not in embedded} == {"#"}
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")


def test_everything_that_a_run_measures_is_on_the_page(finished, whole):
    run = finished(whole)
    page = written(run)
    for text in (
        "an entropy of 0.20 nats of at most 0.69, and of 0.60 at temperature 4",
        "there is something to learn",
        "450 of 5,000",
        "90 of 5,000",
        "Both err on 242 samples",
        "student: Bag 98",
        "31.4 KB",
        "KL from the teacher<small>",
        "kd adds nothing",
        "Measuring all of it at the end took 4.2 s",
        "500.00 MB",
        "hint 1 min 00 s",
    ):
        assert text in page, text
    names = {path.stem for path in (run / "figures").iterdir()}
    assert {"options", "calibration", "agreement", "logit", "similarity-1-alone", "similarity-2-fitnets"} <= names
    assert page.count("In a frame") == 1
    assert page.count("data:image/png;base64,") == 2  # the third one's file is gone
    assert page.count("<svg") == len(names)
    assert "None" not in page.split("</style>")[1]


def test_a_student_that_leaves_with_its_teachers_classifier_is_told_by_its_own_size(finished, whole):
    whole["networks"]["student, fitnets"] = whole["networks"]["student"] | {"parameters": 99_999}
    record = read(finished(whole))
    assert "691,674 → 99,999 parameters" in pages.page(record, {})
    assert "| 99,999 |" in as_markdown(finished(whole, name="again"))
    assert "student 20.2 K, 100 K" in cost(record.result, method_colours(record.result)).words


def test_latencies_by_onnx_runtime_have_rows_of_their_own(finished, whole):
    for network in whole["networks"].values():
        network["onnx_latency_ms"] = network["latency_ms"] | {"p50": network["latency_ms"]["p50"] / 2}
    result = read(finished(whole)).result
    rows = {row.name: [cell.text for cell in row.cells] for row in tables.sizes(result).rows}
    assert rows["ONNX Runtime, 1 sample"][0] == "1.91 ms"
    assert "ONNX Runtime, 128 samples" not in rows


def test_pictures_are_taken_from_the_run_alone(finished, whole, tmp_path):
    run = finished(whole)
    assert list(read(run).pictures) == ["samples/1.png", "samples/3.png"]
    (tmp_path / "secret.png").write_bytes((run / "samples/1.png").read_bytes())
    (run / "samples/3.png").write_bytes(b"<svg onload='x()'>")
    content = json.loads((run / "result.json").read_text())
    content["samples"][0]["file"] = "../../secret.png"
    (run / "result.json").write_text(json.dumps(content))
    assert read(run).pictures == {}


def test_shares_of_the_gradient_are_drawn_where_there_are_several_terms(finished):
    run = finished()
    written(run)
    assert "of gradient, %" in (run / "figures/losses-2-kd.svg").read_text()
    assert "of gradient, %" not in (run / "figures/losses-1-alone.svg").read_text()


def test_figures_and_page_go_where_they_are_wanted(finished, whole, tmp_path):
    run = finished(whole)
    page = write_report(run, page=tmp_path / "deep/page.html", figures=tmp_path / "figures")
    assert page == tmp_path / "deep/page.html"
    assert page.stat().st_size > 10_000
    assert not (run / "report.html").exists()
    drawn = {path.stem for path in (run / "figures").iterdir()}
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{n}.{s}" for n in drawn for s in ("svg", "png")
    }
    for path in (tmp_path / "figures").glob("*.png"):
        with Image.open(path) as image:
            assert min(image.size) > 400
            assert image.convert("L").getextrema()[0] < 128 < image.convert("L").getextrema()[1]


def test_classes_beyond_what_fits_are_left_out(finished, whole):
    whole["task"]["options"] = [f"class {number}" for number in range(100)]
    for place, found in enumerate(whole["methods"].values()):
        found["measures"]["options"] = [0.5 + place * number / 1000 for number in range(100)]
    whole["teacher"]["measures"]["options"] = []
    result = read(finished(whole)).result
    figure = answers.options(result, method_colours(result)).standalone
    assert "class 99<" in figure
    assert "class 0<" in figure
    assert "class 50<" not in figure


def test_nothing_that_a_run_says_becomes_markup(finished, content):
    evil = '<script>alert("x")</script>&amp;'
    content["title"] = content["command"] = content["data"]["name"] = content["machine"]["processor"] = evil
    content["methods"][evil] = content["methods"].pop("kd") | {"objectives": {evil: evil}}
    content["verdicts"][evil] = content["verdicts"].pop("kd") | {"sentence": f"{evil} beats"}
    content["networks"]["teacher"]["network"] = content["kept"] = evil
    content["task"]["options"] = ["{{ title }}", evil]
    content["task"]["figures"][0]["title"] = content["task"]["name"] = content["notes"] = evil
    content["notes"] = [evil]
    content["methods"][evil]["trainings"][0]["broken"] = [evil]
    run = finished(content, recipe=f"title = '{evil}'")
    page = written(run)
    assert "<script" not in page
    lines = [line for line in as_markdown(run).splitlines() if not line.startswith("    ")]  # a block of code
    assert not re.search(r"(?<!\\)<", "\n".join(lines))
    assert page.count("&lt;script&gt;") > 10
    assert "{{ title }}" in page


def test_a_page_written_twice_is_the_same(finished):
    run = finished()
    first = written(run), (run / "figures" / "cost.svg").read_bytes()
    assert (written(run), (run / "figures" / "cost.svg").read_bytes()) == first
    assert not list(run.rglob("*.part"))


def test_losses_ties_and_one_seed_are_told(finished, content):
    content["verdicts"]["kd"] |= {"verdict": "loses", "gain": -3.0}
    content["verdicts"]["fitnets"] |= {"verdict": "unknown"}
    page = written(finished(content))
    assert "▼ loses" in page
    assert "-3.00" in page
    assert "? unknown" in page


def test_a_single_method_and_seed_without_a_teacher(finished, make_result):
    content = make_result(methods=("alone",), seeds=(7,))
    content["teacher"], content["verdicts"] = None, {}
    del content["networks"]["teacher"]
    page = written(finished(content))
    assert "Nothing was distilled" in page
    assert "85.45 %" in page
    assert "±" not in page
    assert "20,218" in page
    assert "agreement with teacher" not in page


def test_a_method_without_a_teacher_is_not_told_to_have_one(finished, content):
    content["methods"]["kd"]["taught"] = False
    told = written(finished(content)).partition("What learned from what")[2]
    assert re.search(r"<h3>kd</h3><p>[^.]*learns without a teacher", told)
    assert re.search(r"<h3>fitnets</h3><p>[^.]*learns with the teacher", told)


def test_without_a_baseline_nothing_is_claimed(finished, make_result):
    content = make_result(methods=("kd",))
    content["verdicts"] = {}
    page = written(finished(content))
    assert "What distillation brought is unknown" in page
    assert "beats" not in page.split("</style>")[1]


def test_what_was_not_measured_is_left_out(finished, content):
    content["data"] |= {"validation": 0, "measured_on": "validation"}
    for found in content["methods"].values():
        for row in found["trainings"]:
            row["validation"], row["kept"] = {}, None
    kd = content["methods"]["kd"]
    del kd["figures"]["agreement"], kd["seconds"], kd["objectives"]
    content["networks"]["student"]["latency_ms"] = None
    page = written(finished(content, metrics=False, recipe=""))
    assert "86.74 ± 0.11 %" in page
    assert "None" not in page
    assert "nan" not in page


def test_students_of_no_use_are_named_everywhere(finished, content):
    row = content["methods"]["kd"]["trainings"][1]
    row["broken"] = ["it gives one answer for 100 % of the samples"]
    run = finished(content)
    page = written(run)
    assert "✕ broken" in page
    assert "<strong>kd-1</strong>: it gives one answer for 100 % of the samples." in page
    assert 'class="broken"' in page
    text = as_markdown(run)
    assert "student, kd (1 of 3 broken)" in text
    assert "Broken: kd-1: it gives one answer" in text
    console = Console(width=100, record=True, file=io.StringIO())
    show(read(run).result, console)
    assert "broken: kd-1: it gives one answer for 100 % of the samples" in console.export_text()


def test_a_terminal_is_not_steered_by_what_a_run_says(finished, content):
    content["title"] = "a\x1b[2Jb\u202e"
    content["notes"] = ["[red]not markup[/]\x07"]
    console = Console(width=60, record=True, file=io.StringIO())
    show(read(finished(content)).result, console)
    text = console.export_text()
    assert r"a\x1b[2Jb\u202e" in text
    assert r"[red]not markup[/]\x07" in text
    assert "accuracy" in text  # the columns that are needed are left where there is little room
    assert "each seed" not in text


def test_values_that_are_no_numbers_are_told(finished, content):
    kd = content["methods"]["kd"]
    kd["trainings"][0]["figures"]["accuracy"] = kd["figures"]["accuracy"]["values"][0] = "NaN"
    content["teacher"]["figures"]["loss"]["values"][0] = "Infinity"
    run = finished(content)
    assert "no number" in written(run)
    assert "no number" in as_markdown(run)


def test_the_table_for_a_paper(finished, content):
    content["methods"]["a_b & 5%"] = content["methods"].pop("kd")
    text = as_latex(finished(content))
    assert r"student, a\_b \& 5\%" in text
    assert r"86.74 $\pm$ 0.11 \%" in text
    assert text.count(r" \\") == 1 + 1 + 3
    assert "\n\\bottomrule\n" in text


def test_a_teacher_trained_in_the_run_has_its_curve(finished):
    run = finished()
    line = {"training": "teacher-0", "stage": "labels", "epoch": 1, "loss": 2.0, "terms": {"ce": 2.0}, "seconds": 33.0}
    beside = line | {"training": "kd-by-1-resnet20-0", "seconds": 44.0}
    with open(run / "metrics.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n" + json.dumps(beside) + "\n" + '{"training": "teach')
    page = written(run)
    time = page.partition("Time and memory")[2]
    assert re.search(r"teacher</t[dh]>\s*<td[^>]*>33", time)
    assert re.search(r"assistants, and others</t[dh]>\s*<td[^>]*>44", time)
    assert (run / "figures" / "losses-0-teacher.svg").exists()
    assert "trained in this run" in page
    assert "1 line of metrics.jsonl could not be read" in page


def test_names_that_no_file_nor_font_can_hold(finished, content):
    content["methods"]["../$x$ 蒸馏"] = content["methods"].pop("kd")
    run = finished(content)
    assert "../$x$ 蒸馏" in written(run)
    assert (run / "figures" / "losses-3-x.svg").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is damaged"),
        ('{"methods": ', "is damaged"),
        ("[]", "is damaged"),
        ("{}", "names no format"),
        ('{"format": 0, "methods": {}}', "is of format 0"),
        ('{"format": 1, "methods": {}}', "is damaged"),
        (json.dumps(result() | {"methods": {}}), "methods: dictionary should have at least 1 item"),
        (json.dumps(result() | {"methods": {"kd": {"method": "kd", "trainings": 3}}}), "methods.kd.trainings"),
        (json.dumps(result() | {"surprise": 1}), "surprise"),
        (
            json.dumps(
                result() | {"similarity": {"teacher": ["a"], "student": [], "samples": 1, "methods": {"kd": []}}}
            ),
            "similarity",
        ),
        (json.dumps(result() | {"samples": [{"id": 1}]}), "samples.0.file"),
        ("[" * 100_000, "is damaged"),
    ],
)
def test_a_damaged_result_is_an_error(finished, text, told):
    run = finished()
    (run / "result.json").write_text(text)
    for reader in (write_report, as_markdown):
        with pytest.raises(UserError, match=re.escape(told)) as raised:
            reader(run)
        assert "\n" not in str(raised.value)
    assert not (run / "report.html").exists()


def test_what_is_no_finished_run_is_an_error(finished, tmp_path):
    run = finished()
    (run / "result.json").unlink()
    with pytest.raises(UserError, match="is not finished"):
        write_report(run)
    with pytest.raises(UserError, match="there is no run folder"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is no run folder"):
        write_report(tmp_path / "empty")
    with pytest.raises(UserError, match="is a file"):
        write_report(run / "recipe.toml")


def test_the_note_says_when_other_programs_slowed_the_networks(whole):
    plain = tables.measured_note(Result.model_validate(whole))
    whole["networks"]["student"]["latency_ms"]["others"] = 1.3
    told = tables.measured_note(Result.model_validate(whole))
    assert told.removeprefix(plain) == (
        " Other programs took 1.3 cores meanwhile: the latencies are longer than on a quiet machine."
    )
