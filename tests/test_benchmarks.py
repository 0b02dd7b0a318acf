"""What ``python -m benchmarks`` compares with: who takes part; and what its page says of what was measured."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as command
from benchmarks import gpu, ours, parts, peers, report, sections, start, sweep
from benchmarks.workload import BATCH, PAIRS, Pair, Work
from understudy.bench.floors import Floor
from understudy.cli import distill
from understudy.data.sets import cifar
from understudy.training.loop import Training

WAYS = ("separate", "with one store", "trained together")


def test_a_library_that_is_no_package_takes_part_where_a_checkout_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(peers.os, "environ", {**peers.os.environ})
    assert peers.load("mdistiller") is None
    assert "mdistiller is left out: no checkout is named (--checkout mdistiller=FOLDER)" in capsys.readouterr().err
    (tmp_path / "mdistiller").mkdir()
    (tmp_path / "mdistiller/distillers.py").write_text("KD = FitNet = None")
    peers.name_checkout("mdistiller", tmp_path)
    assert peers.load("mdistiller").distillers.__file__ == str(tmp_path / "mdistiller/distillers.py")
    assert peers.version("mdistiller") == "without a commit"


def test_of_a_library_one_training_is_made_where_its_memory_is_measured(monkeypatch):
    made = []
    kinds = {kind: lambda kind=kind: made.append(kind) for kind in ("kd", "hint")}
    monkeypatch.setattr(peers, "load", lambda name: SimpleNamespace(loops=lambda work: kinds))
    peers.loop("one", None, "hint")
    assert made == ["hint"]
    assert peers.loops("one", None) == {"kd": None, "hint": None}


def test_every_kind_of_training_is_held_against_the_leanest_like_it():
    peaks = {
        "understudy kd fast": 90,
        "understudy stored kd fast": 95,
        "understudy hint fast": 99,
        "understudy stored hint fast": 103,
        "lean kd": 100,
        "lean hint": 100,
        "fat kd": 200,
        "fat hint": 200,
        "fat stored kd": 94,
    }
    found = {name: {"bytes": [peak], "first_step": [1.0]} for name, peak in peaks.items()}
    told = {line[0].removesuffix(", ResNet-56 -> ResNet-20"): line[2:4] for line in targets(memory=found)}
    assert told == {
        "peak memory, live KD / lean kd's": ("0.90", "pass"),
        "peak memory, stored KD / fat stored kd's": ("1.01", "**miss**"),
        "peak memory, live hints / lean hint's": ("0.99", "pass"),
        "peak memory, stored hints / lean hint's": ("1.03", "**miss**"),
    }


def test_the_first_step_of_a_user_is_the_target_and_the_commands_stand_beside_it():
    found = {
        name: {"import": [2.0], "first_step": [seconds]} for name, seconds in ((start.CALL, 5.5), ("command", 9.0))
    }
    (line,) = targets(start=found)
    assert line[1:4] == ("under 5 s", "5.5 s", "**miss**")
    page = report.page(raw(part("start", found)))
    assert f"| {start.CALL} (the target's) | 2.0 | 5.5 |" in page
    assert "| command | 2.0 | 9.0 |" in page


@pytest.mark.parametrize("how", ["call", "command"])
def test_a_watcher_ends_what_a_user_begins_at_the_first_step(how, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PAIRS, "tiny", Pair("tiny", "resnet8", "resnet8", "layer2", "bn2"))
    monkeypatch.setattr(start, "PICTURES", 640)
    monkeypatch.setattr(cifar, "CIFAR100_FILES", replace(cifar.CIFAR100_FILES, records=(640, 10)))
    monkeypatch.setattr(distill, "Live", distill.Live)  # what is put into its place is taken away again
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path))
    steps = []
    advance = Training.advance
    monkeypatch.setattr(Training, "advance", lambda *about: (steps.append(about), advance(*about)))
    start.prepared("tiny", tmp_path, (640, 10))
    start.main(how, str(tmp_path))
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(found) == ["import", "first_step"]
    assert len(steps) == 1


@pytest.mark.parametrize("how", ["", "store", sweep.TOGETHER])
def test_a_sweep_trains_in_every_way(tmp_path, monkeypatch, capsys, how):
    monkeypatch.setitem(PAIRS, "tiny", Pair("tiny", "resnet8", "resnet8", "layer2", "bn2"))
    sweep.main("tiny", "640", "1", "0", "2", str(tmp_path) if how == "store" else how)
    assert float(capsys.readouterr().out) > 0
    assert any(tmp_path.iterdir()) == (how == "store")


def test_figures_of_processes_are_gathered_without_those_that_fail():
    given = iter([1.0, 2.0])
    variants = {"one": lambda: {"bytes": next(given)}, "broken": lambda: None}
    assert sections._processes(variants, 2) == {"one": {"bytes": [1.0, 2.0]}}


def part(section, found, pair="a", commit="6c3c8ca", at="2026-11-20 10:00 UTC"):
    return {
        "section": section,
        "pair": pair,
        "commit": commit,
        "at": at,
        "minutes": 2.0,
        "rounds": parts.rounds(found),
        "command": f"python -m benchmarks --only {section}",
        "found": found,
    }


def raw(*measured, **head):
    return {**parts.raw({"cores": 2}, {"torch": "2"}, 128), **head, "parts": list(measured)}


def targets(**measured):
    return list(report.targets(raw(*(part(section, found) for section, found in measured.items()))))


FLOORS = {"kd fast": {"ours": [1.0] * 27, "floor": [1.0] * 27}}
SWEEP = {"1 with one store": [1.0], **{f"12 {way}": [1.0] * 4 for way in WAYS}}
EPOCHS = {
    "understudy kd fast": [2.0, 2.0],
    "understudy stored hint fast": [1.0, 1.0],
    "F2 kd fast": [1.9, 1.9],
    "F1 kd fast": [1.0, 1.0],
    "F1 hint fast": [0.99, 0.99],
    "other at": [5.0, 5.0],
}


def test_a_page_of_several_runs_says_of_each_table_how_often_and_at_which_commit_it_was_measured(tmp_path):
    runs = [
        raw(part("floors", FLOORS), part("sweep", SWEEP, pair="b")),
        raw(part("sweep", SWEEP, commit="142a813", at="2026-11-22 09:00 UTC"), part("growth", {}, pair=None)),
        raw(part("floors", {"kd fast": {"ours": [3.0], "floor": [1.0]}}, at="2026-11-19 10:00 UTC")),
    ]
    for number, one in enumerate(runs):
        (tmp_path / f"{number}.json").write_text(json.dumps(one))
    found = parts.merged(sorted(tmp_path.glob("*.json")))
    found["parts"] = [one for one in found["parts"] if one["section"] != "growth"]
    page = report.page(found)
    assert (
        "| live KD step / floor F2, fast settings, ResNet-56 -> ResNet-20 | 0.95 | 1.00 | pass | 27 rounds, at" in page
    )
    assert "## A sweep: ResNet-56 -> ResNet-20\n\n4 rounds, at 142a813.\n" in page
    assert "## A sweep: WRN-40-2 -> WRN-16-2\n\n4 rounds, at 6c3c8ca.\n" in page
    assert "Made in 6 minutes (2026-11-20 to 2026-11-22) by" in page
    (tmp_path / "other.json").write_text(json.dumps(raw(machine={"cores": 64})))
    with pytest.raises(parts.UnlikeError, match=r"other\.json differs in machine"):
        parts.merged([tmp_path / "0.json", tmp_path / "other.json"])


def test_an_epoch_is_held_against_the_floors_epoch():
    table = report.page(raw(part("epochs", EPOCHS)))
    assert "| understudy kd fast | 2.00 | 64 | 0.95 |" in table
    assert "| understudy stored hint fast | 1.00 | 128 | 0.99 |" in table
    assert "| F2 kd fast | 1.90 | 67 |  |" in table
    assert "| other at | 5.00 | 26 |  |" in table


def test_epochs_of_floors_take_the_trainers_own_batches(monkeypatch):
    taken = []
    take = Floor.take
    monkeypatch.setattr(Floor, "take", lambda floor, batch: (taken.append(batch.ids.tolist()), take(floor, batch)))
    monkeypatch.setitem(PAIRS, "tiny", Pair("tiny", "resnet8", "resnet8", "layer2", "bn2"))
    epochs = ours.floor_epochs(Work(PAIRS["tiny"], 2 * BATCH), "kd", ours.PLAIN)
    assert set(epochs) == {"F1", "F2"}
    taken.clear()
    epochs["F1"]()
    epochs["F2"]()
    assert sorted(taken[0] + taken[1]) == sorted(taken[2] + taken[3]) == list(range(2 * BATCH))


def test_each_part_is_kept_with_its_commit_and_only_what_is_missing_is_measured(tmp_path, monkeypatch):
    measured = []

    def sweep(pair, images, *, epochs, rounds):
        measured.append(pair)
        return SWEEP

    monkeypatch.setattr(sections, "trainings", sweep)
    monkeypatch.setattr(peers, "installed", list)
    monkeypatch.setattr(command, "SECTIONS", ("sweep",))
    file, page = tmp_path / "raw.json", tmp_path / "page.md"

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["benchmarks", "--out", str(page), *map(str, words)])
        command.main()

    run("--raw", file, "--pairs", "a")
    (one,) = json.loads(file.read_text())["parts"]
    assert (one["section"], one["pair"], one["rounds"], one["found"]) == ("sweep", "a", 4, SWEEP)
    assert one["commit"].startswith(parts.commit_of(parts.ROOT))
    run("--raw", file)
    assert measured == ["a", "b"]
    run("--merge", file)
    assert measured == ["a", "b"]
    assert "| 12 separate | 1.0, 1.0, 1.0, 1.0 | 0.1 |" in page.read_text()
    run("--raw", file, "--only", "sweep", "--pairs", "b")
    assert measured == ["a", "b", "b"]
    assert len(json.loads(file.read_text())["parts"]) == 2


def test_what_one_gpu_must_show_runs_on_a_cpu_in_all_its_parts(tmp_path):
    assert gpu.main(["--device", "cpu", "--quick", "--out", str(tmp_path / "gpu.md")]) == 0
    page = (tmp_path / "gpu.md").read_text()
    assert [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")] == list(gpu.PARTS)
    assert "| can | bfloat16 | equal | equal | none |" in page
    assert "set settings.microbatch = 24" in page
    assert page.count("**") == 0  # nothing failed, differs or is missing


def test_a_part_that_fails_is_a_line_of_the_page_and_the_others_go_on(tmp_path, monkeypatch):
    def fails(place):
        yield "kd", 1
        raise RuntimeError("no graph can be captured\nin these circumstances")

    monkeypatch.setattr(gpu, "PARTS", {"capture": (fails, ("a", "b")), "more": (lambda place: iter([(1,)]), ("c",))})
    assert gpu.main(["--device", "cpu", "--only", "capture", "more", "--out", str(tmp_path / "gpu.md")]) == 1
    page = (tmp_path / "gpu.md").read_text()
    assert "| kd | 1 |\n\n**Failed**: RuntimeError: no graph can be captured" in page
    assert "| c |\n| --- |\n| 1 |" in page
